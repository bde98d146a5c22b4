//! Engine: implements the port of the API with the components of this process.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use api::port::{
    Allowance, Backend, Behind, Caller, Freshness, LiveUpdates, ProjectionStatus, SealedField, StreamEvent,
    StreamQuery, Webhooks, Work,
};
use commands::kernel::{AnyCommand, StateRegistry};
use commands::scribe::{Answer, Envelope, ReceiptKey, StoredReceipt, WrappedDataKey};
use domain::shared::{CommandId, Principal, SealError, SearchToken, TenantId, Timestamp};
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use metrics_exporter_prometheus::PrometheusHandle;
use projections::kernel::{Column, Model};
use projections::ports::{Cause, Fault};
use projections::query::{CellPages, Page, Parents, QueryError, RowQuery};
use sqlx::PgPool;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::edge_protection::EdgeProtection;
use crate::stream_history::read_stream;
use edge::redis::Redis;
use outside::webhooks::WebhookGateway;
use platform::clock::Clock;
use platform::database::{begin_for, statement_scope};
use platform::health::Health;
use scribe::forwarding::Dispatch;
use vault::{MonitorToken, Vault};
use views::live::Subscriptions;
use views::store::{PgReader, projection_status};
use work::Operations;

/// Longest time for which a query waits until its read models have reached the position of its freshness token.
const WAIT_MOST: Duration = Duration::from_secs(2);

/// The components of a running process, as the API uses them.
pub struct Engine {
    /// Connections for the rows of one tenant at a time.
    pub readers: PgPool,
    pub clock: Clock,
    pub dispatch: Dispatch,
    pub vault: Arc<Vault>,
    pub webhooks: WebhookGateway,
    pub operations: Operations,
    pub states: Arc<StateRegistry>,
    /// Changes after every batch that this process has projected.
    pub progress: watch::Receiver<u64>,
    pub redis: Option<Redis>,
    pub live: Subscriptions,
    pub edge: EdgeProtection,
    pub metrics: PrometheusHandle,
    pub monitor: MonitorToken,
    pub health: Health,
    pub stop: CancellationToken,
}

impl Engine {
    /// Loads the receipts of those commands of a tenant that have one.
    async fn load_receipts(
        &self,
        tenant: TenantId,
        keys: Vec<ReceiptKey>,
    ) -> Result<HashMap<ReceiptKey, StoredReceipt>, sqlx::Error> {
        let lane = self.dispatch.routes().lane(tenant).await?;
        let keys: Vec<_> = keys.into_iter().map(|key| (lane, key)).collect();
        let mut transaction = begin_for(&self.readers, tenant).await?;
        let receipts = scribe::load_receipts(&mut transaction, &self.states, &keys).await?;
        transaction.commit().await?;
        Ok(receipts)
    }

    /// Lane position of the event that a freshness token names. [`Behind::OtherHistory`] if the log does not contain
    /// the event, or has lost the history of the token.
    async fn lane_position(&self, tenant: TenantId, at_least: Freshness) -> Result<i64, Behind> {
        if at_least.tenant_position == 0 {
            return Ok(0);
        }
        let lane = self.dispatch.routes().lane(tenant).await.map_err(|_| Behind::Away)?;
        // The event was written in the epoch of the token or in an earlier one. If it was written in a later one, it
        // has replaced the event of the token, which is lost.
        let text = format!(
            "SELECT found.position FROM {} CROSS JOIN LATERAL (
                 SELECT e.position FROM log.events e
                 JOIN log.epochs wrote ON wrote.lane = e.lane AND wrote.epoch = e.epoch
                 JOIN log.epochs given ON given.lane = e.lane AND given.epoch = $4
                 WHERE e.lane = $1 AND e.tenant = scope.tenant AND e.tenant_position = $3 AND wrote.since <= given.since
                 LIMIT 1
             ) found",
            statement_scope(2)
        );
        let position: Option<i64> = sqlx::query_scalar(&text)
            .bind(lane.0)
            .bind(tenant.uuid())
            .bind(at_least.tenant_position)
            .bind(at_least.epoch)
            .fetch_optional(&self.readers)
            .await
            .map_err(|_| Behind::Away)?;
        position.ok_or(Behind::OtherHistory)
    }

    /// Waits until these read models have reached the position of a freshness token.
    async fn wait_for(&self, tenant: TenantId, at_least: Freshness, models: &[&Model]) -> Result<(), Behind> {
        let position = self.lane_position(tenant, at_least).await?;
        let reader = PgReader::new(self.readers.clone());
        let mut progress = self.progress.clone();
        let deadline = tokio::time::sleep(WAIT_MOST);
        tokio::pin!(deadline);
        loop {
            progress.mark_unchanged();
            let mut behind = Vec::new();
            for model in models {
                let at = reader.checkpoint(model, tenant).await.map_err(|_| Behind::Away)?;
                if at.position < position {
                    behind.push(model.name.clone());
                }
            }
            if behind.is_empty() {
                return Ok(());
            }
            tokio::select! {
                () = &mut deadline => return Err(Behind::Models(behind)),
                // `progress` does not report batches that another process has projected, so the checkpoints are polled.
                () = tokio::time::sleep(Duration::from_millis(50)) => {}
                _ = progress.changed() => {}
            }
        }
    }
}

impl Backend for Engine {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn new_id(&self) -> Uuid {
        platform::clock::new_id()
    }

    fn fingerprint(&self, canonical: &str) -> String {
        self.vault.fingerprint(canonical)
    }

    fn body_fingerprint(&self, body: &[u8]) -> String {
        self.vault.body_fingerprint(body)
    }

    fn seal<'a>(
        &'a self,
        tenant: TenantId,
        command: &'a mut dyn AnyCommand,
    ) -> BoxFuture<'a, Result<Vec<WrappedDataKey>, SealError>> {
        self.vault.seal(tenant, command).boxed()
    }

    fn blind_index(&self, tenant: TenantId, field: &str, folded: &str) -> String {
        self.vault.blind_index(tenant, field, folded)
    }

    fn search_token(&self, tenant: TenantId, word: &str) -> SearchToken {
        self.vault.search_token(tenant, word)
    }

    fn allow<'a>(&'a self, caller: &'a Caller, commands: u32) -> BoxFuture<'a, Allowance> {
        if self.edge.limits.applies_to(caller) {
            self.edge.limits.allow(caller, commands).boxed()
        } else {
            ready(Allowance::unlimited(commands)).boxed()
        }
    }

    fn submit(&self, tenant: TenantId, commands: Vec<Envelope>) -> BoxFuture<'_, Vec<Answer>> {
        match &self.edge.sold_out {
            None => self.dispatch.submit(tenant, false, commands).boxed(),
            Some(sold_out) => {
                let load_receipts = move |keys| self.load_receipts(tenant, keys);
                let decide = move |commands| self.dispatch.submit(tenant, false, commands);
                sold_out.submit(tenant, commands, load_receipts, decide).boxed()
            }
        }
    }

    fn receipt(
        &self,
        tenant: TenantId,
        principal: Principal,
        command: CommandId,
    ) -> BoxFuture<'_, Result<Option<StoredReceipt>, Fault>> {
        let key = ReceiptKey { tenant, principal, command };
        let read = async move {
            let receipts = self.load_receipts(tenant, vec![key]).await;
            let mut receipts = receipts.map_err(|error| unavailable("reading a receipt", error))?;
            Ok(receipts.remove(&key))
        };
        read.boxed()
    }

    fn page<'a>(&'a self, model: &'a Model, query: RowQuery) -> BoxFuture<'a, Result<Page, QueryError>> {
        async move {
            let reader = PgReader::new(self.readers.clone());
            match &self.edge.row_cache {
                None => reader.page(model, &query).await,
                Some(row_cache) => row_cache.page(&reader, model, &query).await,
            }
        }
        .boxed()
    }

    fn pages<'a>(
        &'a self,
        model: &'a Model,
        query: RowQuery,
        parents: Parents,
    ) -> BoxFuture<'a, Result<Vec<Page>, QueryError>> {
        async move { PgReader::new(self.readers.clone()).pages(model, &query, &parents).await }.boxed()
    }

    fn cells<'a>(
        &'a self,
        model: &'a Model,
        columns: &'a [&'a Column],
        query: &'a RowQuery,
        parents: Option<&'a Parents>,
    ) -> BoxFuture<'a, Result<CellPages, QueryError>> {
        async move {
            let reader = PgReader::new(self.readers.clone());
            match (&self.edge.row_cache, parents) {
                (Some(row_cache), None) => row_cache.cells(&reader, model, columns, query).await,
                _ => reader.cells(model, columns, query, parents).await,
            }
        }
        .boxed()
    }

    fn wait<'a>(
        &'a self,
        tenant: TenantId,
        at_least: Freshness,
        models: Vec<&'a Model>,
    ) -> BoxFuture<'a, Result<(), Behind>> {
        async move { self.wait_for(tenant, at_least, &models).await }.boxed()
    }

    fn watch<'a>(
        &'a self,
        model: &'a Model,
        query: RowQuery,
        since: Option<Freshness>,
    ) -> BoxFuture<'a, Result<LiveUpdates, QueryError>> {
        let subscribed = async move {
            let since = match since {
                Some(since) => Some(self.lane_position(query.tenant, since).await.map_err(position_unavailable)?),
                None => None,
            };
            self.live.subscribe(model, &query, since).await
        };
        subscribed.boxed()
    }

    fn projection_status(&self, tenant: TenantId) -> BoxFuture<'_, Result<Vec<ProjectionStatus>, Fault>> {
        let status = async move {
            let doing = "reading the status of read models";
            let begun = begin_for(&self.readers, tenant).await;
            let mut transaction = begun.map_err(|error| unavailable(doing, error))?;
            projection_status(&mut transaction, self.live.models(), tenant).await
        };
        status.boxed()
    }

    fn stopping(&self) -> BoxFuture<'static, ()> {
        self.stop.clone().cancelled_owned().boxed()
    }

    fn open(&self, tenant: TenantId, sealed: Vec<SealedField>) -> BoxFuture<'_, Result<Vec<Option<String>>, Fault>> {
        let opened = async move {
            let sealed: Vec<_> = sealed.iter().map(|sealed| (&*sealed.field, &*sealed.ciphertext)).collect();
            let opened = self.vault.open(tenant, &sealed).await;
            opened.map_err(|error| unavailable("reading the keys of persons", error))
        };
        opened.boxed()
    }

    fn webhooks(&self) -> &dyn Webhooks {
        &self.webhooks
    }

    fn work(&self) -> &dyn Work {
        &self.operations
    }

    fn reasons(&self) -> Vec<String> {
        let stopping = self.stop.is_cancelled().then(|| "the process is shutting down".to_owned());
        stopping.into_iter().chain(self.health.reasons()).collect()
    }

    fn degradations(&self) -> Vec<String> {
        self.redis.as_ref().and_then(Redis::outage).into_iter().chain(self.health.degradations()).collect()
    }

    fn metrics(&self) -> String {
        self.metrics.render()
    }

    fn stream_history<'a>(
        &'a self,
        tenant: TenantId,
        query: &'a StreamQuery,
    ) -> BoxFuture<'a, Result<Vec<StreamEvent>, Fault>> {
        let read = async move {
            let doing = "reading the history of a stream";
            let lane = self.dispatch.routes().lane(tenant).await.map_err(|error| unavailable(doing, error))?;
            read_stream(&self.readers, (lane, tenant), query).await.map_err(|error| unavailable(doing, error))
        };
        read.boxed()
    }

    fn is_monitor(&self, token: &[u8]) -> bool {
        self.monitor.equals(token)
    }
}

/// Fault of a subscription whose position cannot be read. The API has checked the position before.
fn position_unavailable(_: Behind) -> Fault {
    Fault::new(Cause::Unavailable, "reading a position")
}

fn unavailable(doing: &str, error: sqlx::Error) -> Fault {
    Fault::caused(Cause::Unavailable, doing, error)
}
