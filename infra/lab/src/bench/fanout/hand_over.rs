//! What callers notice when a process that writes lanes is killed: two of them, and a front door that asks them.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use domain::shared::CommandId;
use sqlx::PgPool;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::super::arena::Arena;
use super::super::progress::Progress;
use super::super::report::Report;
use super::super::shops::{Shops, on_any_port};
use crate::fleet::{self, Fleet};
use cartulary::roles::Roles;
use platform::clock::new_id;

/// Clients, each on a tenant of its own; they ask again as soon as they are answered.
const CLIENTS: usize = 20;
/// So many times one is killed; the worst counts.
const KILLS: usize = 3;
/// How long they go on before and after each kill.
const BEFORE: Duration = Duration::from_secs(3);
const AFTER: Duration = Duration::from_secs(10);
/// How long one that was started again may take until it writes lanes.
const SHARED_WITHIN: Duration = Duration::from_secs(30);
/// Who is answered "not now" waits so long and sends the same command again.
const AGAIN: Duration = Duration::from_millis(50);

/// A command that was accepted.
struct Done {
    id: Uuid,
    asked: Instant,
    answered: Instant,
}

pub(super) async fn line(arena: &Arena, progress: &Progress, report: &mut Report) -> Result<()> {
    let database = arena.database().await?;
    let fleet =
        Fleet::new(&arena.folder("hand-over")?, vec![("CARTULARY_DATABASE_URL".to_owned(), database.url.clone())])?;
    let mut scribes = VecDeque::new();
    for name in ["scribe-1", "scribe-2"] {
        scribes.push_back(fleet.start_ready("scribe", name).await?);
    }
    let front = Roles { front: true, ..Roles::default() };
    let shops = Arc::new(Shops::open_as(&database, on_any_port(), front, fleet.outer_key()?).await?);
    let enough = CancellationToken::new();
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        clients.spawn(keep_asking(shops.clone(), client, enough.clone()));
    }
    let mut kills = Vec::new();
    for number in 1..=KILLS {
        progress.says(format!("killing a scribe, {number} of {KILLS}"));
        for scribe in &scribes {
            has_lanes(shops.pool(), &scribe.name).await?;
        }
        sleep(BEFORE).await;
        let victim = scribes.pop_front().context("two scribes")?;
        let name = victim.name.clone();
        kills.push(Instant::now());
        victim.kill().await?;
        sleep(AFTER).await;
        ensure!(lanes_of(shops.pool(), &name).await? == 0, "a lane was left with who was killed");
        scribes.push_back(fleet.start_ready("scribe", &name).await?);
    }
    enough.cancel();
    let mut done: Vec<Done> = Vec::new();
    while let Some(client) = clients.join_next().await {
        done.extend(client??);
    }
    let worst = kills.into_iter().map(|killed| slowest_after(killed, &done)).collect::<Result<Vec<_>>>()?;
    let worst = worst.into_iter().max().context("somebody was killed")?;
    let (lost, unasked) = lost_and_unasked(shops.pool(), &done).await?;
    fleet::stop(scribes.into()).await?;
    Arc::into_inner(shops).context("nobody asks any more")?.close().await;
    arena.clear(database).await?;
    report.figure("commands accepted around the kills of a scribe", done.len() as f64, "");
    report.at_most("kill of a scribe, worst of three: slowest answer after it, seconds", worst.as_secs_f64(), 5.0);
    report.at_most("kill of a scribe: accepted commands lost", lost as f64, 0.0);
    report.at_most("kill of a scribe: effects beyond those of accepted commands", unasked as f64, 0.0);
    Ok(())
}

/// The longest that anybody who waited at the kill, or asked until everything went on, was kept waiting after it.
fn slowest_after(killed: Instant, done: &[Done]) -> Result<Duration> {
    let waited = done.iter().filter(|done| done.asked < killed + AFTER && done.answered > killed);
    let waited = waited.map(|done| done.answered - done.asked.max(killed));
    waited.max().context("nobody was answered after the kill")
}

/// Waits until a scribe has taken its share.
async fn has_lanes(pool: &PgPool, owner: &str) -> Result<()> {
    let begun = Instant::now();
    while lanes_of(pool, owner).await? == 0 {
        ensure!(begun.elapsed() < SHARED_WITHIN, "{owner} writes no lanes");
        sleep(AGAIN).await;
    }
    Ok(())
}

async fn keep_asking(shops: Arc<Shops>, client: usize, enough: CancellationToken) -> Result<Vec<Done>> {
    let mut done = Vec::new();
    while !enough.is_cancelled() {
        let (id, asked) = (new_id(), Instant::now());
        while !shops.adjust_as(client, CommandId::new(id)).await? {
            sleep(AGAIN).await;
        }
        done.push(Done { id, asked, answered: Instant::now() });
    }
    Ok(done)
}

async fn lanes_of(pool: &PgPool, owner: &str) -> Result<i64> {
    Ok(sqlx::query_scalar("SELECT count(*) FROM log.lanes WHERE owner = $1").bind(owner).fetch_one(pool).await?)
}

/// Accepted commands that the log does not have, and effects in the log beyond one for each of them. Everybody asks on
/// until the answer has come, so that in the end nothing is in the log that nobody was told of.
async fn lost_and_unasked(pool: &PgPool, done: &[Done]) -> Result<(usize, usize)> {
    let text = "SELECT command_id FROM log.events WHERE type = 'stock.adjusted'";
    let recorded: Vec<Uuid> = sqlx::query_scalar(text).fetch_all(pool).await?;
    let known: BTreeSet<Uuid> = recorded.iter().copied().collect();
    let lost = done.iter().filter(|done| !known.contains(&done.id)).count();
    Ok((lost, recorded.len().saturating_sub(done.len() - lost)))
}
