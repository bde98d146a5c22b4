//! Keeps a crowd away from the scribe while what it wants is gone.
//!
//! A mark says that a moment ago nothing was left of a stream: the projector saw it, or a command was just refused
//! for it. While a mark lives, `sold_out_hint_ms` at most, commands that take from that stream are told to come back.
//! Nothing is decided by that: the first command after it gets through and is decided truly. What this process has let
//! through before passes again, so that whoever repeats a command gets its receipt.

mod following;
mod marks;

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use commands::kernel::{NotNow, Scarce, StreamRef, Taking};
use commands::scribe::{Answer, Envelope, Settled};
use domain::shared::{CommandId, Principal, TenantId};

use crate::peers::Dispatch;
use crate::recent::Recent;
use crate::redis::Redis;

pub use following::follow;
pub use marks::Marks;

/// How long a mark may live at most, whatever is set.
pub const LIFE_MS_MOST: u32 = 5_000;

/// Commands that were let through and are remembered.
const PASSED_MOST: usize = 50_000;

/// Puts commands off that want what was just gone.
pub struct SoldOut {
    pub marks: Marks,
    passed: Mutex<Recent<(TenantId, Principal, CommandId), ()>>,
}

impl SoldOut {
    /// Marks are in Redis, or in the memory of this process where there is none.
    pub fn new(redis: Option<Redis>, life: Duration) -> Self {
        Self { marks: Marks::new(redis, life), passed: Mutex::new(Recent::new(PASSED_MOST)) }
    }

    /// Has those commands decided that want nothing marked, and tells the others to come back.
    pub async fn submit(&self, dispatch: &Dispatch, tenant: TenantId, commands: Vec<Envelope>) -> Vec<Answer> {
        let takings: Vec<Vec<Taking>> = commands.iter().map(takings).collect();
        let streams: HashSet<StreamRef> = takings.iter().flatten().map(|taking| taking.stream).collect();
        if streams.is_empty() {
            return dispatch.submit(tenant, false, commands).await;
        }
        let marked = self.marks.find(tenant, streams.into_iter().collect()).await;
        let mut passing = Vec::with_capacity(commands.len());
        let mut waits = Vec::with_capacity(commands.len());
        for (command, takings) in commands.into_iter().zip(&takings) {
            let wait = self.puts_off(tenant, &command, takings, &marked);
            waits.push(wait);
            if wait.is_none() {
                passing.push(command);
            }
        }
        let mut decided = dispatch.submit(tenant, false, passing).await.into_iter();
        let mut answers = Vec::with_capacity(waits.len());
        for (wait, takings) in waits.into_iter().zip(takings) {
            let answer = match wait {
                Some(wait) => later(wait),
                None => decided.next().unwrap_or_else(|| Answer::Fault("a command was not answered".into())),
            };
            if let Some(gone) = gone(&answer, &takings) {
                self.marks.mark(tenant, gone).await;
            }
            answers.push(answer);
        }
        answers
    }

    /// For how long a command should wait. One that was let through before passes: perhaps it has a receipt.
    fn puts_off(
        &self,
        tenant: TenantId,
        command: &Envelope,
        takings: &[Taking],
        marked: &HashMap<StreamRef, Duration>,
    ) -> Option<Duration> {
        let wait = takings.iter().filter_map(|taking| marked.get(&taking.stream)).max().copied();
        let id = (tenant, command.principal, command.id);
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        if wait.is_some() && passed.get(&id).is_none() {
            metrics::counter!("cartulary_sold_out_hints_total").increment(1);
            return wait;
        }
        if !takings.is_empty() && !command.id_is_new {
            passed.insert(id, ());
        }
        None
    }
}

fn takings(command: &Envelope) -> Vec<Taking> {
    let mut scarce = Scarce::default();
    command.command.takes(&mut scarce);
    scarce.into_takings()
}

fn later(wait: Duration) -> Answer {
    let retry_after_ms = u32::try_from(wait.as_millis()).unwrap_or(LIFE_MS_MOST).max(1);
    Answer::NotNow(NotNow::SoldOutForNow { retry_after_ms })
}

/// The stream of which nothing is left, where an answer that was decided just now says so.
fn gone(answer: &Answer, takings: &[Taking]) -> Option<StreamRef> {
    let Answer::Settled { settled: Settled::Rejected { rejected, .. }, replayed: false } = answer else { return None };
    takings.iter().find(|taking| taking.is_gone(rejected)).map(|taking| taking.stream)
}
