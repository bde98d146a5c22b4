//! How fast a relay fills an empty topic from the log, beside a bare producer of librdkafka.
//!
//! The strict reading of "the same records": the relay begins with rows of PostgreSQL, the bare producer with records
//! whose keys and headers were made before its clock began. Topic, settings of the producer and order are the same.

use std::time::Duration;

use anyhow::{Result, ensure};
use event_log::LANES;
use kafka::speed::{self, Records};
use kafka::{Leases, Settings};
use projections::ports::{History, RawEvent};
use sqlx::PgPool;

use super::super::arena::Arena;
use super::super::clients::middle;
use super::super::contest::ROUNDS;
use super::super::ours::House;
use super::super::progress::Progress;
use super::super::report::Report;
use super::broker::Broker;
use event_log::PgHistory;

/// Events of about 200 bytes that are in the log before the relay begins.
const EVENTS: usize = 400_000;
/// Commands of one request.
const AT_ONCE: usize = 1_000;
/// Events of one lane that follow each other where many lanes are relayed.
const IN_A_ROW: i64 = 2_000;

pub(super) async fn line(arena: &Arena, broker: &Broker, progress: &Progress, report: &mut Report) -> Result<()> {
    let database = arena.database().await?;
    progress.says(format!("writing {EVENTS} events"));
    let house = House::open(&database).await?;
    fill(&house).await?;
    let history = PgHistory::new(house.pool.clone());
    let events = everything(&history).await?;
    let (mut relayed, mut bare) = (vec![], vec![]);
    for round in 1..=ROUNDS {
        progress.says(format!("catching up, run {round} of {ROUNDS}"));
        let topic = |name: &str| broker.settings(&format!("bench.{name}.{round}"));
        // Whoever goes second finds a warmer broker, so they take turns.
        for bare_is_next in [round % 2 == 1, round % 2 == 0] {
            if bare_is_next {
                let taken = speed::bare(&topic("bare"), Records::of(&events)).await?;
                bare.push(per_second(taken, &events));
            } else {
                let taken = relay(&topic("relayed"), &house.pool, &events).await?;
                relayed.push(per_second(taken, &events));
            }
        }
    }
    house.scribe.stop().await;
    house.pool.close().await;
    arena.clear(database).await?;
    let (relayed, bare) = (middle(relayed).unwrap_or_default(), middle(bare).unwrap_or_default());
    report.figure("bare producer of the same records", bare, "events/s");
    report.at_least("relay, catching up, events/s", relayed, 50_000.0);
    report.at_least("relay / bare producer with ready-made records", relayed / bare, 0.50);
    Ok(())
}

async fn relay(settings: &Settings, pool: &PgPool, events: &[RawEvent]) -> Result<Duration> {
    let (history, leases) = (PgHistory::new(pool.clone()), Leases::new(pool.clone(), "bench"));
    Ok(speed::relayed(settings, history, leases, i64::try_from(events.len())?).await?)
}

async fn fill(house: &House) -> Result<()> {
    for first in (0..EVENTS).step_by(AT_ONCE) {
        let client = first / AT_ONCE;
        let commands = (0..AT_ONCE).map(|_| house.facts.envelope(house.facts.import_order(client))).collect();
        let answers = house.scribe.submit(house.facts.tenant(client), false, commands).await;
        ensure!(answers.len() == AT_ONCE, "every command is answered");
    }
    Ok(())
}

/// All events, in the order in which a relay of all lanes would come by them.
async fn everything(history: &PgHistory) -> Result<Vec<RawEvent>> {
    let mut events = Vec::new();
    for lane in 0..LANES {
        events.extend(history.events(lane, 0, 2 * EVENTS).await?);
    }
    ensure!(events.len() >= EVENTS, "the log holds what was written");
    events.sort_by_key(|event| (event.position / IN_A_ROW, event.lane, event.position));
    Ok(events)
}

fn per_second(taken: Duration, events: &[RawEvent]) -> f64 {
    events.len() as f64 / taken.as_secs_f64()
}
