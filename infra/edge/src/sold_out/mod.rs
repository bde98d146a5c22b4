//! Sold-out filter: answers commands for a sold-out stream with `SOLD_OUT_FOR_NOW` instead of sending them to the
//! scribe.
//!
//! The cache holds the streams in which nothing was left a moment ago. An entry is added only when the scribe rejects a
//! command for that reason, and removed when a changed row of a read model says that something is left. While the entry
//! lives (at most `sold_out_hint_ms`), commands that demand units of the stream are deferred: the answer asks the caller
//! to send them again later. The filter decides nothing: when the entry has expired, the next command goes to the scribe.
//!
//! A command that this process sent to the scribe before is not deferred, nor is one that has a receipt. A repeated
//! command therefore gets its receipt from any process.

mod cache;
mod row_changes;

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::iter::repeat_n;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use commands::kernel::{Demand, Demands, NotNow, StreamRef};
use commands::scribe::{Answer, Envelope, ReceiptKey, Settled, StoredReceipt, TwoGenerationCache};
use domain::shared::TenantId;
use projections::kernel::Models;
use projections::projector::ChangedRows;

use crate::redis::Redis;
use cache::{Observation, SoldOutCache};

/// Longest lifetime of an entry that can be configured, in milliseconds.
pub const LIFETIME_MS_MOST: u32 = 5_000;

/// Number of commands sent to the scribe whose ids are remembered; at least the last 50,000.
const SUBMITTED_MOST: usize = 100_000;

/// Sold-out filter of one process.
pub struct SoldOutFilter {
    cache: SoldOutCache,
    /// Commands with demands that this process sent to the scribe.
    submitted: Mutex<TwoGenerationCache<ReceiptKey, ()>>,
}

/// Demands of a command, and the key under which it may have been decided before.
struct CommandDemands {
    demands: Vec<Demand>,
    key: ReceiptKey,
    id_is_new: bool,
}

impl SoldOutFilter {
    /// The cache is in Redis, or in the memory of this process if there is no Redis.
    pub fn new(redis: Option<Redis>, lifetime: Duration) -> Self {
        let submitted = Mutex::new(TwoGenerationCache::new(SUBMITTED_MOST));
        Self { cache: SoldOutCache::new(redis, lifetime), submitted }
    }

    /// Submits the commands before the first one that demands units of a sold-out stream. That one and all after it are
    /// deferred, because the commands of one request are decided in their order.
    ///
    /// `find_receipts` reads the stored receipts of commands, `submit` sends commands to the scribe.
    pub async fn submit<F, D>(
        &self,
        tenant: TenantId,
        mut commands: Vec<Envelope>,
        find_receipts: impl FnOnce(Vec<ReceiptKey>) -> F,
        submit: impl FnOnce(Vec<Envelope>) -> D,
    ) -> Vec<Answer>
    where
        F: Future<Output = Result<HashMap<ReceiptKey, StoredReceipt>, sqlx::Error>>,
        D: Future<Output = Vec<Answer>>,
    {
        let demands: Vec<_> = commands.iter().map(|command| CommandDemands::of(tenant, command)).collect();
        if demands.iter().all(|command| command.demands.is_empty()) {
            return submit(commands).await;
        }
        let deferral = self.first_deferred(tenant, &demands, find_receipts).await;
        let (first, wait) = deferral.unwrap_or((commands.len(), Duration::ZERO));
        let deferred = commands.split_off(first).len();
        metrics::counter!("cartulary_sold_out_hints_total").increment(deferred as u64);
        if commands.is_empty() {
            return vec![sold_out_for_now(wait); deferred];
        }
        self.remember(&demands[..first]);
        let mut answers = submit(commands).await;
        answers.resize(first, Answer::Fault("a command was not answered".into()));
        let observation = |(answer, command): (&Answer, &CommandDemands)| {
            Some(Observation { tenant, stream: sold_out_stream(answer, &command.demands)?, is_sold_out: true })
        };
        self.cache.record(answers.iter().zip(&demands).filter_map(observation).collect()).await;
        answers.extend(repeat_n(sold_out_for_now(wait), deferred));
        answers
    }

    /// Index of the first command to defer, and the time until its entry expires. A command that was submitted before
    /// or has a receipt is not deferred.
    async fn first_deferred<F>(
        &self,
        tenant: TenantId,
        commands: &[CommandDemands],
        find_receipts: impl FnOnce(Vec<ReceiptKey>) -> F,
    ) -> Option<(usize, Duration)>
    where
        F: Future<Output = Result<HashMap<ReceiptKey, StoredReceipt>, sqlx::Error>>,
    {
        let streams: HashSet<StreamRef> = commands.iter().flat_map(CommandDemands::streams).collect();
        let sold_out = self.cache.find(tenant, streams.into_iter().collect()).await;
        let wait =
            |command: &CommandDemands| command.streams().filter_map(|stream| sold_out.get(&stream)).max().copied();
        let candidates = (0..).zip(commands).filter_map(|(index, command)| Some((index, command, wait(command)?)));
        let candidates: Vec<_> = candidates.filter(|(_, command, _)| !self.was_submitted(command)).collect();
        let may_have_receipt = candidates.iter().filter(|(_, command, _)| !command.id_is_new);
        let keys: Vec<_> = may_have_receipt.map(|(_, command, _)| command.key).collect();
        // If receipts cannot be read, a command that has one is deferred as well: its caller sends it again under the
        // same id.
        let receipts = if keys.is_empty() { HashMap::new() } else { find_receipts(keys).await.unwrap_or_default() };
        let first = candidates.into_iter().find(|(_, command, _)| !receipts.contains_key(&command.key));
        first.map(|(index, _, wait)| (index, wait))
    }

    /// Removes the entries of streams that have something left, by changed rows of read models.
    pub async fn observe(&self, models: &Models, changed: &[ChangedRows]) {
        let observations = changed.iter().flat_map(|changed| row_changes::observations(models, changed)).collect();
        self.cache.record(observations).await;
    }

    fn was_submitted(&self, command: &CommandDemands) -> bool {
        self.submitted.lock().unwrap_or_else(PoisonError::into_inner).get(&command.key).is_some()
    }

    /// Remembers submitted commands. An id that was generated for this request is left out: it cannot be sent again.
    fn remember(&self, commands: &[CommandDemands]) {
        let mut submitted = self.submitted.lock().unwrap_or_else(PoisonError::into_inner);
        for command in commands.iter().filter(|command| !command.demands.is_empty() && !command.id_is_new) {
            submitted.insert(command.key, ());
        }
    }
}

impl CommandDemands {
    fn of(tenant: TenantId, command: &Envelope) -> Self {
        let mut demands = Demands::default();
        command.command.demands(&mut demands);
        let key = ReceiptKey { tenant, principal: command.principal, command: command.id };
        Self { demands: demands.into_demands(), key, id_is_new: command.id_is_new }
    }

    fn streams(&self) -> impl Iterator<Item = StreamRef> {
        self.demands.iter().map(|demand| demand.stream)
    }
}

fn sold_out_for_now(wait: Duration) -> Answer {
    let retry_after_ms = u32::try_from(wait.as_millis()).unwrap_or(LIFETIME_MS_MOST).max(1);
    Answer::NotNow(NotNow::SoldOutForNow { retry_after_ms })
}

/// The stream for which a command was just rejected because nothing is left.
fn sold_out_stream(answer: &Answer, demands: &[Demand]) -> Option<StreamRef> {
    let Answer::Settled { settled: Settled::Rejected { rejected, .. }, replayed: false } = answer else { return None };
    demands.iter().find(|demand| demand.is_sold_out(rejected)).map(|demand| demand.stream)
}
