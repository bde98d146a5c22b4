//! What happens to the nodes while callers buy.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use servers::{Program, Server};
use sqlx::PgPool;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until};

use super::Findings;
use super::installation::{Installation, when};
use super::load::{Market, Order, Said};
use super::network::{Machine, Network};
use crate::demo::Claim;
use crate::fleet::{self, Member};

/// A way in which a node is cut off while its processes go on.
struct Loss {
    node: usize,
    name: &'static str,
    begin: fn(&Network, &Machine) -> Result<()>,
    end: fn(&Network, &Machine) -> Result<()>,
}

const LOSSES: [Loss; 2] = [
    Loss { node: 0, name: "cable out", begin: Network::unplug, end: Network::plug },
    Loss { node: 2, name: "packets lost", begin: Network::silence, end: Network::hear },
];
/// Place of the node that is killed.
const KILLED: usize = 1;
/// How long nothing happens, at first and between two of these.
const CALM: Duration = Duration::from_secs(6);
/// For how long a node is cut off.
const CUT_FOR: Duration = Duration::from_secs(15);
/// Within so long others write the lanes of a node that is gone: a lease of three seconds, and the heartbeat after it.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(5);
/// Within so long everybody who was cut off has said so.
const TOLD_WITHIN: Duration = Duration::from_secs(10);
/// Within so long the server has noticed that a client is gone without a word.
const LET_GO_WITHIN: Duration = Duration::from_secs(13);
/// A lock that nothing else takes.
const LOCK: i64 = 0x6361_7274;
/// Within so long a node works again that is back on the network, or started again.
const BACK_WITHIN: Duration = Duration::from_secs(10);
/// Within so long Kafka's group has given its read models lanes again.
const FOLLOWS_WITHIN: Duration = Duration::from_secs(30);
/// Nobody who goes from door to door waits longer for an answer.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);
/// Connections that are timed.
const ROUND_TRIPS: usize = 21;
/// What read models have taken from Kafka.
const FROM_KAFKA: &str = "cartulary_events_from_kafka_total";

/// A time in which something was the matter, or nothing.
pub(super) struct Scene {
    name: &'static str,
    from: Instant,
    until: Instant,
}

/// How long a packet takes from a node to the servers and back: the median of what opening a connection takes.
pub(super) async fn round_trip(network: &Network, servers: &[Server], findings: &mut Findings) -> Result<()> {
    let server = servers.iter().find(|server| server.program == Program::Redis).context("Redis was started")?;
    let address = SocketAddr::from((server.host, server.port));
    let took = network.nodes[0].inside(move || {
        let mut took = Vec::new();
        for _ in 0..ROUND_TRIPS {
            let begun = Instant::now();
            TcpStream::connect(address)?;
            took.push(begun.elapsed());
        }
        took.sort_unstable();
        Ok(took[ROUND_TRIPS / 2])
    });
    findings.figure("a connection from a node to the servers, median".into(), took.await?.as_secs_f64() * 1e3, "ms");
    Ok(())
}

/// All scenes. Gives back when they were, and the orders that were asked for on nodes that were cut off.
pub(super) async fn play(
    network: &Network,
    installation: &mut Installation,
    market: &Arc<Market>,
    findings: &mut Findings,
) -> Result<(Vec<Scene>, Vec<Order>)> {
    let (mut scenes, mut alone) = (Vec::new(), Vec::new());
    let from = Instant::now();
    sleep(CALM).await;
    scenes.push(Scene { name: "calm", from, until: Instant::now() });
    for loss in LOSSES {
        let node = &network.nodes[loss.node];
        findings.says(format!("\n{}, {} for {CUT_FOR:?}", node.name, loss.name));
        let from = Instant::now();
        let order = market.order_at(loss.node);
        let lock = hold_a_lock(node, installation.database_url()?).await?;
        (loss.begin)(network, node)?;
        cut_off(&loss, node, installation, market, &order, findings).await?;
        drop(lock);
        sleep_until(from + CUT_FOR).await;
        findings.says(format!("{} is on the network again", node.name));
        (loss.end)(network, node)?;
        alone.push(comes_back(&loss, installation, market, order, findings).await?);
        sleep(CALM).await;
        scenes.push(Scene { name: loss.name, from, until: Instant::now() });
    }
    findings.says(format!("\n{}, all processes killed", network.nodes[KILLED].name));
    let from = Instant::now();
    let count = installation.kill(KILLED).await?;
    let took = installation.taken_over(KILLED).await?;
    findings.within("killed: its lanes are written by others".into(), took, TAKEN_OVER_WITHIN);
    findings.says(format!("{count} processes are started again"));
    let begun = Instant::now();
    installation.start_again(network, KILLED).await?;
    installation.has_its_share(KILLED).await?;
    findings.within("started again: ready, and it writes its share of the lanes".into(), begun.elapsed(), BACK_WITHIN);
    sleep(CALM).await;
    scenes.push(Scene { name: "killed", from, until: Instant::now() });
    Ok((scenes, alone))
}

/// What is seen while a node is cut off: by others, by its processes, and by somebody who calls from the node itself.
async fn cut_off(
    loss: &Loss,
    node: &Machine,
    installation: &Installation,
    market: &Arc<Market>,
    order: &Order,
    findings: &mut Findings,
) -> Result<()> {
    let members = installation.of_node(loss.node);
    let told = try_join_all(members.iter().map(|member| told_what_is_away(node, member)));
    let (taken_over, told, let_go, decided) = futures::try_join!(
        installation.taken_over(loss.node),
        told,
        lock_is_let_go(&installation.pool),
        decides_alone(node, market, order),
    )?;
    let named = |what: &str| format!("{}: {what}", loss.name);
    findings.within(named("its lanes are written by others"), taken_over, TAKEN_OVER_WITHIN);
    findings.within(named("the server lets go of the locks of a client there"), let_go, LET_GO_WITHIN);
    let slowest = told.iter().map(|(took, _)| *took).max().unwrap_or_default();
    findings.within(named("each of its processes says on /reason what is away"), slowest, TOLD_WITHIN);
    for (member, (_, reason)) in members.iter().zip(&told) {
        findings.says(format!("    {}: {reason}", member.name));
    }
    findings.claim(Claim::equal(&named("orders that the node decided alone"), u32::from(decided), 0));
    Ok(())
}

/// Has a client on a node take a lock in the middle of a transaction, and keep it until what is given back is dropped.
async fn hold_a_lock(node: &Machine, url: &str) -> Result<oneshot::Sender<()>> {
    let (url, node) = (url.to_owned(), node.clone());
    let ((held, is_held), (let_go, over)) = (oneshot::channel(), oneshot::channel());
    tokio::spawn(async move {
        let client = async move {
            let pool = platform::database::connect(&url).await?;
            let mut transaction = pool.begin().await?;
            sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *transaction).await?;
            held.send(()).ok();
            over.await.ok();
            Ok(())
        };
        node.inside(move || alone_on_a_thread(client)).await
    });
    is_held.await.context("a client on the node cannot take a lock")?;
    Ok(let_go)
}

/// Waits until somebody else can have the lock; how long that took.
async fn lock_is_let_go(pool: &PgPool) -> Result<Duration> {
    let text = "SELECT pg_try_advisory_xact_lock($1)";
    when("the lock of a client that is gone is let go", async || {
        Ok(sqlx::query_scalar(text).bind(LOCK).fetch_one(pool).await?)
    })
    .await
}

/// Waits until a process says on its node that the database is away; when, and in which words.
async fn told_what_is_away(node: &Machine, member: &Member) -> Result<(Duration, String)> {
    let (mut reason, what) = (String::new(), format!("{} says what is away", member.name));
    let took = when(&what, async || {
        let url = format!("{}/reason", member.url);
        (_, reason) = node.inside(move || alone_on_a_thread(async move { fleet::page(&url).await })).await?;
        Ok(reason.contains("the database"))
    })
    .await?;
    Ok((took, reason))
}

/// Whether somebody who calls from the node that is cut off gets a decision there.
async fn decides_alone(node: &Machine, market: &Arc<Market>, order: &Order) -> Result<bool> {
    let (market, order) = (market.clone(), order.clone());
    let said = node.inside(move || alone_on_a_thread(async move { market.once(&order).await })).await?;
    Ok(matches!(said, Said::Decided(_)))
}

/// Runs on this very thread, for it is on another machine.
fn alone_on_a_thread<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// What must come by itself once a node is on the network again.
async fn comes_back(
    loss: &Loss,
    installation: &Installation,
    market: &Market,
    alone: Order,
    findings: &mut Findings,
) -> Result<Order> {
    let begun = Instant::now();
    let named = |what: &str| format!("{}, then back: {what}", loss.name);
    let ready = installation.of_node(loss.node).into_iter().map(|member| async move {
        let what = format!("{} is ready again", member.name);
        when(&what, async || Ok(member.get("/ready").await.is_ok_and(|(status, _)| status == 200))).await
    });
    let ready = try_join_all(ready).await?.into_iter().max().unwrap_or_default();
    findings.within(named("each of its processes is ready"), ready, BACK_WITHIN);
    installation.has_its_share(loss.node).await?;
    findings.within(named("it writes its share of the lanes"), begun.elapsed(), BACK_WITHIN);
    let project = installation.of_node(loss.node).into_iter().find(|member| member.name.starts_with("project"));
    let project = project.context("a node keeps read models")?;
    let before = project.counted(FROM_KAFKA).await?;
    when("events come over Kafka", async || Ok(project.counted(FROM_KAFKA).await? > before)).await?;
    findings.within(named("events come to its read models over Kafka"), begun.elapsed(), FOLLOWS_WITHIN);
    let alone = market.decided(alone).await?;
    ensure!(alone.accepted, "an order was refused though there is enough");
    Ok(alone)
}

/// How long callers waited for an answer.
pub(super) fn tell_waits(scenes: &[Scene], orders: &[Order], findings: &mut Findings) {
    findings.says("\nCallers");
    for scene in scenes {
        let waits = scene.waits(orders);
        let longest = waits.last().copied().unwrap_or_default();
        if scene.name == "calm" {
            let per_second = waits.len() as f64 / (scene.until - scene.from).as_secs_f64();
            findings.figure("calm: orders answered".into(), per_second, "per second");
            for part in [50, 99] {
                let wait = waits.get(waits.len() * part / 100).copied().unwrap_or_default();
                findings.figure(format!("calm: an answer, p{part}"), wait.as_secs_f64() * 1e3, "ms");
            }
        }
        findings.within(format!("{}: the longest that anybody waited", scene.name), longest, ANSWERED_WITHIN);
    }
}

impl Scene {
    /// How long those waited whose answer came in this time, the longest last.
    fn waits(&self, orders: &[Order]) -> Vec<Duration> {
        let answered = orders.iter().filter(|order| (self.from..self.until).contains(&order.answered));
        let mut waits: Vec<_> = answered.map(|order| order.answered - order.asked).collect();
        waits.sort_unstable();
        waits
    }
}
