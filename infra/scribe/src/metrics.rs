//! Metrics of the write side. Labels have few values: no tenant and no id.

use std::time::Duration;

use commands::scribe::{Answer, Batch, Settled};
use metrics::{Counter, counter, gauge, histogram};

/// Counters of answered commands by outcome. Looked up once, because every command increments one.
pub(super) struct AnswerCounters {
    accepted: Counter,
    rejected: Counter,
    replayed: Counter,
    not_now: Counter,
    misuse: Counter,
    fault: Counter,
}

impl AnswerCounters {
    pub(super) fn new() -> Self {
        let of = |outcome: &'static str| counter!("cartulary_commands_total", "outcome" => outcome);
        Self {
            accepted: of("accepted"),
            rejected: of("rejected"),
            replayed: of("replayed"),
            not_now: of("not_now"),
            misuse: of("misuse"),
            fault: of("fault"),
        }
    }

    pub(super) fn count(&self, answer: &Answer) {
        let counter = match answer {
            Answer::Settled { replayed: true, .. } => &self.replayed,
            Answer::Settled { settled: Settled::Accepted(_), .. } => &self.accepted,
            Answer::Settled { settled: Settled::Rejected { .. }, .. } => &self.rejected,
            Answer::NotNow(_) => &self.not_now,
            Answer::Misuse(_) => &self.misuse,
            Answer::Fault(_) => &self.fault,
        };
        counter.increment(1);
    }
}

/// Number of events in a batch.
pub(super) fn event_count(batch: &Batch) -> usize {
    batch.parts.values().map(|part| part.events.len()).sum()
}

/// Records the outcome of a commit.
pub(super) fn record_commit(events: usize, took: Duration, written: bool) {
    let outcome = if written { "written" } else { "failed" };
    counter!("cartulary_batches_total", "outcome" => outcome).increment(1);
    histogram!("cartulary_batch_events").record(f64::from(u32::try_from(events).unwrap_or(u32::MAX)));
    histogram!("cartulary_commit_seconds").record(took.as_secs_f64());
}

/// Records the number of undecided commands of one loop.
pub(super) fn record_queue(number: usize, commands: usize) {
    let commands = f64::from(u32::try_from(commands).unwrap_or(u32::MAX));
    gauge!("cartulary_commands_queued", "loop" => number.to_string()).set(commands);
}
