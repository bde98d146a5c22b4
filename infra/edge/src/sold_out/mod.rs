//! Keeps a crowd away from the scribe while what it wants is gone.
//!
//! A mark says that a moment ago nothing was left of a stream: the projector saw it, or a command was just refused
//! for it. While a mark lives, `sold_out_hint_ms` at most, commands that take from that stream are told to come back.
//! Nothing is decided by that: the first command after it gets through and is decided truly. What this process has let
//! through before passes again, and so does what has a receipt, so that whoever repeats a command gets it anywhere.

mod marks;
mod rows;

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::iter::repeat_n;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use commands::kernel::{Demand, Demands, NotNow, StreamRef};
use commands::scribe::{Answer, Envelope, ReceiptKey, Settled, StoredReceipt};
use domain::shared::TenantId;
use projections::kernel::Models;
use projections::projector::ChangedRows;

use crate::redis::Redis;
use platform::recent::Recent;
use scribe::peers::Dispatch;

pub use marks::{Marks, Seen};

/// How long a mark may live at most, whatever is set.
pub const LIFE_MS_MOST: u32 = 5_000;

/// Commands that were let through and are remembered.
const PASSED_MOST: usize = 50_000;

/// Puts commands off that want what was just gone.
pub struct SoldOut {
    pub marks: Marks,
    passed: Mutex<Recent<ReceiptKey, ()>>,
}

/// What a command wants, and under which name it may have been decided before.
struct Want {
    takings: Vec<Demand>,
    key: ReceiptKey,
    id_is_new: bool,
}

impl SoldOut {
    /// Marks are in Redis, or in the memory of this process where there is none.
    pub fn new(redis: Option<Redis>, life: Duration) -> Self {
        Self { marks: Marks::new(redis, life), passed: Mutex::new(Recent::new(PASSED_MOST)) }
    }

    /// Has commands decided that want nothing marked, and tells the others to come back. Commands of one request are
    /// decided in their order, so what follows one that is put off is put off as well.
    ///
    /// `recall` finds the receipts of commands.
    pub async fn submit<F>(
        &self,
        dispatch: &Dispatch,
        tenant: TenantId,
        mut commands: Vec<Envelope>,
        recall: impl FnOnce(Vec<ReceiptKey>) -> F,
    ) -> Vec<Answer>
    where
        F: Future<Output = Result<HashMap<ReceiptKey, StoredReceipt>, sqlx::Error>>,
    {
        let wants: Vec<Want> = commands.iter().map(|command| Want::of(tenant, command)).collect();
        if wants.iter().all(|want| want.takings.is_empty()) {
            return dispatch.submit(tenant, false, commands).await;
        }
        let put_off = self.put_off(tenant, &wants, recall).await;
        let (first, wait) = put_off.unwrap_or((commands.len(), Duration::ZERO));
        let late = commands.split_off(first).len();
        metrics::counter!("cartulary_sold_out_hints_total").increment(late as u64);
        if commands.is_empty() {
            return vec![later(wait); late];
        }
        self.remember(&wants[..first]);
        let mut answers = dispatch.submit(tenant, false, commands).await;
        answers.resize(first, Answer::Fault("a command was not answered".into()));
        let seen = |(answer, want): (&Answer, &Want)| {
            Some(Seen { tenant, stream: gone(answer, &want.takings)?, is_gone: true })
        };
        self.marks.tell(answers.iter().zip(&wants).filter_map(seen).collect()).await;
        answers.extend(repeat_n(later(wait), late));
        answers
    }

    /// The first command that should wait, and for how long. One that was let through before passes, and one that has
    /// a receipt.
    async fn put_off<F>(
        &self,
        tenant: TenantId,
        wants: &[Want],
        recall: impl FnOnce(Vec<ReceiptKey>) -> F,
    ) -> Option<(usize, Duration)>
    where
        F: Future<Output = Result<HashMap<ReceiptKey, StoredReceipt>, sqlx::Error>>,
    {
        let streams: HashSet<StreamRef> = wants.iter().flat_map(Want::streams).collect();
        let marked = self.marks.find(tenant, streams.into_iter().collect()).await;
        let wait = |want: &Want| want.streams().filter_map(|stream| marked.get(&stream)).max().copied();
        let mut waiting: Vec<_> = (0..).zip(wants).filter_map(|(at, want)| Some((at, want, wait(want)?))).collect();
        waiting.retain(|(_, want, _)| !self.has_passed(want));
        let keys: Vec<_> = waiting.iter().filter(|(_, want, _)| !want.id_is_new).map(|(_, want, _)| want.key).collect();
        // Where receipts cannot be read, whoever has one is told to come back as well, with the same id.
        let settled = if keys.is_empty() { HashMap::new() } else { recall(keys).await.unwrap_or_default() };
        let first = waiting.into_iter().find(|(_, want, _)| !settled.contains_key(&want.key));
        first.map(|(at, _, wait)| (at, wait))
    }

    /// Marks what ran out and clears what came back, as changed rows of read models show it.
    pub async fn observe(&self, models: &Models, changed: &[ChangedRows]) {
        let seen = changed.iter().flat_map(|changed| rows::seen(models, changed)).collect();
        self.marks.tell(seen).await;
    }

    fn has_passed(&self, want: &Want) -> bool {
        self.passed.lock().unwrap_or_else(PoisonError::into_inner).get(&want.key).is_some()
    }

    fn remember(&self, wants: &[Want]) {
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        for want in wants.iter().filter(|want| !want.takings.is_empty() && !want.id_is_new) {
            passed.insert(want.key, ());
        }
    }
}

impl Want {
    fn of(tenant: TenantId, command: &Envelope) -> Self {
        let mut demands = Demands::default();
        command.command.demands(&mut demands);
        let key = ReceiptKey { tenant, principal: command.principal, command: command.id };
        Self { takings: demands.into_demands(), key, id_is_new: command.id_is_new }
    }

    fn streams(&self) -> impl Iterator<Item = StreamRef> {
        self.takings.iter().map(|taking| taking.stream)
    }
}

fn later(wait: Duration) -> Answer {
    let retry_after_ms = u32::try_from(wait.as_millis()).unwrap_or(LIFE_MS_MOST).max(1);
    Answer::NotNow(NotNow::SoldOutForNow { retry_after_ms })
}

/// The stream of which nothing is left, where an answer that was decided just now says so.
fn gone(answer: &Answer, takings: &[Demand]) -> Option<StreamRef> {
    let Answer::Settled { settled: Settled::Rejected { rejected, .. }, replayed: false } = answer else { return None };
    takings.iter().find(|taking| taking.is_sold_out(rejected)).map(|taking| taking.stream)
}
