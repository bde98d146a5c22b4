//! Benchmark `rebuild`: read model rebuilds from a log of a million events, against a bare read of the same events.

use std::collections::HashMap;

use anyhow::{Context, Result};
use domain::kernel::{Actor, Encoded, encode};
use domain::loyalty::{EntryKind, LoyaltyAccount, LoyaltyAccountEvent};
use domain::shared::{CustomerId, PositivePoints};
use event_log::PgHistory;
use event_log::Routes;
use futures::TryStreamExt;
use platform::clock::{Timestamptz, now};
use projections::kernel::Models;
use projections::ports::History;
use replay::rebuild::{Options, rebuild};
use serde_json::{Value, json};
use sqlx::{Executor, PgPool};
use tokio::time::Instant;
use views::store::{PgRows, PgTableBuilder};

use super::load_generator::median;
use super::log_rows::{EPOCH, LogRow, insert_many};
use super::progress::Progress;
use super::protocol::ROUNDS;
use super::report::Report;
use super::scratch_server::ScratchServer;
use super::workload::{Workload, fingerprint};

const EVENTS: usize = 1_000_000;
const KEYS: usize = 100_000;
/// Rows of one insert.
const ROWS: usize = 5_000;

/// A model with one row per key, and a model with one row per event.
const MODELS: [&str; 2] = ["PointsBalance", "PointsEntry"];

pub(super) async fn run(server: &ScratchServer, progress: &Progress, report: &mut Report) -> Result<()> {
    let database = server.create_database().await?;
    let pool = platform::database::connect(&database.url).await?;
    progress.show(format!("writing {EVENTS} events"));
    fill(&pool).await?;
    pool.execute("VACUUM ANALYZE log.events").await?;
    pool.execute("CHECKPOINT").await?;
    let models = Models::all();
    PgRows::new(pool.clone()).prepare(models.iter()).await?;
    let (history, builds) = (PgHistory::new(pool.clone()), PgTableBuilder::new(pool.clone()));
    let mut speeds = [vec![], vec![], vec![]];
    let (mut alone, mut together) = (vec![], vec![]);
    for round in 1..=ROUNDS {
        progress.show(format!("rebuilding, run {round} of {ROUNDS}"));
        let begun = Instant::now();
        read_bare(&pool, &history).await?;
        speeds[0].push(EVENTS as f64 / begun.elapsed().as_secs_f64());
        for (model, speeds) in MODELS.iter().zip(&mut speeds[1..]) {
            let model = models.get(model).with_context(|| format!("there is no read model {model}"))?;
            let begun = Instant::now();
            rebuild(&[model], &history, &builds, Options::default()).await?;
            let seconds = begun.elapsed().as_secs_f64();
            speeds.push(EVENTS as f64 / seconds);
            if *model.name == *MODELS[1] {
                alone.push(seconds);
            }
        }
        let begun = Instant::now();
        rebuild(&models.iter().collect::<Vec<_>>(), &history, &builds, Options::default()).await?;
        together.push(begun.elapsed().as_secs_f64());
    }
    pool.close().await;
    server.drop_database(database).await?;
    let [bare, keyed, rows] = speeds.map(|speeds| median(speeds).unwrap_or_default());
    report.figure("bare ordered read and JSON parse", bare, "events/s");
    report.figure("rebuild of PointsBalance, 100,000 rows", keyed, "events/s");
    report.figure("rebuild of PointsEntry, a row per event", rows, "events/s");
    report.at_least("rebuild of a keyed model / bare read", keyed / bare, 0.25);
    let (alone, together) = (median(alone).unwrap_or_default(), median(together).unwrap_or_default());
    report.at_most("all models in one scan / the slowest alone", together / alone, 3.0);
    Ok(())
}

/// Reads every event in order and parses its payload: the work that every rebuild must do at least.
async fn read_bare(pool: &PgPool, history: &PgHistory) -> Result<()> {
    let mut events = 0;
    for head in history.heads().await? {
        let text = "SELECT payload::text FROM log.events WHERE lane = $1 ORDER BY position";
        let mut payloads = sqlx::query_scalar::<_, String>(text).bind(head.lane).fetch(pool);
        while let Some(payload) = payloads.try_next().await? {
            let value: Value = serde_json::from_str(&payload)?;
            events += usize::from(value.is_object());
        }
    }
    anyhow::ensure!(events == EVENTS, "read {events} of {EVENTS} events");
    Ok(())
}

/// Writes events that give points to all customers, round robin.
async fn fill(pool: &PgPool) -> Result<()> {
    sqlx::query("UPDATE log.lanes SET epoch = $1").bind(EPOCH).execute(pool).await?;
    sqlx::query("INSERT INTO log.epochs SELECT lane, $1, 1, now() FROM log.lanes").bind(EPOCH).execute(pool).await?;
    let (workload, routes) = (Workload::new()?, Routes::new(pool.clone()));
    let customers: Vec<_> = (0..KEYS).map(|_| CustomerId::new(Workload::id())).collect();
    let meta = json!({ "actor": Actor::Member(workload.principal), "command": "EarnPoints",
                       "fingerprint": fingerprint(Workload::id()) });
    let meta = meta.to_string();
    let mut positions: HashMap<i16, i64> = HashMap::new();
    let mut connection = pool.acquire().await?;
    for first in (0..EVENTS).step_by(ROWS) {
        let numbers = first..first + ROWS;
        let events = numbers.clone().map(|number| earned_event(number, customers[number % KEYS]));
        let events: Vec<Encoded> = events.collect::<Result<_>>()?;
        let mut rows = Vec::with_capacity(ROWS);
        for (number, event) in numbers.zip(&events) {
            let tenant = workload.tenant(number);
            let lane = routes.lane(tenant).await?.0;
            let position = positions.entry(lane).or_default();
            *position += 1;
            rows.push(LogRow {
                lane,
                position: *position,
                tenant: tenant.uuid(),
                tenant_position: i64::try_from(number / workload.tenants.len())? + 1,
                stream_type: "LoyaltyAccount",
                stream: LoyaltyAccount::id(customers[number % KEYS]).uuid(),
                sequence: i64::try_from(number / KEYS)? + 1,
                principal: workload.principal.uuid(),
                command: Workload::id(),
                name: &event.name,
                payload: &event.body,
                meta: &meta,
                at: Timestamptz(now()),
            });
        }
        insert_many(&mut connection, "log.events", &rows).await?;
    }
    Ok(())
}

fn earned_event(number: usize, customer: CustomerId) -> Result<Encoded> {
    Ok(encode(&LoyaltyAccountEvent::Earned {
        customer,
        points: PositivePoints::try_from(i64::try_from(number % 97)? + 1)?,
        kind: EntryKind::Review,
        source: format!("review {number}").parse()?,
        rule_version: 1,
        on: "2026-11-20".parse()?,
        base: None,
    })?)
}
