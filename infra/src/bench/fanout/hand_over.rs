//! What callers notice when a process that writes lanes is killed: two of them, and a front door that asks them.

use std::collections::BTreeSet;
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
use crate::crew::{self, Crew};
use crate::running::Roles;
use crate::scribe::new_id;

/// Clients, each on a tenant of its own; they ask again as soon as they are answered.
const CLIENTS: usize = 20;
/// How long they go on before and after the kill.
const BEFORE: Duration = Duration::from_secs(3);
const AFTER: Duration = Duration::from_secs(10);
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
    let crew =
        Crew::new(&arena.folder("hand-over")?, vec![("CARTULARY_DATABASE_URL".to_owned(), database.url.clone())])?;
    let victim = crew.start_ready("scribe", "scribe-1").await?;
    let other = crew.start_ready("scribe", "scribe-2").await?;
    victim.ready().await?;
    let front = Roles { front: true, ..Roles::default() };
    let shops = Arc::new(Shops::open_as(&database, on_any_port(), front, crew.outer_key()?).await?);
    progress.says("killing a scribe".into());
    let lanes = lanes_of(shops.pool(), &victim.name).await?;
    ensure!(lanes > 0, "{} writes no lanes", victim.name);
    let enough = CancellationToken::new();
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        clients.spawn(keep_asking(shops.clone(), client, enough.clone()));
    }
    sleep(BEFORE).await;
    let killed = Instant::now();
    victim.kill().await?;
    sleep(AFTER).await;
    enough.cancel();
    let mut done: Vec<Done> = Vec::new();
    while let Some(client) = clients.join_next().await {
        done.extend(client??);
    }
    ensure!(lanes_of(shops.pool(), "scribe-1").await? == 0, "a lane was left with who was killed");
    let slowest = done.iter().filter(|done| done.answered > killed).map(|done| done.answered - done.asked.max(killed));
    let slowest = slowest.max().context("nobody was answered after the kill")?;
    let (lost, doubled) = lost_and_doubled(shops.pool(), &done).await?;
    crew::stop(vec![other]).await?;
    Arc::into_inner(shops).context("nobody asks any more")?.close().await;
    arena.clear(database).await?;
    report.figure("commands accepted around the kill of a scribe", done.len() as f64, "");
    report.at_most("kill of a scribe: slowest answer after it, seconds", slowest.as_secs_f64(), 5.0);
    report.at_most("kill of a scribe: commands lost", lost as f64, 0.0);
    report.at_most("kill of a scribe: commands doubled", doubled as f64, 0.0);
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

/// Accepted commands that the log does not have, and effects that it has more than once.
async fn lost_and_doubled(pool: &PgPool, done: &[Done]) -> Result<(usize, usize)> {
    let text = "SELECT command_id FROM log.events WHERE type = 'stock.adjusted'";
    let recorded: Vec<Uuid> = sqlx::query_scalar(text).fetch_all(pool).await?;
    let known: BTreeSet<Uuid> = recorded.iter().copied().collect();
    let lost = done.iter().filter(|done| !known.contains(&done.id)).count();
    Ok((lost, recorded.len() - known.len()))
}
