//! What the front door is told about webhooks.

use std::sync::Arc;

use api::port::{Delivery, NotPermitted, ShownSecret, Webhooks};
use commands::kernel::Misuse;
use domain::shared::{TargetUrl, TenantId, WebhookSubscriptionId};
use futures::FutureExt;
use futures::future::BoxFuture;
use projections::ports::{Cause, Fault};
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};

use super::{CursorKeeper, Forbidden, Guard, Line, SigningKeys, WebhookLimits, WebhookRunner, log};
use event_log::Routes;
use platform::clock::{Timestamptz, now};
use vault::OuterKey;
use work::PolicyRunner;

/// Answers the front door, and knows what it takes to deliver.
#[derive(Clone)]
pub struct WebhookDesk {
    pool: PgPool,
    routes: Routes,
    guard: Arc<Guard>,
    keys: Arc<SigningKeys>,
}

impl WebhookDesk {
    pub fn open(pool: &PgPool, routes: &Routes, guard: Guard, outer: &OuterKey) -> Self {
        let (guard, keys) = (Arc::new(guard), Arc::new(SigningKeys::new(outer)));
        Self { pool: pool.clone(), routes: routes.clone(), guard, keys }
    }

    /// Who keeps the cursors, for the policy that asks for it.
    pub fn keeper(&self) -> CursorKeeper {
        CursorKeeper { pool: self.pool.clone() }
    }

    /// Who delivers, for the lanes whose policies run in this process.
    pub fn runner(&self, beside: &PolicyRunner) -> Result<WebhookRunner, rustls::Error> {
        Ok(WebhookRunner {
            pool: self.pool.clone(),
            scribe: beside.scribe.clone(),
            lanes: beside.lanes.clone(),
            vault: beside.vault.clone(),
            keys: self.keys.clone(),
            line: Arc::new(Line::new(self.guard.clone())?),
            limits: WebhookLimits::default(),
        })
    }

    async fn find_secrets(&self, tenant: TenantId, id: WebhookSubscriptionId) -> Result<Vec<ShownSecret>, Fault> {
        let lane = self.routes.lane(tenant).await.map_err(unavailable("finding a tenant's lane"))?.0;
        let mut store = self.pool.acquire().await.map_err(unavailable("reading a subscription"))?;
        let standing = log::standing(&mut store, lane, tenant, id).await;
        let state = standing.map_err(unavailable("reading a subscription"))?.state;
        let generations = if state.is_created() { state.generations(now()) } else { vec![] };
        let shown = generations.into_iter().map(|(generation, valid_until)| {
            let secret = self.keys.secret(tenant, id, generation);
            let secret = secret.map_err(|error| Fault::caused(Cause::Corrupt, "making a secret", error))?;
            Ok(ShownSecret { generation, secret: secret.shown(), public_key: secret.public_key(), valid_until })
        });
        shown.collect()
    }

    async fn find_event(&self, tenant: TenantId, position: i64) -> Result<Option<String>, Fault> {
        let lane = self.routes.lane(tenant).await.map_err(unavailable("finding a tenant's lane"))?.0;
        let found = log::event(&self.pool, lane, tenant, position).await.map_err(unavailable("reading an event"))?;
        let whole = found.map(|event| event.whole()).transpose();
        whole.map_err(|error| Fault::caused(Cause::Corrupt, "reading an event", error))
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
        sqlx::query(text)
            .bind(id.uuid())
            .bind(tenant.uuid())
            .bind(before.unwrap_or(i64::MAX))
            .bind(i64::from(first))
            .try_map(|row| delivery(&row))
            .fetch_all(&self.pool)
            .await
            .map_err(unavailable("reading deliveries"))
    }
}

impl Webhooks for WebhookDesk {
    fn permit<'a>(&'a self, url: &'a TargetUrl) -> BoxFuture<'a, Result<(), NotPermitted>> {
        let checked = async move {
            self.guard.addresses(url).await.map(|_| ()).map_err(|forbidden| match forbidden {
                Forbidden::NamesAway => NotPermitted::Unknown,
                known => Misuse::new("INVALID_FIELD", "url", known.to_string()).into(),
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
