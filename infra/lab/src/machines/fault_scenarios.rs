//! Fault scenarios: two nodes are isolated by network faults and one is killed while callers place orders. Each
//! recovery is checked.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use servers::{Program, Server};
use sqlx::PgPool;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until};

use super::ScenarioReport;
use super::installation::{Installation, wait_for};
use super::load::{LoadShops, OrderRequest, SendResult};
use super::network::{Machine, Network};
use crate::demo::Check;
use crate::fleet::EngineProcess;

/// Network fault that isolates a node: its processes keep running and reach no other machine.
struct NetworkFault {
    node: usize,
    name: &'static str,
    begin: fn(&Network, &Machine) -> Result<()>,
    end: fn(&Network, &Machine) -> Result<()>,
}

const NETWORK_FAULTS: [NetworkFault; 2] = [
    NetworkFault { node: 0, name: "link down", begin: Network::link_down, end: Network::link_up },
    NetworkFault {
        node: 2,
        name: "packets dropped",
        begin: Network::detach_from_bridge,
        end: Network::attach_to_bridge,
    },
];
/// Index of the node that is killed.
const KILLED: usize = 1;
/// Time without a fault: before the first fault, and after each recovery.
const CALM_TIME: Duration = Duration::from_secs(6);
/// Duration of a network fault.
const FAULT_TIME: Duration = Duration::from_secs(15);
/// Time limit until other nodes have taken over the lanes of a node: three seconds of the lease, 0.75 until the next
/// heartbeat, and a reserve.
const TAKEOVER_LIMIT: Duration = Duration::from_secs(5);
/// Time limit until every isolated process reports the outage of the database.
const OUTAGE_REPORT_LIMIT: Duration = Duration::from_secs(10);
/// Time limit until PostgreSQL has detected that a client is unreachable and has released its locks.
const LOCK_RELEASE_LIMIT: Duration = Duration::from_secs(13);
/// Key of the advisory lock that a client on the isolated node holds.
const LOCK: i64 = 0x6361_7274;
/// Time limit until a reconnected or restarted node is ready and writes its assigned lanes.
const RECOVERY_LIMIT: Duration = Duration::from_secs(10);
/// Time limit until the Kafka consumer group has assigned lanes to the node's read models again.
const REASSIGNMENT_LIMIT: Duration = Duration::from_secs(30);
/// Limit of the time for which a caller, which tries one node after the other, waits for an answer.
const CALLER_WAIT_LIMIT: Duration = Duration::from_secs(10);
/// Number of timed connections.
const TIMED_CONNECTIONS: usize = 21;
/// Metric: events that read models and policies received over Kafka.
const EVENTS_FROM_KAFKA: &str = "cartulary_events_from_kafka_total";

/// Period of one fault with its recovery, or of the calm before the first fault.
pub(super) struct Phase {
    name: &'static str,
    from: Instant,
    until: Instant,
}

/// Reports the network round trip from a node to the servers: the median time to open a TCP connection.
pub(super) async fn round_trip(network: &Network, servers: &[Server], report: &mut ScenarioReport) -> Result<()> {
    let server = servers
        .iter()
        .find(|server| server.program == Program::Redis)
        .context("Redis is not among the started servers")?;
    let address = SocketAddr::from((server.host, server.port));
    let took = network.nodes[0].run_inside(move || {
        let mut took = Vec::new();
        for _ in 0..TIMED_CONNECTIONS {
            let begun = Instant::now();
            TcpStream::connect(address)?;
            took.push(begun.elapsed());
        }
        took.sort_unstable();
        Ok(took[TIMED_CONNECTIONS / 2])
    });
    report.figure("a connection from a node to the servers, median".into(), took.await?.as_secs_f64() * 1e3, "ms");
    Ok(())
}

/// Runs all scenarios. Returns their periods and the orders that were sent from isolated nodes.
pub(super) async fn run_scenarios(
    network: &Network,
    installation: &mut Installation,
    shops: &Arc<LoadShops>,
    report: &mut ScenarioReport,
) -> Result<(Vec<Phase>, Vec<OrderRequest>)> {
    let (mut phases, mut isolated_orders) = (Vec::new(), Vec::new());
    let from = Instant::now();
    sleep(CALM_TIME).await;
    phases.push(Phase { name: "calm", from, until: Instant::now() });
    for fault in NETWORK_FAULTS {
        let node = &network.nodes[fault.node];
        report.log(format!("\n{}: {} for {FAULT_TIME:?}", node.name, fault.name));
        let from = Instant::now();
        let order = shops.order_at(fault.node);
        let lock = hold_lock(node, installation.database_url()?).await?;
        (fault.begin)(network, node)?;
        check_isolation(&fault, node, installation, shops, &order, report).await?;
        drop(lock);
        sleep_until(from + FAULT_TIME).await;
        report.log(format!("reconnecting {}", node.name));
        (fault.end)(network, node)?;
        isolated_orders.push(check_recovery(&fault, installation, shops, order, report).await?);
        sleep(CALM_TIME).await;
        phases.push(Phase { name: fault.name, from, until: Instant::now() });
    }
    report.log(format!("\n{}: all processes killed", network.nodes[KILLED].name));
    let from = Instant::now();
    let count = installation.kill(KILLED).await?;
    let took = installation.wait_for_takeover(KILLED).await?;
    report.within("killed: its lanes are written by others".into(), took, TAKEOVER_LIMIT);
    report.log(format!("restarting {count} processes"));
    let begun = Instant::now();
    installation.restart(network, KILLED).await?;
    installation.wait_for_assigned_lanes(KILLED).await?;
    report.within("restarted: ready, and it writes its assigned lanes".into(), begun.elapsed(), RECOVERY_LIMIT);
    sleep(CALM_TIME).await;
    phases.push(Phase { name: "killed", from, until: Instant::now() });
    Ok((phases, isolated_orders))
}

/// Checks, while a node is isolated, that other nodes take over its lanes, that its processes report the outage, that
/// the server releases the locks of its clients, and that it decides no order of a caller on the node itself.
async fn check_isolation(
    fault: &NetworkFault,
    node: &Machine,
    installation: &Installation,
    shops: &Arc<LoadShops>,
    order: &OrderRequest,
    report: &mut ScenarioReport,
) -> Result<()> {
    let processes = installation.of_node(fault.node);
    let outage_reports = try_join_all(processes.iter().map(|process| wait_for_outage_report(node, process)));
    let (takeover, outage_reports, lock_release, decided) = futures::try_join!(
        installation.wait_for_takeover(fault.node),
        outage_reports,
        wait_for_lock_release(&installation.pool),
        is_decided_on_node(node, shops, order),
    )?;
    let named = |what: &str| format!("{}: {what}", fault.name);
    report.within(named("its lanes are written by others"), takeover, TAKEOVER_LIMIT);
    report.within(named("the server releases the locks of a client on that node"), lock_release, LOCK_RELEASE_LIMIT);
    let slowest = outage_reports.iter().map(|(took, _)| *took).max().unwrap_or_default();
    report.within(named("each of its processes reports the outage on /reason"), slowest, OUTAGE_REPORT_LIMIT);
    for (process, (_, reason)) in processes.iter().zip(&outage_reports) {
        report.log(format!("    {}: {reason}", process.name));
    }
    report.check(Check::equal(&named("orders that the isolated node decided"), u32::from(decided), 0));
    Ok(())
}

/// Opens a transaction from a client on this node and takes the advisory lock in it. Dropping the returned sender ends
/// the transaction.
async fn hold_lock(node: &Machine, url: &str) -> Result<oneshot::Sender<()>> {
    let (url, node) = (url.to_owned(), node.clone());
    let ((held, is_held), (end, ended)) = (oneshot::channel(), oneshot::channel());
    tokio::spawn(async move {
        let client = async move {
            let pool = platform::database::connect(&url).await?;
            let mut transaction = pool.begin().await?;
            sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *transaction).await?;
            held.send(()).ok();
            ended.await.ok();
            Ok(())
        };
        node.run_inside(move || block_on_this_thread(client)).await
    });
    is_held.await.context("a client on the node cannot take the lock")?;
    Ok(end)
}

/// Waits until another client can take the lock. Returns how long that took.
async fn wait_for_lock_release(pool: &PgPool) -> Result<Duration> {
    let text = "SELECT pg_try_advisory_xact_lock($1)";
    wait_for("the lock of an unreachable client is released", async || {
        Ok(sqlx::query_scalar(text).bind(LOCK).fetch_one(pool).await?)
    })
    .await
}

/// Waits until a process reports the outage of the database, queried from its own node. Returns how long that took, and
/// the text of the report.
async fn wait_for_outage_report(node: &Machine, process: &EngineProcess) -> Result<(Duration, String)> {
    let (mut reason, what) = (String::new(), format!("{} reports the outage", process.name));
    let took = wait_for(&what, async || {
        let page = process.page("/reason");
        (_, reason) = node.run_inside(move || block_on_this_thread(async move { page.read().await })).await?;
        Ok(reason.contains("the database"))
    })
    .await?;
    Ok((took, reason))
}

/// Sends an order from the isolated node itself; true if it is decided there.
async fn is_decided_on_node(node: &Machine, shops: &Arc<LoadShops>, order: &OrderRequest) -> Result<bool> {
    let (shops, order) = (shops.clone(), order.clone());
    let result = node.run_inside(move || block_on_this_thread(async move { shops.send_once(&order).await })).await?;
    Ok(matches!(result, SendResult::Decided(_)))
}

/// Runs a future on the current thread only: [`Machine::run_inside`] has moved this thread, and no other one of this
/// process, into the namespace of the machine.
fn block_on_this_thread<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// Checks that a reconnected node recovers without intervention. Returns the order, which the node now decides.
async fn check_recovery(
    fault: &NetworkFault,
    installation: &Installation,
    shops: &LoadShops,
    order: OrderRequest,
    report: &mut ScenarioReport,
) -> Result<OrderRequest> {
    let begun = Instant::now();
    let named = |what: &str| format!("{}, reconnected: {what}", fault.name);
    let ready = installation.of_node(fault.node).into_iter().map(|process| async move {
        let what = format!("{} is ready again", process.name);
        wait_for(&what, async || Ok(process.get("/ready").await.is_ok_and(|(status, _)| status == 200))).await
    });
    let ready = try_join_all(ready).await?.into_iter().max().unwrap_or_default();
    report.within(named("each of its processes is ready"), ready, RECOVERY_LIMIT);
    installation.wait_for_assigned_lanes(fault.node).await?;
    report.within(named("it writes its assigned lanes"), begun.elapsed(), RECOVERY_LIMIT);
    let project = installation.of_node(fault.node).into_iter().find(|process| process.name.starts_with("project"));
    let project = project.context("the node has no `project` process")?;
    let before = project.metric_sum(EVENTS_FROM_KAFKA).await?;
    wait_for("events arrive over Kafka", async || Ok(project.metric_sum(EVENTS_FROM_KAFKA).await? > before)).await?;
    report.within(named("its read models receive events over Kafka"), begun.elapsed(), REASSIGNMENT_LIMIT);
    let order = shops.send_until_decided(order).await?;
    ensure!(order.accepted, "an order was rejected although its product is in stock");
    Ok(order)
}

/// Reports how long callers waited for an answer.
pub(super) fn report_waits(phases: &[Phase], orders: &[OrderRequest], report: &mut ScenarioReport) {
    report.log("\nCallers");
    for phase in phases {
        let waits = phase.waits(orders);
        let longest = waits.last().copied().unwrap_or_default();
        if phase.name == "calm" {
            let per_second = waits.len() as f64 / (phase.until - phase.from).as_secs_f64();
            report.figure("calm: orders answered".into(), per_second, "per second");
            for part in [50, 99] {
                let wait = waits.get(waits.len() * part / 100).copied().unwrap_or_default();
                report.figure(format!("calm: time to an answer, p{part}"), wait.as_secs_f64() * 1e3, "ms");
            }
        }
        report.within(format!("{}: longest wait of any caller", phase.name), longest, CALLER_WAIT_LIMIT);
    }
}

impl Phase {
    /// Time to the answer of each order that was answered in this period, in ascending order.
    fn waits(&self, orders: &[OrderRequest]) -> Vec<Duration> {
        let answered = orders.iter().filter(|order| (self.from..self.until).contains(&order.answered));
        let mut waits: Vec<_> = answered.map(|order| order.answered - order.sent).collect();
        waits.sort_unstable();
        waits
    }
}
