//! Relay throughput: a relay fills an empty topic from the log, compared with a bare producer of librdkafka.
//!
//! The comparison favours the bare producer: the relay starts from rows of PostgreSQL, the bare producer from records
//! whose keys and headers were built before its measurement starts. Topic settings, producer settings and order are the
//! same.

use std::time::Duration;

use anyhow::{Result, ensure};
use event_log::PgHistory;
use kafka::speed::{self, Records};
use kafka::{Leases, Settings};
use projections::ports::{History, RawEvent};
use sqlx::PgPool;

use super::super::load_generator::median;
use super::super::progress::Progress;
use super::super::protocol::ROUNDS;
use super::super::report::Report;
use super::super::scratch_server::ScratchServer;
use super::super::scribe_contender::BenchScribe;
use super::broker::KafkaBroker;

/// Events of about 200 bytes that are in the log before the relay starts.
const EVENTS: usize = 400_000;
/// Commands of one submission.
const BATCH: usize = 1_000;
/// Consecutive events of one lane in the order of a relay of all lanes.
const LANE_RUN_LENGTH: i64 = 2_000;

pub(super) async fn run(
    server: &ScratchServer,
    broker: &KafkaBroker,
    progress: &Progress,
    report: &mut Report,
) -> Result<()> {
    let database = server.create_database().await?;
    progress.show(format!("writing {EVENTS} events"));
    let scribe = BenchScribe::open(&database).await?;
    fill(&scribe).await?;
    let history = PgHistory::new(scribe.pool.clone());
    let lanes = history.heads().await?.len();
    let events = all_events(&history).await?;
    let (mut relayed, mut bare) = (vec![], vec![]);
    for round in 1..=ROUNDS {
        progress.show(format!("catching up, run {round} of {ROUNDS}"));
        let topic = |name: &str| broker.settings(&format!("bench.{name}.{round}"));
        // The second run finds a warmer broker, so the order alternates.
        for bare_is_next in [round % 2 == 1, round % 2 == 0] {
            if bare_is_next {
                let taken = speed::bare(&topic("bare"), lanes, Records::of(&events)).await?;
                bare.push(per_second(taken, &events));
            } else {
                let taken = relay(&topic("relayed"), &scribe.pool, &events).await?;
                relayed.push(per_second(taken, &events));
            }
        }
    }
    scribe.scribe.stop().await;
    scribe.pool.close().await;
    server.drop_database(database).await?;
    let (relayed, bare) = (median(relayed).unwrap_or_default(), median(bare).unwrap_or_default());
    report.figure("bare producer of the same records", bare, "events/s");
    report.at_least("relay, catching up, events/s", relayed, 50_000.0);
    report.at_least("relay / bare producer with ready-made records", relayed / bare, 0.50);
    Ok(())
}

async fn relay(settings: &Settings, pool: &PgPool, events: &[RawEvent]) -> Result<Duration> {
    let (history, leases) = (PgHistory::new(pool.clone()), Leases::new(pool.clone(), "bench"));
    Ok(speed::relayed(settings, history, leases, i64::try_from(events.len())?).await?)
}

async fn fill(scribe: &BenchScribe) -> Result<()> {
    for first in (0..EVENTS).step_by(BATCH) {
        let client = first / BATCH;
        let commands = (0..BATCH).map(|_| scribe.workload.envelope(scribe.workload.register_customer())).collect();
        let answers = scribe.scribe.submit(scribe.workload.tenant(client), false, commands).await;
        ensure!(answers.len() == BATCH, "not every command was answered");
    }
    Ok(())
}

/// All events, in the order in which a relay of all lanes sends them.
async fn all_events(history: &PgHistory) -> Result<Vec<RawEvent>> {
    let mut events = Vec::new();
    for head in history.heads().await? {
        events.extend(history.events(head.lane, 0, 2 * EVENTS).await?);
    }
    ensure!(events.len() >= EVENTS, "the log has fewer events than were written");
    events.sort_by_key(|event| (event.position / LANE_RUN_LENGTH, event.lane, event.position));
    Ok(events)
}

fn per_second(taken: Duration, events: &[RawEvent]) -> f64 {
    events.len() as f64 / taken.as_secs_f64()
}
