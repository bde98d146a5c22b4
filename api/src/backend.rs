//! What the front door asks of the floor above. The API itself does no I/O, reads no clock and draws no lots.

use commands::kernel::AnyCommand;
use commands::scribe::{Answer, Envelope, PersonKey, StoredReceipt};
use domain::shared::{CommandId, Principal, SealError, TenantId, Timestamp};
use futures::future::BoxFuture;
use futures::future::ready;
use futures::{FutureExt, StreamExt, stream};
use projections::kernel::Model;
use projections::ports::Fault;
use projections::query::{Page, QueryError, RowQuery};
use uuid::Uuid;

use crate::auth::Caller;
use crate::freshness::Freshness;
use crate::integrations::Webhooks;
use crate::limits::Allowance;
use crate::live::Watching;

/// The engine, as the API sees it. Boxed futures, so that the router can hold any engine, a test's included.
pub trait Backend: Send + Sync + 'static {
    /// The clock of this process.
    fn now(&self) -> Timestamp;

    /// A fresh UUIDv7.
    fn new_id(&self) -> Uuid;

    /// A versioned keyed digest of a body as it was sent; equal bodies have equal digests.
    fn fingerprint(&self, body: &[u8]) -> String;

    /// Seals the personal fields of a command and names the keys of people who had none before.
    fn seal<'a>(
        &'a self,
        tenant: TenantId,
        command: &'a mut dyn AnyCommand,
    ) -> BoxFuture<'a, Result<Vec<PersonKey>, SealError>>;

    /// Counts commands of a caller before they are read, and says how many of them may go on.
    fn allow<'a>(&'a self, _caller: &'a Caller, commands: u32) -> BoxFuture<'a, Allowance> {
        ready(Allowance::unlimited(commands)).boxed()
    }

    /// Has commands decided in their order; one answer each, in the same order.
    fn submit(&self, tenant: TenantId, commands: Vec<Envelope>) -> BoxFuture<'_, Vec<Answer>>;

    /// What a command was answered; nothing where it is unknown.
    fn receipt(
        &self,
        tenant: TenantId,
        principal: Principal,
        command: CommandId,
    ) -> BoxFuture<'_, Result<Option<StoredReceipt>, Fault>>;

    /// The rows of a read model that fit a question.
    fn page<'a>(&'a self, model: &'a Model, question: RowQuery) -> BoxFuture<'a, Result<Page, QueryError>>;

    /// The answers to questions that differ only in what one field must be, in their order: the same relation of many
    /// rows. Override it where one statement can answer them all.
    fn pages<'a>(&'a self, model: &'a Model, questions: Vec<RowQuery>) -> BoxFuture<'a, Vec<Result<Page, QueryError>>> {
        let answers = stream::iter(questions).map(|question| self.page(model, question));
        answers.buffered(PAGES_AT_ONCE).collect().boxed()
    }

    /// Waits, at most two seconds, until these read models have seen a tenant's position.
    fn wait<'a>(
        &'a self,
        tenant: TenantId,
        at_least: Freshness,
        models: Vec<&'a Model>,
    ) -> BoxFuture<'a, Result<(), Behind>>;

    /// Watches the rows that fit a question: the page it asks for, and then every change of a row that fits. With
    /// `since`, rows that have changed after that position are told with the first page, wherever they stand.
    fn watch<'a>(
        &'a self,
        model: &'a Model,
        question: RowQuery,
        since: Option<Freshness>,
    ) -> BoxFuture<'a, Result<Watching, QueryError>>;

    /// Comes when this process begins to shut down.
    fn stopping(&self) -> BoxFuture<'static, ()>;

    /// The plaintext of sealed words, in order; nothing where a key was destroyed or the word is not this tenant's.
    fn open(&self, tenant: TenantId, sealed: Vec<SealedField>) -> BoxFuture<'_, Result<Vec<Option<String>>, Fault>>;

    /// The keyed index of a folded personal value: the same word for equal values of one tenant.
    fn blind_index(&self, tenant: TenantId, field: &str, folded: &str) -> String;

    /// Whoever delivers webhooks.
    fn webhooks(&self) -> &dyn Webhooks;

    /// Why this process should get no traffic, one sentence each; empty where it is ready.
    fn reasons(&self) -> Vec<String>;

    /// What goes on without something it would be faster with, one sentence each; no reason to send it no traffic.
    fn shortcomings(&self) -> Vec<String> {
        vec![]
    }

    /// Figures in Prometheus' text format.
    fn metrics(&self) -> String;
}

/// How many questions one relation may have open at the store, so that one request cannot take every connection.
const PAGES_AT_ONCE: usize = 4;

/// A sealed word and the field it was sealed for, without which it cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SealedField {
    /// As `x-personal` names it (`email`).
    pub field: String,
    pub word: String,
}

/// The rows have not come as far as was demanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Behind {
    /// These read models did not catch up in time.
    Models(Vec<String>),
    /// The position belongs to a history that was lost in a fail-over or a restore.
    OtherHistory,
    /// The store cannot be reached.
    Away,
}
