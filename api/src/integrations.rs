//! Webhooks: what the front door asks of the floor above, and the ways from a subscription to other rows.

use axum::http::StatusCode;
use commands::kernel::Misuse;
use domain::kernel::Retry;
use domain::shared::{TargetUrl, TenantId, Timestamp, WebhookSubscriptionId};
use futures::future::BoxFuture;
use projections::ports::Fault;
use serde::Serialize;
use uuid::Uuid;

use crate::error::Problem;
use crate::graphql::Relations;

/// Seconds after which a name may be looked up again.
const NAMES_AWAY_S: u32 = 5;

/// There is no way from a subscription to another row yet.
pub(crate) fn relations(_: &mut Relations) {}

/// Whoever delivers webhooks, as the API sees it.
pub trait Webhooks: Send + Sync {
    /// Refuses an address that must not be called: a private one, or a name that leads to one.
    fn permit<'a>(&'a self, url: &'a TargetUrl) -> BoxFuture<'a, Result<(), NotPermitted>>;

    /// The secrets that sign at present, the newest first; nothing where there is no such subscription.
    fn secrets(
        &self,
        tenant: TenantId,
        subscription: WebhookSubscriptionId,
    ) -> BoxFuture<'_, Result<Vec<ShownSecret>, Fault>>;

    /// What was sent or tried, the newest first, older than the given number.
    fn deliveries(
        &self,
        tenant: TenantId,
        subscription: WebhookSubscriptionId,
        before: Option<i64>,
        first: u32,
    ) -> BoxFuture<'_, Result<Vec<Delivery>, Fault>>;

    /// The event at a position of the tenant as it is delivered, however large it is.
    fn event(&self, tenant: TenantId, position: i64) -> BoxFuture<'_, Result<Option<String>, Fault>>;
}

/// Why an address may not be called.
#[derive(Clone, Debug, PartialEq)]
pub enum NotPermitted {
    Misuse(Misuse),
    /// Nobody can say now where its name leads.
    Unknown,
}

impl From<Misuse> for NotPermitted {
    fn from(misuse: Misuse) -> Self {
        Self::Misuse(misuse)
    }
}

impl From<NotPermitted> for Problem {
    fn from(not_permitted: NotPermitted) -> Self {
        match not_permitted {
            NotPermitted::Misuse(misuse) => misuse.into(),
            NotPermitted::Unknown => {
                let detail = "nobody says at the moment where the name in this address leads";
                let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "NAMES_AWAY", detail);
                Self { retry: Retry::SameId, retry_after_s: Some(NAMES_AWAY_S), ..problem }
            }
        }
    }
}

/// A secret, for the eyes of somebody who may see it. It has no `Debug`, so that no log shows it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShownSecret {
    /// The first secret of a subscription is 0.
    pub generation: u32,
    /// `whsec_…`, for signatures that begin with `v1,`.
    pub secret: String,
    /// `whpk_…`, for signatures that begin with `v1a,`.
    pub public_key: String,
    /// Present where another secret has taken its place: when it stops signing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<Timestamp>,
}

/// One attempt to tell an address of one event.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// Counts the attempts of a subscription.
    pub number: i64,
    /// The id of the event, which is the `webhook-id`.
    pub event: Uuid,
    #[serde(rename = "type")]
    pub kind: String,
    /// The position of the event among those of the tenant.
    pub position: i64,
    /// Whether the event was asked for again.
    pub replay: bool,
    /// Which attempt for this event it was, from 1.
    pub attempt: i32,
    pub begun_at: Timestamp,
    pub took_ms: i32,
    /// What was answered; nothing where no answer came.
    pub status: Option<i16>,
    /// Why it counts as failed; nothing where it was delivered.
    pub trouble: Option<String>,
}
