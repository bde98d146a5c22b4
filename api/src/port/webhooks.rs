//! The port to webhook delivery: checks of target addresses, signing secrets, delivery attempts, single events.

use commands::kernel::Misuse;
use domain::shared::{TargetUrl, TenantId, Timestamp, WebhookSubscriptionId};
use futures::future::BoxFuture;
use projections::ports::Fault;
use serde::Serialize;
use uuid::Uuid;

/// Webhook delivery, as the API uses it.
pub trait Webhooks: Send + Sync {
    /// Refuses an address that must not be called: a private one, or a host name that resolves to one.
    fn check_target<'a>(&'a self, url: &'a TargetUrl) -> BoxFuture<'a, Result<(), NotPermitted>>;

    /// The secrets with which deliveries are signed now, newest first; empty if the subscription does not exist.
    fn secrets(
        &self,
        tenant: TenantId,
        subscription: WebhookSubscriptionId,
    ) -> BoxFuture<'_, Result<Vec<ShownSecret>, Fault>>;

    /// Delivery attempts with a number below `before`, newest first, at most `first`.
    fn deliveries(
        &self,
        tenant: TenantId,
        subscription: WebhookSubscriptionId,
        before: Option<i64>,
        first: u32,
    ) -> BoxFuture<'_, Result<Vec<Delivery>, Fault>>;

    /// The event at a position of the tenant in its delivered form, without a size limit.
    fn event(&self, tenant: TenantId, position: i64) -> BoxFuture<'_, Result<Option<String>, Fault>>;
}

/// Reason for refusing a target address.
#[derive(Clone, Debug, PartialEq)]
pub enum NotPermitted {
    Misuse(Misuse),
    /// The host name cannot be resolved now.
    Unknown,
}

impl From<Misuse> for NotPermitted {
    fn from(misuse: Misuse) -> Self {
        Self::Misuse(misuse)
    }
}

/// A signing secret for display to a permitted caller. It has no `Debug`, so that no log shows it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShownSecret {
    /// Number of the secret within its subscription; the first one is 0.
    pub generation: u32,
    /// `whsec_…`, for signatures that begin with `v1,`.
    pub secret: String,
    /// `whpk_…`, for signatures that begin with `v1a,`.
    pub public_key: String,
    /// End of use for signing; present where a newer secret has replaced this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<Timestamp>,
}

/// One attempt to deliver one event.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// Number of the attempt within its subscription.
    pub number: i64,
    /// The id of the event, which is the `webhook-id`.
    pub event: Uuid,
    #[serde(rename = "type")]
    pub kind: String,
    /// The position of the event among those of the tenant.
    pub position: i64,
    /// True if the event was sent again on request.
    pub replay: bool,
    /// Number of the attempt for this event, from 1.
    pub attempt: i32,
    pub begun_at: Timestamp,
    pub took_ms: i32,
    /// HTTP status of the response; `None` if there was no response.
    pub status: Option<i16>,
    /// Reason of the failure; `None` if the event was delivered.
    pub trouble: Option<String>,
}
