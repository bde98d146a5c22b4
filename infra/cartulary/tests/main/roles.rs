//! Every role as processes of their own, killed one after the other.

use std::time::Duration;

use anyhow::{Result, ensure};
use cartulary::running;
use lab::demo::client::Client;
use lab::fleet::Member;
use platform::clock::new_id;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::broker::Broker;
use crate::laws::keeps_the_laws;
use crate::process::{Desk, persist};
use crate::server::database;
use crate::shop::{Shop, caught_up, digests, eventually, rebuild_all};

/// Within so long the lanes of a process that was killed are written again, on two cores that start its successor as well;
/// `cartulary bench fanout` measures it on a quiet machine against the bar of five seconds.
const HANDED_OVER_WITHIN: Duration = Duration::from_secs(8);
/// Tenants, so that lanes of every process get something to do.
const SHOPS: usize = 4;

/// How often in a row each client reserves, so that most of it is under way when a process is killed.
const IN_A_ROW: usize = 10;
/// So long after they began one is killed.
const KILLED_AFTER: Duration = Duration::from_millis(30);

/// Reserves in every shop through every front, several times in a row; how long the slowest of them took.
async fn reserve_everywhere(shops: &[(Shop, Vec<Client>)], accepted: &mut Vec<Uuid>) -> Result<Duration> {
    let begun = Instant::now();
    let asked = shops.iter().flat_map(|(shop, fronts)| {
        (0..fronts.len()).map(move |first| {
            // A front that is gone is left for the next one.
            let fronts: Vec<_> = fronts[first..].iter().chain(&fronts[..first]).collect();
            async move {
                let mut ids = Vec::new();
                for _ in 0..IN_A_ROW {
                    let (id, body) = (new_id(), shop.reservation(new_id()));
                    let answer = persist(&fronts, "ReserveStock", id, &body).await?;
                    ensure!(answer["outcome"] == "accepted", "{answer}");
                    ids.push(id);
                }
                Ok(ids)
            }
        })
    });
    accepted.extend(futures::future::try_join_all(asked).await?.into_iter().flatten());
    Ok(begun.elapsed())
}

/// Every process of a small installation; Kafka between the log and those who follow it where there is one.
fn fleet(kafka: bool) -> Vec<(&'static str, &'static str)> {
    let mut fleet = vec![("scribe", "scribe-1"), ("scribe", "scribe-2"), ("serve", "serve-1"), ("serve", "serve-2")];
    if kafka {
        // Without the topic that they make nobody is dealt lanes.
        fleet.extend([("relay", "relay-1"), ("relay", "relay-2")]);
    }
    fleet.extend([("policies", "policies-1"), ("policies", "policies-2")]);
    fleet.extend([("project", "project-1"), ("project", "project-2")]);
    if kafka {
        fleet.push(("project", "project-3"));
    }
    fleet
}

/// Kills every process once under load and starts it again. In the end nothing is lost, doubled or left undone.
async fn kill_each(brokers: Option<&str>) -> Result<()> {
    let url = database().await;
    let (desk, pool) = (Desk::new(&url).await?, running::connect(&url).await?);
    let variables: Vec<_> = brokers.map(|brokers| ("CARTULARY_KAFKA_BROKERS", brokers)).into_iter().collect();
    let mut processes: Vec<(&str, &str, Member)> = Vec::new();
    for (role, name) in fleet(brokers.is_some()) {
        processes.push((role, name, desk.start_role(role, name, &variables).await?));
    }
    let mut shops = Vec::new();
    for _ in 0..SHOPS {
        let (shop, one) = desk.shop(&processes[2].2, &pool, 1_000_000).await?;
        let other = desk.owner(&processes[3].2, shop.tenant).await?;
        shops.push((shop, vec![one, other]));
    }
    let mut accepted = Vec::new();
    reserve_everywhere(&shops, &mut accepted).await?;

    for place in 0..processes.len() {
        let (role, name, killed) = processes.remove(place);
        let kill = async {
            sleep(KILLED_AFTER).await;
            killed.kill().await
        };
        let (took, ()) = futures::try_join!(reserve_everywhere(&shops, &mut accepted), kill)?;
        ensure!(took > KILLED_AFTER, "{name} was killed when nothing was under way any more");
        ensure!(took < HANDED_OVER_WITHIN, "without {name} it took {took:?}");
        processes.insert(place, (role, name, desk.start_role(role, name, &variables).await?));
        // It listens at another address now.
        if role == "serve" {
            for (shop, fronts) in &mut shops {
                fronts[place - 2] = desk.owner(&processes[place].2, shop.tenant).await?;
            }
        }
        reserve_everywhere(&shops, &mut accepted).await?;
    }

    if brokers.is_some() {
        // The group waits some seconds for members that were killed, and the log is followed meanwhile.
        goes_over_kafka(&processes, async || reserve_everywhere(&shops, &mut accepted).await.map(drop)).await?;
    }
    let reserved: Vec<Uuid> =
        sqlx::query_scalar("SELECT command_id FROM log.events WHERE type = 'stock.reserved'").fetch_all(&pool).await?;
    assert_eq!(reserved.len(), accepted.len(), "one effect for each accepted command");
    assert!(accepted.iter().all(|id| reserved.contains(id)), "nothing acknowledged is lost");
    caught_up(&pool).await?;
    for (_, _, process) in processes {
        process.stop().await?;
    }
    caught_up(&pool).await?;
    let live = digests(&pool).await?;
    rebuild_all(&pool, 1_000).await?;
    assert_eq!(live, digests(&pool).await?, "the read models equal a rebuild");
    keeps_the_laws(&pool).await
}

/// Whether what is done reaches read models and policies over Kafka, in the end.
async fn goes_over_kafka(
    processes: &[(&str, &str, Member)],
    mut something_is_done: impl AsyncFnMut() -> Result<()>,
) -> Result<()> {
    let from_kafka = "cartulary_events_from_kafka_total";
    for (role, figure) in
        [("relay", "cartulary_relayed_events_total"), ("project", from_kafka), ("policies", from_kafka)]
    {
        eventually(figure, async || {
            something_is_done().await?;
            let mut events = 0;
            for (_, _, process) in processes.iter().filter(|(of, ..)| *of == role) {
                events += process.counted(figure).await?;
            }
            Ok(events > 0)
        })
        .await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_role_may_be_killed_and_nothing_is_lost_doubled_or_left_undone() -> Result<()> {
    kill_each(None).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_holds_with_kafka_between_the_log_and_those_who_follow_it() -> Result<()> {
    let broker = Broker::start().await?;
    kill_each(Some(&broker.address)).await
}
