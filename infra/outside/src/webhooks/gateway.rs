//! Webhook gateway: implements the webhook port of the API, and creates the components that the composition root runs.

use std::sync::Arc;

use api::port::{Delivery, NotPermitted, ShownSecret, Webhooks};
use commands::kernel::Misuse;
use domain::shared::{TargetUrl, TenantId, WebhookSubscriptionId};
use event_log::Routes;
use futures::FutureExt;
use futures::future::BoxFuture;
use platform::clock::{Timestamptz, now};
use platform::database::begin_for;
use projections::ports::{Cause, Fault};
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};
use vault::OuterKey;
use work::{PolicyRunner, RestoreHook};

use super::guard::{Forbidden, Guard};
use super::http_client::HttpClient;
use super::limits::WebhookLimits;
use super::log_reader;
use super::reconciliation::CursorReconciler;
use super::restore::WebhookRewind;
use super::runner::WebhookRunner;
use super::signature::SigningKeys;

/// Entry point to webhooks: checks URLs, returns secrets and recorded deliveries, and creates the background
/// components.
#[derive(Clone)]
pub struct WebhookGateway {
    /// Connections for the questions of callers, each about one tenant.
    pool: PgPool,
    routes: Routes,
    guard: Arc<Guard>,
    keys: Arc<SigningKeys>,
}

impl WebhookGateway {
    pub fn open(pool: &PgPool, routes: &Routes, guard: Guard, outer: &OuterKey) -> Self {
        let (guard, keys) = (Arc::new(guard), Arc::new(SigningKeys::new(outer)));
        Self { pool: pool.clone(), routes: routes.clone(), guard, keys }
    }

    /// The target of the effects that reconcile cursors, over connections of workers.
    pub fn reconciler(&self, workers: &PgPool) -> CursorReconciler {
        CursorReconciler { pool: workers.clone() }
    }

    /// The hooks that rewind cursors after a restore of the log.
    pub fn restore_hooks(&self) -> Vec<Arc<dyn RestoreHook>> {
        vec![Arc::new(WebhookRewind)]
    }

    /// The webhook runner for the lanes of this policy runner.
    pub fn runner(&self, policies: &PolicyRunner) -> Result<WebhookRunner, rustls::Error> {
        Ok(WebhookRunner {
            pool: policies.pool.clone(),
            dispatch: policies.dispatch.clone(),
            lanes: policies.lanes.clone(),
            vault: policies.vault.clone(),
            keys: self.keys.clone(),
            client: Arc::new(HttpClient::new(self.guard.clone())?),
            limits: WebhookLimits::default(),
        })
    }

    async fn find_secrets(&self, tenant: TenantId, id: WebhookSubscriptionId) -> Result<Vec<ShownSecret>, Fault> {
        let lane = self.routes.lane(tenant).await.map_err(unavailable("finding a tenant's lane"))?.0;
        let mut transaction = begin_for(&self.pool, tenant).await.map_err(unavailable("reading a subscription"))?;
        let subscription = log_reader::subscription(&mut transaction, lane, tenant, id).await;
        let state = subscription.map_err(unavailable("reading a subscription"))?.state;
        transaction.commit().await.map_err(unavailable("reading a subscription"))?;
        let generations = if state.is_created() { state.generations(now()) } else { vec![] };
        let shown = generations.into_iter().map(|(generation, valid_until)| {
            let secret = self.keys.secret(tenant, id, generation);
            let secret = secret.map_err(|error| Fault::caused(Cause::Corrupt, "deriving a secret", error))?;
            Ok(ShownSecret { generation, secret: secret.shown(), public_key: secret.public_key(), valid_until })
        });
        shown.collect()
    }

    async fn find_event(&self, tenant: TenantId, position: i64) -> Result<Option<String>, Fault> {
        let lane = self.routes.lane(tenant).await.map_err(unavailable("finding a tenant's lane"))?.0;
        let mut transaction = begin_for(&self.pool, tenant).await.map_err(unavailable("reading an event"))?;
        let event = log_reader::event(&mut *transaction, lane, tenant, position).await;
        let body = event.map_err(unavailable("reading an event"))?.map(|message| message.full_body()).transpose();
        body.map_err(|error| Fault::caused(Cause::Corrupt, "reading an event", error))
    }

    async fn find_deliveries(
        &self,
        tenant: TenantId,
        id: WebhookSubscriptionId,
        before: Option<i64>,
        first: u32,
    ) -> Result<Vec<Delivery>, Fault> {
        let text = "SELECT number, event, type, position, replay, attempt, begun_at, took_ms, status, trouble
                    FROM work.webhook_attempts
                    WHERE subscription = $1 AND tenant = $2 AND number < $3 ORDER BY number DESC LIMIT $4";
        let mut transaction = begin_for(&self.pool, tenant).await.map_err(unavailable("reading deliveries"))?;
        sqlx::query(text)
            .bind(id.uuid())
            .bind(tenant.uuid())
            .bind(before.unwrap_or(i64::MAX))
            .bind(i64::from(first))
            .try_map(|row| delivery(&row))
            .fetch_all(&mut *transaction)
            .await
            .map_err(unavailable("reading deliveries"))
    }
}

impl Webhooks for WebhookGateway {
    fn check_target<'a>(&'a self, url: &'a TargetUrl) -> BoxFuture<'a, Result<(), NotPermitted>> {
        let checked = async move {
            self.guard.addresses(url).await.map(|_| ()).map_err(|forbidden| match forbidden {
                Forbidden::ResolverUnavailable => NotPermitted::Unknown,
                other => Misuse::new("INVALID_FIELD", "url", other.to_string()).into(),
            })
        };
        checked.boxed()
    }

    fn secrets(
        &self,
        tenant: TenantId,
        subscription: WebhookSubscriptionId,
    ) -> BoxFuture<'_, Result<Vec<ShownSecret>, Fault>> {
        self.find_secrets(tenant, subscription).boxed()
    }

    fn deliveries(
        &self,
        tenant: TenantId,
        subscription: WebhookSubscriptionId,
        before: Option<i64>,
        first: u32,
    ) -> BoxFuture<'_, Result<Vec<Delivery>, Fault>> {
        self.find_deliveries(tenant, subscription, before, first).boxed()
    }

    fn event(&self, tenant: TenantId, position: i64) -> BoxFuture<'_, Result<Option<String>, Fault>> {
        self.find_event(tenant, position).boxed()
    }
}

fn delivery(row: &PgRow) -> Result<Delivery, sqlx::Error> {
    Ok(Delivery {
        number: row.try_get("number")?,
        event: row.try_get("event")?,
        kind: row.try_get("type")?,
        position: row.try_get("position")?,
        replay: row.try_get("replay")?,
        attempt: row.try_get("attempt")?,
        begun_at: row.try_get::<Timestamptz, _>("begun_at")?.0,
        took_ms: row.try_get("took_ms")?,
        status: row.try_get("status")?,
        trouble: row.try_get("trouble")?,
    })
}

fn unavailable(doing: &'static str) -> impl FnOnce(sqlx::Error) -> Fault {
    move |error| Fault::caused(Cause::Unavailable, doing, error)
}
