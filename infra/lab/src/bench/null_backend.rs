//! API backend without a scribe: accepts every command at once and writes nothing. It measures the cost of the HTTP
//! layer.

use api::port::Freshness;
use api::port::LiveUpdates;
use api::port::Webhooks;
use api::port::{Backend, Behind, ProjectionStatus, SealedField, Work};
use api::port::{StreamEvent, StreamQuery};
use cartulary::engine::Engine;
use commands::kernel::{AnyCommand, Hint};
use commands::scribe::{Accepted, Answer, ChangedStream, Envelope, Settled, StoredReceipt, WrappedDataKey};
use domain::shared::{CommandId, Principal, SealError, SearchToken, TenantId, Timestamp};
use futures::FutureExt;
use futures::future::BoxFuture;
use projections::kernel::{Column, Model};
use projections::ports::Fault;
use projections::query::{CellPages, Page, Parents, QueryError, RowQuery};
use uuid::Uuid;

/// Backend that accepts every command and answers everything else by the engine.
pub(super) struct NullBackend {
    pub(super) engine: Engine,
}

impl NullBackend {
    /// Accepts a command, with one changed event on each stream that it names, but that of the tenant.
    fn accept(&self, tenant: TenantId, envelope: &Envelope) -> Answer {
        let mut hint = Hint::default();
        envelope.command.streams(tenant, &mut hint);
        let changed = |stream: commands::kernel::StreamRef| ChangedStream {
            stream_type: stream.stream_type,
            stream: stream.id,
            sequence: 1,
        };
        let changed = hint.into_streams().filter(|stream| stream.id != tenant.uuid()).map(changed).collect();
        let accepted = Accepted { tenant_position: 1, epoch: 1, recorded_at: self.engine.now(), changed };
        Answer::Settled { settled: Settled::Accepted(accepted), replayed: false }
    }
}

impl Backend for NullBackend {
    fn now(&self) -> Timestamp {
        self.engine.now()
    }

    fn new_id(&self) -> Uuid {
        self.engine.new_id()
    }

    fn fingerprint(&self, canonical: &str) -> String {
        self.engine.fingerprint(canonical)
    }

    fn body_fingerprint(&self, body: &[u8]) -> String {
        self.engine.body_fingerprint(body)
    }

    fn seal<'a>(
        &'a self,
        tenant: TenantId,
        command: &'a mut dyn AnyCommand,
    ) -> BoxFuture<'a, Result<Vec<WrappedDataKey>, SealError>> {
        self.engine.seal(tenant, command)
    }

    fn blind_index(&self, tenant: TenantId, field: &str, folded: &str) -> String {
        self.engine.blind_index(tenant, field, folded)
    }

    fn search_token(&self, tenant: TenantId, word: &str) -> SearchToken {
        self.engine.search_token(tenant, word)
    }

    fn submit(&self, tenant: TenantId, commands: Vec<Envelope>) -> BoxFuture<'_, Vec<Answer>> {
        let answers = commands.iter().map(|envelope| self.accept(tenant, envelope)).collect();
        futures::future::ready(answers).boxed()
    }

    fn receipt(
        &self,
        tenant: TenantId,
        principal: Principal,
        command: CommandId,
    ) -> BoxFuture<'_, Result<Option<StoredReceipt>, Fault>> {
        self.engine.receipt(tenant, principal, command)
    }

    fn page<'a>(&'a self, model: &'a Model, question: RowQuery) -> BoxFuture<'a, Result<Page, QueryError>> {
        self.engine.page(model, question)
    }

    fn pages<'a>(
        &'a self,
        model: &'a Model,
        query: RowQuery,
        parents: Parents,
    ) -> BoxFuture<'a, Result<Vec<Page>, QueryError>> {
        self.engine.pages(model, query, parents)
    }

    fn cells<'a>(
        &'a self,
        model: &'a Model,
        columns: &'a [&'a Column],
        query: &'a RowQuery,
        parents: Option<&'a Parents>,
    ) -> BoxFuture<'a, Result<CellPages, QueryError>> {
        self.engine.cells(model, columns, query, parents)
    }

    fn wait<'a>(
        &'a self,
        tenant: TenantId,
        at_least: Freshness,
        models: Vec<&'a Model>,
    ) -> BoxFuture<'a, Result<(), Behind>> {
        self.engine.wait(tenant, at_least, models)
    }

    fn watch<'a>(
        &'a self,
        model: &'a Model,
        question: RowQuery,
        since: Option<Freshness>,
    ) -> BoxFuture<'a, Result<LiveUpdates, QueryError>> {
        self.engine.watch(model, question, since)
    }

    fn projection_status(&self, tenant: TenantId) -> BoxFuture<'_, Result<Vec<ProjectionStatus>, Fault>> {
        self.engine.projection_status(tenant)
    }

    fn stopping(&self) -> BoxFuture<'static, ()> {
        self.engine.stopping()
    }

    fn open(&self, tenant: TenantId, sealed: Vec<SealedField>) -> BoxFuture<'_, Result<Vec<Option<String>>, Fault>> {
        self.engine.open(tenant, sealed)
    }

    fn webhooks(&self) -> &dyn Webhooks {
        self.engine.webhooks()
    }

    fn work(&self) -> &dyn Work {
        self.engine.work()
    }

    fn reasons(&self) -> Vec<String> {
        self.engine.reasons()
    }

    fn metrics(&self) -> String {
        self.engine.metrics()
    }

    fn stream_history<'a>(
        &'a self,
        tenant: TenantId,
        query: &'a StreamQuery,
    ) -> BoxFuture<'a, Result<Vec<StreamEvent>, Fault>> {
        self.engine.stream_history(tenant, query)
    }

    fn is_monitor(&self, token: &[u8]) -> bool {
        self.engine.is_monitor(token)
    }
}
