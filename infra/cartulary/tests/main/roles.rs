//! Every role in processes of its own, which are killed one after the other under load.

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use lab::demo::client::Client;
use lab::fleet::EngineProcess;
use lab::harness::{Broker, Cluster, Shop, caught_up, database, digests, eventually, rebuild_all, send_until_decided};
use lab::log_invariants::check_log_invariants;
use platform::clock::new_id;
use tokio::sync::watch;
use uuid::Uuid;

/// Tenants, enough for every process to get lanes with commands.
const SHOPS: usize = 4;

/// Number of commands that each client sends. A process is killed after the first answer to any of them.
const IN_A_ROW: usize = 10;

/// Reserves in every shop through every serving process, [`IN_A_ROW`] times each. Each client sends its last command
/// after `kill` has completed.
async fn reserve_everywhere(
    shops: &[(Shop, Vec<Client>)],
    accepted: &mut Vec<Uuid>,
    kill: impl Future<Output = Result<()>>,
) -> Result<()> {
    let (begun, killed) = (watch::Sender::new(false), watch::Sender::new(false));
    let clients = shops.iter().flat_map(|(shop, fronts)| {
        let (begun, killed) = (&begun, &killed);
        (0..fronts.len()).map(move |first| {
            // A client that gets no answer goes on with the next process.
            let fronts: Vec<_> = fronts[first..].iter().chain(&fronts[..first]).collect();
            async move {
                let mut ids = Vec::new();
                for number in 1..=IN_A_ROW {
                    if number == IN_A_ROW {
                        killed.subscribe().wait_for(|killed| *killed).await?;
                    }
                    let (id, body) = (new_id(), shop.reservation(new_id()));
                    let answer = send_until_decided(&fronts, "ReserveStock", id, &body).await?;
                    ensure!(answer["outcome"] == "accepted", "{answer}");
                    ids.push(id);
                    begun.send_replace(true);
                }
                anyhow::Ok(ids)
            }
        })
    });
    let killing = async {
        begun.subscribe().wait_for(|begun| *begun).await?;
        kill.await?;
        killed.send_replace(true);
        Ok(())
    };
    let (ids, ()) = futures::try_join!(try_join_all(clients), killing)?;
    accepted.extend(ids.into_iter().flatten());
    Ok(())
}

/// Kills no process, for [`reserve_everywhere`].
async fn none() -> Result<()> {
    Ok(())
}

/// Roles and names of the processes, with relays where there is Kafka.
fn fleet(kafka: bool) -> Vec<(&'static str, &'static str)> {
    let mut fleet = vec![("scribe", "scribe-1"), ("scribe", "scribe-2"), ("serve", "serve-1"), ("serve", "serve-2")];
    if kafka {
        // Relays create the topic, without which followers are assigned no lanes.
        fleet.extend([("relay", "relay-1"), ("relay", "relay-2")]);
    }
    fleet.extend([("policies", "policies-1"), ("policies", "policies-2")]);
    fleet.extend([("project", "project-1"), ("project", "project-2")]);
    if kafka {
        fleet.push(("project", "project-3"));
    }
    fleet
}

/// Kills every process once under load and starts it again. In the end no command is lost or doubled.
async fn kill_each(brokers: Option<&str>) -> Result<()> {
    let url = database().await;
    let (cluster, pool) = (Cluster::new(&url).await?, platform::database::connect(&url).await?);
    let variables: Vec<_> = brokers.map(|brokers| ("CARTULARY_KAFKA_BROKERS", brokers)).into_iter().collect();
    let mut processes: Vec<(&str, &str, EngineProcess)> = Vec::new();
    for (role, name) in fleet(brokers.is_some()) {
        processes.push((role, name, cluster.start_role(role, name, &variables).await?));
    }
    let mut shops = Vec::new();
    for _ in 0..SHOPS {
        let (shop, one) = cluster.shop(&processes[2].2, &pool, 1_000_000).await?;
        let other = cluster.owner(&processes[3].2, shop.tenant).await?;
        shops.push((shop, vec![one, other]));
    }
    let mut accepted = Vec::new();
    reserve_everywhere(&shops, &mut accepted, none()).await?;

    for place in 0..processes.len() {
        let (role, name, killed) = processes.remove(place);
        reserve_everywhere(&shops, &mut accepted, killed.kill())
            .await
            .with_context(|| format!("after {name} was killed"))?;
        processes.insert(place, (role, name, cluster.start_role(role, name, &variables).await?));
        // The address of a restarted serving process has changed.
        if role == "serve" {
            for (shop, fronts) in &mut shops {
                fronts[place - 2] = cluster.owner(&processes[place].2, shop.tenant).await?;
            }
        }
        reserve_everywhere(&shops, &mut accepted, none()).await?;
    }

    if brokers.is_some() {
        // The group waits some seconds for killed members, and followers read the log meanwhile.
        events_come_over_kafka(&processes, async || reserve_everywhere(&shops, &mut accepted, none()).await).await?;
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
    check_log_invariants(&pool).await
}

/// Waits until events reach read models and policies over Kafka.
async fn events_come_over_kafka(
    processes: &[(&str, &str, EngineProcess)],
    mut write: impl AsyncFnMut() -> Result<()>,
) -> Result<()> {
    let from_kafka = "cartulary_events_from_kafka_total";
    for (role, figure) in
        [("relay", "cartulary_relayed_events_total"), ("project", from_kafka), ("policies", from_kafka)]
    {
        eventually(figure, async || {
            write().await?;
            let mut events = 0;
            for (_, _, process) in processes.iter().filter(|(of, ..)| *of == role) {
                events += process.metric_sum(figure).await?;
            }
            Ok(events > 0)
        })
        .await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_command_is_lost_or_doubled_when_each_process_is_killed_once() -> Result<()> {
    kill_each(None).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_command_is_lost_or_doubled_when_each_process_is_killed_once_with_kafka() -> Result<()> {
    let broker = Broker::start().await?;
    kill_each(Some(&broker.address)).await
}
