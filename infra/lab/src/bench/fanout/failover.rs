//! Scribe failover: time that callers wait, and commands that are lost, when one of two scribe processes is killed. This
//! process runs the API.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cartulary::roles::Roles;
use domain::shared::CommandId;
use platform::clock::new_id;
use sqlx::PgPool;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::super::bench_engine::{BenchEngine, on_any_port};
use super::super::progress::Progress;
use super::super::report::Report;
use super::super::scratch_server::ScratchServer;
use crate::fleet::{self, Fleet};

/// Closed-loop clients, each with its own tenant.
const CLIENTS: usize = 20;
/// Number of kills; the longest wait is reported.
const KILLS: usize = 3;
/// Time under load before and after each kill.
const TIME_BEFORE: Duration = Duration::from_secs(3);
const TIME_AFTER: Duration = Duration::from_secs(10);
/// Time limit until a restarted scribe owns lanes.
const LANES_TIMEOUT: Duration = Duration::from_secs(30);
/// Wait after the answer "not now" before the same command is sent again.
const RETRY_DELAY: Duration = Duration::from_millis(50);

/// An accepted command.
struct AcceptedCommand {
    id: Uuid,
    sent: Instant,
    answered: Instant,
}

pub(super) async fn run(server: &ScratchServer, progress: &Progress, report: &mut Report) -> Result<()> {
    let database = server.create_database().await?;
    let fleet = Fleet::new(
        &server.create_folder("failover")?,
        vec![("CARTULARY_DATABASE_URL".to_owned(), database.url.clone())],
    )?;
    let mut scribes = VecDeque::new();
    for name in ["scribe-1", "scribe-2"] {
        scribes.push_back(fleet.start_ready("scribe", name).await?);
    }
    let api = Roles { serve: true, ..Roles::default() };
    let engine = Arc::new(BenchEngine::open_as(&database, on_any_port(), api, fleet.outer_key()?).await?);
    let stop = CancellationToken::new();
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        clients.spawn(send_commands(engine.clone(), client, stop.clone()));
    }
    let mut kills = Vec::new();
    for number in 1..=KILLS {
        progress.show(format!("killing a scribe, {number} of {KILLS}"));
        for scribe in &scribes {
            wait_for_lanes(engine.pool(), &scribe.name).await?;
        }
        sleep(TIME_BEFORE).await;
        let victim = scribes.pop_front().context("no scribe is left")?;
        let name = victim.name.clone();
        kills.push(Instant::now());
        victim.kill().await?;
        sleep(TIME_AFTER).await;
        ensure!(lane_count(engine.pool(), &name).await? == 0, "a lane is still owned by the killed scribe");
        scribes.push_back(fleet.start_ready("scribe", &name).await?);
    }
    stop.cancel();
    let mut accepted: Vec<AcceptedCommand> = Vec::new();
    while let Some(client) = clients.join_next().await {
        accepted.extend(client??);
    }
    let worst = kills.into_iter().map(|killed| longest_wait_after(killed, &accepted)).collect::<Result<Vec<_>>>()?;
    let worst = worst.into_iter().max().context("no scribe was killed")?;
    let (lost, surplus) = lost_and_surplus(engine.pool(), &accepted).await?;
    fleet::stop_all(scribes.into()).await?;
    Arc::into_inner(engine).context("a client is still running")?.close().await;
    server.drop_database(database).await?;
    report.figure("commands accepted around the kills of a scribe", accepted.len() as f64, "");
    report.at_most("kill of a scribe, worst of three: slowest answer after it, seconds", worst.as_secs_f64(), 5.0);
    report.at_most("kill of a scribe: accepted commands lost", lost as f64, 0.0);
    report.at_most("kill of a scribe: events beyond one per accepted command", surplus as f64, 0.0);
    Ok(())
}

/// Longest wait after a kill, over the commands in flight at the kill and those sent within `TIME_AFTER`.
fn longest_wait_after(killed: Instant, accepted: &[AcceptedCommand]) -> Result<Duration> {
    let waited = accepted.iter().filter(|accepted| accepted.sent < killed + TIME_AFTER && accepted.answered > killed);
    let waited = waited.map(|accepted| accepted.answered - accepted.sent.max(killed));
    waited.max().context("no command was answered after the kill")
}

/// Waits until a scribe owns lanes.
async fn wait_for_lanes(pool: &PgPool, owner: &str) -> Result<()> {
    let begun = Instant::now();
    while lane_count(pool, owner).await? == 0 {
        ensure!(begun.elapsed() < LANES_TIMEOUT, "{owner} owns no lanes after {LANES_TIMEOUT:?}");
        sleep(RETRY_DELAY).await;
    }
    Ok(())
}

async fn send_commands(
    engine: Arc<BenchEngine>,
    client: usize,
    stop: CancellationToken,
) -> Result<Vec<AcceptedCommand>> {
    let mut accepted = Vec::new();
    while !stop.is_cancelled() {
        let (id, sent) = (new_id(), Instant::now());
        while !engine.adjust_as(client, CommandId::new(id)).await? {
            sleep(RETRY_DELAY).await;
        }
        accepted.push(AcceptedCommand { id, sent, answered: Instant::now() });
    }
    Ok(accepted)
}

async fn lane_count(pool: &PgPool, owner: &str) -> Result<i64> {
    Ok(sqlx::query_scalar("SELECT count(*) FROM log.lanes WHERE owner = $1").bind(owner).fetch_one(pool).await?)
}

/// Number of accepted commands that the log lacks, and of events in the log beyond one for each of them. Clients repeat
/// a command until it is accepted, so in the end the log holds no event without an answer.
async fn lost_and_surplus(pool: &PgPool, accepted: &[AcceptedCommand]) -> Result<(usize, usize)> {
    let text = "SELECT command_id FROM log.events WHERE type = 'stock.adjusted'";
    let recorded: Vec<Uuid> = sqlx::query_scalar(text).fetch_all(pool).await?;
    let known: BTreeSet<Uuid> = recorded.iter().copied().collect();
    let lost = accepted.iter().filter(|accepted| !known.contains(&accepted.id)).count();
    Ok((lost, recorded.len().saturating_sub(accepted.len() - lost)))
}
