//! The engine behind the API.

use commands::kernel::AnyCommand;
use commands::scribe::{Answer, Envelope, StoredReceipt, WrappedDataKey};
use domain::shared::{CommandId, Principal, SealError, SearchToken, TenantId, Timestamp};
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use projections::kernel::{Column, Model};
use projections::ports::Fault;
use projections::query::{CellPages, Page, Parents, QueryError, RowQuery};
use uuid::Uuid;

use super::allowance::Allowance;
use super::caller::Caller;
use super::freshness::{Behind, Freshness};
use super::live::LiveUpdates;
use super::projection_status::ProjectionStatus;
use super::stream_history::{StreamEvent, StreamQuery};
use super::webhooks::Webhooks;
use super::work::Work;

/// The engine, as the API uses it. Futures are boxed, so that the router can hold any implementation, such as a test
/// double.
pub trait Backend: Send + Sync + 'static {
    /// The clock of this process.
    fn now(&self) -> Timestamp;

    /// A new UUIDv7.
    fn new_id(&self) -> Uuid;

    /// A versioned keyed digest of a command's canonical form; equal commands have equal digests.
    fn fingerprint(&self, canonical: &str) -> String;

    /// The digest that earlier versions stored: of the name of a command, a line break and the bytes of its body.
    fn body_fingerprint(&self, body: &[u8]) -> String;

    /// Seals the personal fields of a command; returns the keys that were created for people without one.
    fn seal<'a>(
        &'a self,
        tenant: TenantId,
        command: &'a mut dyn AnyCommand,
    ) -> BoxFuture<'a, Result<Vec<WrappedDataKey>, SealError>>;

    /// Counts commands against the rate limits of the caller and its tenant. By default there are no limits.
    fn allow<'a>(&'a self, _caller: &'a Caller, commands: u32) -> BoxFuture<'a, Allowance> {
        ready(Allowance::unlimited(commands)).boxed()
    }

    /// Submits commands for decision in their order; returns one answer each, in the same order.
    fn submit(&self, tenant: TenantId, commands: Vec<Envelope>) -> BoxFuture<'_, Vec<Answer>>;

    /// The stored answer of a command; `None` if the command is unknown.
    fn receipt(
        &self,
        tenant: TenantId,
        principal: Principal,
        command: CommandId,
    ) -> BoxFuture<'_, Result<Option<StoredReceipt>, Fault>>;

    /// The rows of a read model that match a query.
    fn page<'a>(&'a self, model: &'a Model, query: RowQuery) -> BoxFuture<'a, Result<Page, QueryError>>;

    /// The rows of a query for several parents, such as those of a relation: one page per parent, in their order. One
    /// statement reads them all.
    fn pages<'a>(
        &'a self,
        model: &'a Model,
        query: RowQuery,
        parents: Parents,
    ) -> BoxFuture<'a, Result<Vec<Page>, QueryError>>;

    /// Cells of the rows of a query: of one page or, for several parents, of one page per parent. One statement reads
    /// them all.
    fn cells<'a>(
        &'a self,
        model: &'a Model,
        columns: &'a [&'a Column],
        query: &'a RowQuery,
        parents: Option<&'a Parents>,
    ) -> BoxFuture<'a, Result<CellPages, QueryError>>;

    /// Waits, at most two seconds, until these read models have reached a tenant position.
    fn wait<'a>(
        &'a self,
        tenant: TenantId,
        at_least: Freshness,
        models: Vec<&'a Model>,
    ) -> BoxFuture<'a, Result<(), Behind>>;

    /// Subscribes to the rows that match a query: first the page it asks for, then every change of a matching row.
    /// With `since`, the first update also contains the rows outside the page that changed after that position.
    fn watch<'a>(
        &'a self,
        model: &'a Model,
        query: RowQuery,
        since: Option<Freshness>,
    ) -> BoxFuture<'a, Result<LiveUpdates, QueryError>>;

    /// Progress of all read models in the history of a tenant, in the order of their names.
    fn projection_status(&self, tenant: TenantId) -> BoxFuture<'_, Result<Vec<ProjectionStatus>, Fault>>;

    /// Completes when this process begins to shut down.
    fn stopping(&self) -> BoxFuture<'static, ()>;

    /// The plaintexts of sealed fields, in order; `None` where the key was destroyed or belongs to another tenant.
    fn open(&self, tenant: TenantId, sealed: Vec<SealedField>) -> BoxFuture<'_, Result<Vec<Option<String>>, Fault>>;

    /// The keyed index of a folded personal value: equal values of one tenant have equal indexes.
    fn blind_index(&self, tenant: TenantId, field: &str, folded: &str) -> String;

    /// The search token of a folded word: equal for equal words of one tenant.
    fn search_token(&self, tenant: TenantId, word: &str) -> SearchToken;

    /// Webhook delivery.
    fn webhooks(&self) -> &dyn Webhooks;

    /// Reads events of one stream, and one more than the page has if there is one.
    fn stream_history<'a>(
        &'a self,
        tenant: TenantId,
        query: &'a StreamQuery,
    ) -> BoxFuture<'a, Result<Vec<StreamEvent>, Fault>>;

    /// Background work, for operators.
    fn work(&self) -> &dyn Work;

    /// Reasons for sending no traffic to this process, one sentence each; empty when it is ready.
    fn reasons(&self) -> Vec<String>;

    /// Optional dependencies that are not available, one sentence each; the process is ready without them.
    fn degradations(&self) -> Vec<String> {
        vec![]
    }

    /// Metrics in Prometheus' text format.
    fn metrics(&self) -> String;

    /// True for the token with which a monitoring system reads reasons and metrics. Compared in constant time.
    fn is_monitor(&self, token: &[u8]) -> bool;
}

/// An encrypted personal value and the name of its field, which is needed to decrypt it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SealedField {
    /// The field as `x-personal` names it (`email`).
    pub field: String,
    pub ciphertext: String,
}
