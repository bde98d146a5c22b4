//! What the front door asks of the floor above. The API itself does no I/O, reads no clock and draws no lots.

use commands::kernel::AnyCommand;
use commands::scribe::{Answer, Envelope, PersonKey, Recalled};
use domain::shared::{CommandId, CustomerId, Date, Principal, SealError, TenantId, Timestamp};
use futures::future::BoxFuture;
use projections::kernel::{Key, Model};
use projections::ports::Fault;
use uuid::Uuid;

use crate::freshness::Freshness;

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

    /// Has commands decided in their order; one answer each, in the same order.
    fn submit(&self, tenant: TenantId, commands: Vec<Envelope>) -> BoxFuture<'_, Vec<Answer>>;

    /// What a command was answered; nothing where it is unknown.
    fn receipt(
        &self,
        tenant: TenantId,
        principal: Principal,
        command: CommandId,
    ) -> BoxFuture<'_, Result<Option<Recalled>, Fault>>;

    /// The rows with these keys, in the order asked for; nothing where there is none the reader may see.
    fn find<'a>(
        &'a self,
        reader: Reader,
        model: &'a Model,
        keys: Vec<Key>,
    ) -> BoxFuture<'a, Result<Vec<Option<String>>, Fault>>;

    /// One page of rows.
    fn page<'a>(&'a self, reader: Reader, model: &'a Model, ask: PageAsk) -> BoxFuture<'a, Result<Page, Fault>>;

    /// For each value the rows whose field has it, in the order of `ask`, at most `ask.first` each: one question for
    /// all of them. `ask.tests` and `ask.after` are empty.
    fn many<'a>(
        &'a self,
        reader: Reader,
        model: &'a Model,
        field: &'a str,
        values: Vec<Datum>,
        ask: PageAsk,
    ) -> BoxFuture<'a, Result<Vec<Vec<String>>, Fault>>;

    /// Waits, at most two seconds, until these read models have seen a tenant's position.
    fn wait<'a>(
        &'a self,
        tenant: TenantId,
        at_least: Freshness,
        models: &'a [&'a str],
    ) -> BoxFuture<'a, Result<(), Behind>>;

    /// The plaintext of sealed words, in order; nothing where a key was destroyed or the word is not one of ours.
    fn open(&self, tenant: TenantId, sealed: Vec<String>) -> BoxFuture<'_, Result<Vec<Option<String>>, Fault>>;

    /// Why this process should get no traffic, one sentence each; empty where it is ready.
    fn reasons(&self) -> Vec<String>;

    /// Figures in Prometheus' text format.
    fn metrics(&self) -> String;
}

/// Whose eyes look at rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reader {
    pub tenant: TenantId,
    /// Only rows of this customer, where a model names an owner.
    pub owner: Option<CustomerId>,
}

/// A question for one page of rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PageAsk {
    /// All of them must hold.
    pub tests: Vec<Test>,
    /// An indexed field; the key follows it. Without one, the key alone.
    pub order: Option<Order>,
    /// How many rows at most, from 1 to 100.
    pub first: usize,
    /// Where the page before ended.
    pub after: Option<After>,
}

/// What one field must satisfy.
#[derive(Clone, Debug, PartialEq)]
pub struct Test {
    pub field: String,
    pub holds: Holds,
}

/// How a field is compared.
#[derive(Clone, Debug, PartialEq)]
pub enum Holds {
    Is(Datum),
    /// Never empty, at most 100.
    IsOneOf(Vec<Datum>),
    IsAtLeast(Datum),
    IsAtMost(Datum),
    IsNull(bool),
}

/// By which field rows are ordered. Rows without a value come last in either direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    pub field: String,
    pub descending: bool,
}

/// The last row of a page: the value of its order field, if the question names one, and its key.
#[derive(Clone, Debug, PartialEq)]
pub struct After {
    /// Nothing where the row had no value there, or where the question names no order.
    pub value: Option<Datum>,
    /// One value per key field.
    pub key: Vec<Datum>,
}

/// One value of a column.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Datum {
    Uuid(Uuid),
    Integer(i64),
    Boolean(bool),
    Text(String),
    Instant(Timestamp),
    Day(Date),
}

/// Some rows, each a JSON object as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    pub rows: Vec<String>,
    /// Whether there are more behind them.
    pub more: bool,
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
