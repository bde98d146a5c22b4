//! Outages: every process reports which server cannot be used and why, continues with the others, and recovers by
//! itself.

use std::fs;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use domain::shared::TenantId;
use lab::demo::client::Client;
use lab::fleet::EngineProcess;
use lab::harness::{
    Broker, Cluster, Shop, WAIT_TIMEOUT, caught_up, database, digests, eventually, free_address, rebuild_all,
    send_once, send_until_decided,
};
use lab::log_invariants::check_log_invariants;
use platform::clock::new_id;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::timeout;

/// An address without a listener.
const NOWHERE: &str = "127.0.0.1:1";

/// Reserves this number of units, one by one.
pub(crate) async fn reserve(client: &Client, shop: &Shop, count: usize) -> Result<()> {
    for _ in 0..count {
        let answer = send_until_decided(&[client], "ReserveStock", new_id(), &shop.reservation(new_id())).await?;
        ensure!(answer["outcome"] == "accepted", "{answer}");
    }
    Ok(())
}

/// Waits until a process reports a reason with this word, and is not ready.
pub(crate) async fn reports(engine: &EngineProcess, word: &str) -> Result<()> {
    eventually(word, async || Ok(engine.get("/reason").await?.1.contains(word))).await?;
    ensure!(engine.get("/ready").await?.0 == 503, "the process is ready during an outage");
    Ok(())
}

/// Waits until a process is ready.
pub(crate) async fn gets_ready(engine: &EngineProcess) -> Result<()> {
    eventually("it is ready", async || Ok(engine.get("/ready").await?.0 == 200)).await
}

/// Counts the warnings about Kafka in the log of a process.
fn kafka_warnings(engine: &EngineProcess) -> Result<usize> {
    let log = fs::read_to_string(&engine.log)?;
    Ok(log.lines().filter(|line| line.contains("WARN") && line.contains("Kafka")).count())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_recover_when_kafka_is_killed_and_wiped() -> Result<()> {
    let (broker, url) = (Broker::start().await?, database().await);
    let (cluster, pool) = (Cluster::new(&url).await?, platform::database::connect(&url).await?);
    let kafka = [("CARTULARY_KAFKA_BROKERS", broker.address.as_str())];
    let writer = cluster.start_ready(&[]).await?;
    let relay = cluster.start_role("relay", "relay-1", &kafka).await?;
    let project = cluster.start_role("project", "project-1", &kafka).await?;
    let (shop, owner) = cluster.shop(&writer, &pool, 1_000_000).await?;
    reserve(&owner, &shop, 20).await?;
    caught_up(&pool).await?;

    broker.kill()?;
    reports(&project, "Kafka").await?;
    reports(&relay, "Kafka").await?;
    reserve(&owner, &shop, 20).await?;
    caught_up(&pool).await?;
    ensure!(kafka_warnings(&project)? == 1, "one warning for one outage");
    broker.wipe()?;
    broker.restart().await?;
    gets_ready(&project).await?;
    gets_ready(&relay).await?;
    for process in [&project, &relay] {
        eventually("a line that Kafka is back", async || {
            Ok(fs::read_to_string(&process.log)?.contains("Kafka can be used again"))
        })
        .await?;
    }

    // The relay that fills the empty topic is killed meanwhile; another one goes on.
    relay.kill().await?;
    let relay = cluster.start_role("relay", "relay-2", &kafka).await?;
    let before = project.metric_sum("cartulary_events_from_kafka_total").await?;
    reserve(&owner, &shop, 20).await?;
    eventually("events come over Kafka again", async || {
        Ok(project.metric_sum("cartulary_events_from_kafka_total").await? > before)
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
    proofs::proven("ES-05 a topic that is wiped and filled again from the log changes no digest");
    check_log_invariants(&pool).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_wrong_broker_the_log_is_followed_and_the_reason_is_reported() -> Result<()> {
    let url = database().await;
    let (cluster, pool) = (Cluster::new(&url).await?, platform::database::connect(&url).await?);
    let wrong = [("CARTULARY_KAFKA_BROKERS", NOWHERE)];
    let scribe = cluster.start_role("scribe", "scribe-1", &[]).await?;
    let serve = cluster.start_role("serve", "serve-1", &[]).await?;
    let policies = cluster.start_unready("policies", "policies-1", &wrong).await?;
    let project = cluster.start_unready("project", "project-1", &wrong).await?;
    let relay = cluster.start_unready("relay", "relay-1", &wrong).await?;
    let (shop, owner) = cluster.shop(&serve, &pool, 1_000).await?;
    reserve(&owner, &shop, 5).await?;
    reports(&project, "Kafka").await?;
    reports(&policies, "Kafka").await?;
    reports(&relay, "Kafka").await?;
    caught_up(&pool).await?;
    ensure!(kafka_warnings(&policies)? == 1 && kafka_warnings(&relay)? == 1, "one warning for one outage");
    for process in [policies, serve, project, relay, scribe] {
        process.stop().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumer_group_without_lanes_stops_neither_read_models_nor_policies() -> Result<()> {
    let (broker, url) = (Broker::start().await?, database().await);
    let (cluster, pool) = (Cluster::new(&url).await?, platform::database::connect(&url).await?);
    let kafka = [("CARTULARY_KAFKA_BROKERS", broker.address.as_str())];
    let scribe = cluster.start_role("scribe", "scribe-1", &[]).await?;
    let serve = cluster.start_role("serve", "serve-1", &[]).await?;
    // Without a relay there is no topic, and the group assigns no lanes.
    let policies = cluster.start_unready("policies", "policies-1", &kafka).await?;
    let project = cluster.start_unready("project", "project-1", &kafka).await?;
    let (shop, owner) = cluster.shop(&serve, &pool, 1_000).await?;
    reserve(&owner, &shop, 5).await?;
    caught_up(&pool).await?;
    let relay = cluster.start_role("relay", "relay-1", &kafka).await?;
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
async fn without_a_scribe_the_project_role_is_ready_and_the_serve_role_is_not() -> Result<()> {
    let url = database().await;
    let cluster = Cluster::new(&url).await?;
    let project = cluster.start_role("project", "project-1", &[]).await?;
    let serve = cluster.start_unready("serve", "serve-1", &[]).await?;
    reports(&serve, "no process writes lanes").await?;
    let scribe = cluster.start_role("scribe", "scribe-1", &[]).await?;
    gets_ready(&serve).await?;
    for process in [serve, project, scribe] {
        process.stop().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_are_decided_by_another_scribe_while_the_owner_is_frozen() -> Result<()> {
    let url = database().await;
    let (cluster, pool) = (Cluster::new(&url).await?, platform::database::connect(&url).await?);
    let scribes =
        [cluster.start_role("scribe", "scribe-1", &[]).await?, cluster.start_role("scribe", "scribe-2", &[]).await?];
    let policies = cluster.start_role("policies", "policies-1", &[]).await?;
    let serve = cluster.start_role("serve", "serve-1", &[]).await?;
    let (shop, owner) = cluster.shop(&serve, &pool, 1_000).await?;
    let lane = shop.lane(&pool).await?;
    let writer = async || -> Result<String> {
        Ok(sqlx::query_scalar("SELECT owner FROM log.lanes WHERE lane = $1").bind(lane).fetch_one(&pool).await?)
    };
    let frozen = if writer().await? == "scribe-1" { &scribes[0] } else { &scribes[1] };
    frozen.signal(Signal::STOP)?;
    // The command is accepted while the owner is still frozen.
    reserve(&owner, &shop, 1).await?;
    frozen.signal(Signal::CONT)?;
    reserve(&owner, &shop, 5).await?;
    assert_eq!(shop.count(&pool, "stock.reserved").await?, 6);
    serve.stop().await?;
    policies.stop().await?;
    for scribe in scribes {
        scribe.stop().await?;
    }
    check_log_invariants(&pool).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_of_one_name_report_each_other() -> Result<()> {
    let url = database().await;
    let cluster = Cluster::new(&url).await?;
    let one = cluster.start_role("project", "same", &[]).await?;
    let other = cluster.start_unready("project", "same", &[]).await?;
    reports(&one, "another `project` process has the name `same`").await?;
    reports(&other, "CARTULARY_OWNER").await?;
    other.kill().await?;
    gets_ready(&one).await?;
    one.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serving_process_that_cannot_reach_the_scribe_reports_it_until_it_can() -> Result<()> {
    let url = database().await;
    let (cluster, pool) = (Cluster::new(&url).await?, platform::database::connect(&url).await?);
    let scribe = cluster.start_role("scribe", "scribe-1", &[("CARTULARY_PEER_ADDRESS", NOWHERE)]).await?;
    let policies = cluster.start_role("policies", "policies-1", &[]).await?;
    let serve = cluster.start_role("serve", "serve-1", &[]).await?;
    let unknown = Shop::new(TenantId::new(new_id()));
    let client = cluster.owner(&serve, unknown.tenant).await?;
    let answered = send_once(&client, "ReserveStock", new_id(), &unknown.reservation(new_id())).await;
    ensure!(matches!(answered, Some((503, _))), "decided though the scribe cannot be reached: {answered:?}");
    reports(&serve, &format!("commands forwarded to {NOWHERE} are not answered")).await?;
    scribe.stop().await?;
    let scribe = cluster.start_role("scribe", "scribe-1", &[]).await?;
    gets_ready(&serve).await?;
    let (shop, owner) = cluster.shop(&serve, &pool, 10).await?;
    reserve(&owner, &shop, 1).await?;
    for process in [serve, policies, scribe] {
        process.stop().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn process_waits_for_a_database_that_is_away_and_reports_its_address() -> Result<()> {
    let cluster = Cluster::new(&format!("postgres://user:se@cret@{NOWHERE}/cartulary?password=secret")).await?;
    let address = free_address()?;
    let mut command = cluster.cartulary();
    command.arg("project").env("CARTULARY_LISTEN", &address).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let http = Client::new(&format!("http://{address}"), cluster.monitor_token()?);
    let reason = async || -> Result<String> { Ok(String::from_utf8(http.get("/reason").await?.body.to_vec())?) };
    eventually("the reason", async || Ok(reason().await.is_ok_and(|reason| reason.contains("cannot be used")))).await?;
    let reason = reason().await?;
    ensure!(reason.contains(NOWHERE) && !reason.contains("cret"), "{reason}");
    ensure!(http.get("/ready").await?.status == 503, "it is ready in spite of that");
    ensure!(http.get("/live").await?.status == 200, "it runs");
    let pid = child.id().and_then(|pid| Pid::from_raw(pid.try_into().ok()?)).context("it runs")?;
    kill_process(pid, Signal::TERM)?;
    let status = timeout(WAIT_TIMEOUT, child.wait()).await.context("it does not stop")??;
    ensure!(status.success(), "it ended with {status}");
    Ok(())
}
