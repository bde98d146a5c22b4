//! Parts that are away, wrong or frozen: every process says which and why, does what it can, and recovers by itself.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cartulary::running;
use domain::shared::TenantId;
use lab::demo::client::Client;
use lab::fleet::Member;
use platform::clock::new_id;
use platform::health::Health;
use rustix::process::{Pid, Signal, kill_process};
use scribe::presence::{Presence, present};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::broker::Broker;
use crate::laws::keeps_the_laws;
use crate::process::{Desk, free_address, once, persist};
use crate::server::database;
use crate::shop::{Shop, caught_up, digests, eventually, rebuild_all};

/// Nobody listens there.
const NOWHERE: &str = "127.0.0.1:1";

pub(crate) async fn reserve(client: &Client, shop: &Shop, count: usize) -> Result<()> {
    for _ in 0..count {
        let answer = persist(&[client], "ReserveStock", new_id(), &shop.reservation(new_id())).await?;
        ensure!(answer["outcome"] == "accepted", "{answer}");
    }
    Ok(())
}

pub(crate) async fn says(engine: &Member, word: &str) -> Result<()> {
    eventually(word, async || Ok(engine.get("/reason").await?.1.contains(word))).await?;
    ensure!(engine.get("/ready").await?.0 == 503, "it is ready all the same");
    Ok(())
}

pub(crate) async fn gets_ready(engine: &Member) -> Result<()> {
    eventually("it is ready", async || Ok(engine.get("/ready").await?.0 == 200)).await
}

/// Lines of its log about Kafka being away.
fn lines_about_kafka(engine: &Member) -> Result<usize> {
    let log = fs::read_to_string(&engine.log)?;
    Ok(log.lines().filter(|line| line.contains("WARN") && line.contains("Kafka")).count())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_may_be_killed_and_wiped_under_those_who_follow_it() -> Result<()> {
    let (broker, url) = (Broker::start().await?, database().await);
    let (desk, pool) = (Desk::new(&url).await?, running::connect(&url).await?);
    let kafka = [("CARTULARY_KAFKA_BROKERS", broker.address.as_str())];
    let writer = desk.start_ready(&[]).await?;
    let relay = desk.start_role("relay", "relay-1", &kafka).await?;
    let project = desk.start_role("project", "project-1", &kafka).await?;
    let (shop, owner) = desk.shop(&writer, &pool, 1_000_000).await?;
    reserve(&owner, &shop, 20).await?;
    caught_up(&pool).await?;

    broker.kill()?;
    says(&project, "Kafka").await?;
    says(&relay, "Kafka").await?;
    reserve(&owner, &shop, 20).await?;
    caught_up(&pool).await?;
    ensure!(lines_about_kafka(&project)? == 1, "one line for one outage");
    broker.wipe()?;
    broker.start_again().await?;
    gets_ready(&project).await?;
    gets_ready(&relay).await?;
    for process in [&project, &relay] {
        eventually("a line that Kafka is back", async || {
            Ok(fs::read_to_string(&process.log)?.contains("Kafka can be used again"))
        })
        .await?;
    }

    // The one that fills the empty topic is killed on its way; another one goes on.
    relay.kill().await?;
    let relay = desk.start_role("relay", "relay-2", &kafka).await?;
    let before = project.counted("cartulary_events_from_kafka_total").await?;
    reserve(&owner, &shop, 20).await?;
    eventually("events come over Kafka again", async || {
        Ok(project.counted("cartulary_events_from_kafka_total").await? > before)
    })
    .await?;
    caught_up(&pool).await?;
    assert_eq!(shop.count(&pool, "stock.reserved").await?, 60);
    for process in [project, relay, writer] {
        process.stop().await?;
    }
    let live = digests(&pool).await?;
    rebuild_all(&pool, 1_000).await?;
    assert_eq!(live, digests(&pool).await?, "the read models equal a rebuild");
    keeps_the_laws(&pool).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_wrong_broker_the_log_itself_is_followed_and_the_reason_told() -> Result<()> {
    let url = database().await;
    let (desk, pool) = (Desk::new(&url).await?, running::connect(&url).await?);
    let wrong = [("CARTULARY_KAFKA_BROKERS", NOWHERE)];
    let scribe = desk.start_role("scribe", "scribe-1", &[]).await?;
    let serve = desk.start_role("serve", "serve-1", &[]).await?;
    let policies = desk.start_unready("policies", "policies-1", &wrong).await?;
    let project = desk.start_unready("project", "project-1", &wrong).await?;
    let relay = desk.start_unready("relay", "relay-1", &wrong).await?;
    let (shop, owner) = desk.shop(&serve, &pool, 1_000).await?;
    reserve(&owner, &shop, 5).await?;
    says(&project, "Kafka").await?;
    says(&policies, "Kafka").await?;
    says(&relay, "Kafka").await?;
    caught_up(&pool).await?;
    ensure!(lines_about_kafka(&policies)? == 1 && lines_about_kafka(&relay)? == 1, "one line for one outage");
    for process in [policies, serve, project, relay, scribe] {
        process.stop().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_deals_out_no_lanes_stops_neither_read_models_nor_policies() -> Result<()> {
    let (broker, url) = (Broker::start().await?, database().await);
    let (desk, pool) = (Desk::new(&url).await?, running::connect(&url).await?);
    let kafka = [("CARTULARY_KAFKA_BROKERS", broker.address.as_str())];
    let scribe = desk.start_role("scribe", "scribe-1", &[]).await?;
    let serve = desk.start_role("serve", "serve-1", &[]).await?;
    // Without a relay nobody makes the topic, and a group has nothing to deal out.
    let policies = desk.start_unready("policies", "policies-1", &kafka).await?;
    let project = desk.start_unready("project", "project-1", &kafka).await?;
    let (shop, owner) = desk.shop(&serve, &pool, 1_000).await?;
    reserve(&owner, &shop, 5).await?;
    caught_up(&pool).await?;
    let relay = desk.start_role("relay", "relay-1", &kafka).await?;
    gets_ready(&project).await?;
    gets_ready(&policies).await?;
    reserve(&owner, &shop, 5).await?;
    caught_up(&pool).await?;
    for process in [policies, serve, project, relay, scribe] {
        process.stop().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn read_models_are_ready_without_anybody_who_writes_and_a_front_door_is_not() -> Result<()> {
    let url = database().await;
    let desk = Desk::new(&url).await?;
    let project = desk.start_role("project", "project-1", &[]).await?;
    let serve = desk.start_unready("serve", "serve-1", &[]).await?;
    says(&serve, "no process writes lanes").await?;
    let scribe = desk.start_role("scribe", "scribe-1", &[]).await?;
    gets_ready(&serve).await?;
    for process in [serve, project, scribe] {
        process.stop().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_scribe_keeps_nobody_waiting_for_longer_than_its_lease() -> Result<()> {
    let url = database().await;
    let (desk, pool) = (Desk::new(&url).await?, running::connect(&url).await?);
    let scribes =
        [desk.start_role("scribe", "scribe-1", &[]).await?, desk.start_role("scribe", "scribe-2", &[]).await?];
    let policies = desk.start_role("policies", "policies-1", &[]).await?;
    let serve = desk.start_role("serve", "serve-1", &[]).await?;
    let (shop, owner) = desk.shop(&serve, &pool, 1_000).await?;
    let lane = shop.lane(&pool).await?;
    let writer = async || -> Result<String> {
        Ok(sqlx::query_scalar("SELECT owner FROM log.lanes WHERE lane = $1").bind(lane).fetch_one(&pool).await?)
    };
    let frozen = if writer().await? == "scribe-1" { &scribes[0] } else { &scribes[1] };
    frozen.signal(Signal::STOP)?;
    let begun = Instant::now();
    reserve(&owner, &shop, 1).await?;
    let waited = begun.elapsed();
    frozen.signal(Signal::CONT)?;
    ensure!(waited < Duration::from_secs(7), "a caller waited for {waited:?}");
    reserve(&owner, &shop, 5).await?;
    assert_eq!(shop.count(&pool, "stock.reserved").await?, 6);
    serve.stop().await?;
    policies.stop().await?;
    for scribe in scribes {
        scribe.stop().await?;
    }
    keeps_the_laws(&pool).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_of_one_name_say_that_there_are_two() -> Result<()> {
    let url = database().await;
    let desk = Desk::new(&url).await?;
    let one = desk.start_role("project", "same", &[]).await?;
    let other = desk.start_unready("project", "same", &[]).await?;
    says(&one, "another project goes by the name `same`").await?;
    says(&other, "set CARTULARY_OWNER").await?;
    other.kill().await?;
    gets_ready(&one).await?;
    one.stop().await
}

#[tokio::test]
async fn who_leaves_does_not_take_its_successor_along() -> Result<()> {
    let pool = running::connect(&database().await).await?;
    // They would be heard of again only after ten minutes.
    let join = async |stop: &CancellationToken| {
        // Heard of again only after ten minutes.
        let (name, lease_ms) = ("same".to_owned(), 4 * 600_000);
        let presence = Presence { pool: pool.clone(), role: "project", name, lease_ms, health: Health::default() };
        presence.join(stop.clone()).await
    };
    let leave = [CancellationToken::new(), CancellationToken::new()];
    for stop in &leave {
        join(stop).await?;
    }
    leave[0].cancel();
    sleep(Duration::from_millis(300)).await;
    assert_eq!(present(&pool, "project").await?, ["same"]);
    leave[1].cancel();
    eventually("it has left", async || Ok(present(&pool, "project").await?.is_empty())).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_front_door_that_cannot_reach_whoever_writes_says_so_until_it_can() -> Result<()> {
    let url = database().await;
    let (desk, pool) = (Desk::new(&url).await?, running::connect(&url).await?);
    let scribe = desk.start_role("scribe", "scribe-1", &[("CARTULARY_PEER_ADDRESS", NOWHERE)]).await?;
    let policies = desk.start_role("policies", "policies-1", &[]).await?;
    let serve = desk.start_role("serve", "serve-1", &[]).await?;
    let nobody = Shop::new(TenantId::new(new_id()));
    let client = desk.owner(&serve, nobody.tenant).await?;
    let answered = once(&client, "ReserveStock", new_id(), &nobody.reservation(new_id())).await;
    ensure!(matches!(answered, Some((503, _))), "decided though nobody can be asked: {answered:?}");
    says(&serve, &format!("letters to {NOWHERE} are not answered")).await?;
    scribe.stop().await?;
    let scribe = desk.start_role("scribe", "scribe-1", &[]).await?;
    gets_ready(&serve).await?;
    let (shop, owner) = desk.shop(&serve, &pool, 10).await?;
    reserve(&owner, &shop, 1).await?;
    for process in [serve, policies, scribe] {
        process.stop().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_waits_for_a_database_that_is_away_and_says_which() -> Result<()> {
    let desk = Desk::new(&format!("postgres://somebody:se@cret@{NOWHERE}/cartulary?password=secret")).await?;
    let address = free_address()?;
    let mut command = desk.cartulary();
    command.arg("project").env("CARTULARY_LISTEN", &address).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let http = Client::new(&format!("http://{address}"), String::new());
    let told = async || -> Result<String> { Ok(String::from_utf8(http.get("/reason").await?.body.to_vec())?) };
    eventually("the reason", async || Ok(told().await.is_ok_and(|reason| reason.contains("cannot be used")))).await?;
    let reason = told().await?;
    ensure!(reason.contains(NOWHERE) && !reason.contains("cret"), "{reason}");
    ensure!(http.get("/ready").await?.status == 503, "it is ready all the same");
    ensure!(http.get("/live").await?.status == 200, "it runs");
    let pid = child.id().and_then(|pid| Pid::from_raw(pid.try_into().ok()?)).context("it runs")?;
    kill_process(pid, Signal::TERM)?;
    let status = timeout(Duration::from_secs(10), child.wait()).await.context("it does not stop")??;
    ensure!(status.success(), "it ended with {status}");
    Ok(())
}
