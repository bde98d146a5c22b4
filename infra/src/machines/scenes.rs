//! What happens to the nodes while callers buy.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::future::try_join_all;
use servers::{Program, Server};
use tokio::time::{Instant, sleep, sleep_until};

use super::Findings;
use super::installation::{Installation, when};
use super::load::{Market, Order, Said};
use super::network::{Machine, Network};
use crate::crew::{self, Member};
use crate::demo::Claim;

/// Places of the node that is cut off, and of the one that is killed.
const CUT_OFF: usize = 0;
const KILLED: usize = 1;
/// How long nothing happens, at first, between the two, and at the end.
const CALM: Duration = Duration::from_secs(8);
/// For how long a cable is out.
const CUT_FOR: Duration = Duration::from_secs(15);
/// Within so long others write the lanes of a node that is gone: a lease of three seconds, and the heartbeat after it.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(5);
/// Within so long everybody who was cut off has said so.
const TOLD_WITHIN: Duration = Duration::from_secs(12);
/// Within so long a node works again that is back on the network, or started again.
const BACK_WITHIN: Duration = Duration::from_secs(30);
/// Who waits for an answer through a door that works waits no longer.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);
/// Connections that are timed.
const ROUND_TRIPS: usize = 21;

/// When the scenes began.
pub(super) struct Scenes {
    calm: Instant,
    cut: Instant,
    back: Instant,
    killed: Instant,
    ended: Instant,
}

/// How long a packet takes from a node to the servers and back: the median of what opening a connection takes.
pub(super) async fn round_trip(network: &Network, servers: &[Server], findings: &mut Findings) -> Result<()> {
    let server = servers.iter().find(|server| server.program == Program::Redis).context("Redis was started")?;
    let address = SocketAddr::from((server.host, server.port));
    let took = network.nodes[CUT_OFF].inside(move || {
        let mut took = Vec::new();
        for _ in 0..ROUND_TRIPS {
            let begun = Instant::now();
            TcpStream::connect(address)?;
            took.push(begun.elapsed());
        }
        took.sort_unstable();
        Ok(took[ROUND_TRIPS / 2])
    });
    findings.figure("a connection from a node to the servers, median", took.await?.as_secs_f64() * 1e3, "ms");
    Ok(())
}

/// All scenes. Gives back the order that was asked for on the node that was cut off.
pub(super) async fn play(
    network: &Network,
    installation: &mut Installation,
    market: &Arc<Market>,
    findings: &mut Findings,
) -> Result<(Scenes, Order)> {
    let calm = Instant::now();
    sleep(CALM).await;
    let node = &network.nodes[CUT_OFF];
    findings.says(format!("\nThe cable of {} is pulled", node.name));
    network.unplug(node)?;
    let cut = Instant::now();
    let alone = market.order_at(CUT_OFF);
    cut_off(node, installation, market, &alone, findings).await?;
    sleep_until(cut + CUT_FOR).await;
    findings.says(format!("\nThe cable of {} is put back", node.name));
    network.plug(node)?;
    let back = Instant::now();
    let alone = comes_back(installation, market, alone, findings).await?;
    sleep(CALM).await;

    findings.says(format!("\nAll processes of {} are killed", network.nodes[KILLED].name));
    let killed = Instant::now();
    let count = installation.kill(KILLED).await?;
    let took = installation.taken_over(KILLED).await?;
    findings.within("kill -9 of a node: its lanes are written by others", took, TAKEN_OVER_WITHIN);
    findings.says(format!("{count} processes are started again"));
    let begun = Instant::now();
    installation.start_again(network, KILLED).await?;
    installation.has_its_share(KILLED).await?;
    findings.within("started again: ready, with its share of the lanes", begun.elapsed(), BACK_WITHIN);
    sleep(CALM).await;
    Ok((Scenes { calm, cut, back, killed, ended: Instant::now() }, alone))
}

/// What is seen while the cable is out: by others, by its processes, and by somebody who calls from the node itself.
async fn cut_off(
    node: &Machine,
    installation: &Installation,
    market: &Arc<Market>,
    order: &Order,
    findings: &mut Findings,
) -> Result<()> {
    let members = installation.of_node(CUT_OFF);
    let told = try_join_all(members.iter().map(|member| told_what_is_away(node, member)));
    let (taken_over, told, decided) =
        futures::try_join!(installation.taken_over(CUT_OFF), told, decides_alone(node, market, order))?;
    findings.within("cut off: its lanes are written by others", taken_over, TAKEN_OVER_WITHIN);
    let slowest = told.iter().map(|(took, _)| *took).max().unwrap_or_default();
    findings.within("cut off: every process of the node has said on /reason what is away", slowest, TOLD_WITHIN);
    for (member, (_, reason)) in members.iter().zip(&told) {
        findings.says(format!("    {}: {reason}", member.name));
    }
    findings.claim(Claim::equal("orders that the node decided while it was cut off", u32::from(decided), 0));
    Ok(())
}

/// Waits until a process says on its node that the database is away; when, and in which words.
async fn told_what_is_away(node: &Machine, member: &Member) -> Result<(Duration, String)> {
    let (mut reason, what) = (String::new(), format!("{} says what is away", member.name));
    let took = when(&what, async || {
        let url = format!("{}/reason", member.url);
        (_, reason) = node.inside(move || alone_on_a_thread(async move { crew::page(&url).await })).await?;
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

/// What must come by itself once the cable is back.
async fn comes_back(
    installation: &Installation,
    market: &Market,
    alone: Order,
    findings: &mut Findings,
) -> Result<Order> {
    let begun = Instant::now();
    let members = installation.of_node(CUT_OFF);
    let ready = members.iter().map(|member| async {
        when(&format!("{} is ready again", member.name), async || Ok(member.get("/ready").await?.0 == 200)).await
    });
    let ready = try_join_all(ready).await?;
    for (member, took) in members.iter().zip(&ready) {
        findings.says(format!("    {} is ready again after {took:.1?}", member.name));
    }
    findings.within(
        "cable back: every process of the node is ready",
        ready.into_iter().max().unwrap_or_default(),
        BACK_WITHIN,
    );
    installation.has_its_share(CUT_OFF).await?;
    findings.within("cable back: it writes its share of the lanes", begun.elapsed(), BACK_WITHIN);
    let project = installation.in_role("project").into_iter().next().context("somebody keeps read models")?;
    let before = project.counted(FROM_KAFKA).await?;
    when("events come to it over Kafka", async || Ok(project.counted(FROM_KAFKA).await? > before)).await?;
    findings.within("cable back: events come to its read models over Kafka", begun.elapsed(), BACK_WITHIN);
    let alone = market.decided(alone).await?;
    if !alone.accepted {
        bail!("an order was refused though there is enough");
    }
    Ok(alone)
}

/// What read models have taken from Kafka.
const FROM_KAFKA: &str = "cartulary_events_from_kafka_total";

impl Scenes {
    /// How long callers waited for an answer.
    pub(super) fn tell_waits(&self, orders: &[Order], findings: &mut Findings) {
        findings.says("\nCallers");
        let calm: Vec<_> = waits(orders, self.calm, self.cut);
        let per_second = calm.len() as f64 / (self.cut - self.calm).as_secs_f64();
        findings.figure("orders answered in calm", per_second, "per second");
        for (name, part) in [("an answer in calm, p50", 50), ("an answer in calm, p99", 99)] {
            let wait = calm.get(calm.len() * part / 100).copied().unwrap_or_default();
            findings.figure(name, wait.as_secs_f64() * 1e3, "ms");
        }
        for (name, from, until) in [
            ("the longest that anybody waited around the cut", self.cut, self.back),
            ("the longest that anybody waited after the return", self.back, self.killed),
            ("the longest that anybody waited around the kill", self.killed, self.ended),
        ] {
            let longest = waits(orders, from, until).last().copied().unwrap_or_default();
            findings.within(name, longest, ANSWERED_WITHIN);
        }
    }
}

/// How long those waited whose answer came in this time, the longest last.
fn waits(orders: &[Order], from: Instant, until: Instant) -> Vec<Duration> {
    let answered = orders.iter().filter(|order| (from..until).contains(&order.answered));
    let mut waits: Vec<_> = answered.map(|order| order.answered - order.asked).collect();
    waits.sort_unstable();
    waits
}
