//! `/v1/webhooks`: signing secrets and delivery attempts of a subscription; `/v1/events`: single events in full.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName};
use commands::kernel::Misuse;
use domain::shared::{Permission, WebhookSubscriptionId};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::headers::correlation;
use crate::command_answer::Outcome;
use crate::command_intake::{CommandIntake, CommandRequest};
use crate::error::Problem;
use crate::port::{Backend, Caller, Delivery, ShownSecret};

/// Largest page, in delivery attempts.
const FIRST_MOST: u32 = 200;
/// Default page, in delivery attempts.
const FIRST: u32 = 50;

#[derive(Serialize)]
pub(super) struct Secrets {
    subscription: WebhookSubscriptionId,
    /// Newest first; more than one while an older secret still signs.
    secrets: Vec<ShownSecret>,
}

/// Query parameters of the delivery attempts.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Paging {
    first: Option<u32>,
    /// Number of the last attempt of the page before.
    before: Option<i64>,
}

#[derive(Serialize)]
pub(super) struct Deliveries {
    deliveries: Vec<Delivery>,
    /// Value of `before` for the next page; absent if this page is not full.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<i64>,
}

/// `GET /v1/webhooks/{id}/secret`. Showing a secret is a command: it is decided and recorded before the secret is sent.
pub(super) async fn secret(
    caller: Caller,
    State(backend): State<Arc<dyn Backend>>,
    State(intake): State<Arc<CommandIntake>>,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Json<Secrets>, Problem> {
    let subscription = subscription(id)?;
    let body = json!({ "subscription": subscription }).to_string();
    let correlation = correlation(&headers)?;
    let request = CommandRequest { name: "ShowSecret", body: body.as_bytes(), key: None, correlation };
    match intake.execute(&caller, &request).await?.outcome {
        Outcome::Accepted => {}
        Outcome::Rejected => return Err(unknown()),
    }
    let secrets = backend.webhooks().secrets(caller.tenant, subscription).await;
    let secrets = secrets.map_err(|fault| Problem::from_fault(&fault, backend.new_id()))?;
    Ok(Json(Secrets { subscription, secrets }))
}

/// `GET /v1/webhooks/{id}/deliveries`. The list is empty for a subscription of another tenant.
pub(super) async fn deliveries(
    caller: Caller,
    State(backend): State<Arc<dyn Backend>>,
    id: Result<Path<String>, PathRejection>,
    paging: Result<Query<Paging>, QueryRejection>,
) -> Result<Json<Deliveries>, Problem> {
    require_see_webhooks(&caller)?;
    let subscription = subscription(id)?;
    let invalid = |_| Misuse::new("INVALID_FIELD", "first", "expected `first` and `before` as whole numbers");
    let Query(Paging { first, before }) = paging.map_err(invalid)?;
    let first = first.unwrap_or(FIRST);
    if !(1..=FIRST_MOST).contains(&first) {
        return Err(Misuse::new("INVALID_FIELD", "first", format!("expected 1 to {FIRST_MOST}")).into());
    }
    let page = backend.webhooks().deliveries(caller.tenant, subscription, before, first).await;
    let deliveries = page.map_err(|fault| Problem::from_fault(&fault, backend.new_id()))?;
    let full = u32::try_from(deliveries.len()) == Ok(first);
    let next = deliveries.last().filter(|_| full).map(|last| last.number);
    Ok(Json(Deliveries { deliveries, next }))
}

/// `GET /v1/events/{position}`: an event in full, as for an event that was too large for its delivery.
pub(super) async fn event(
    caller: Caller,
    State(backend): State<Arc<dyn Backend>>,
    position: Result<Path<i64>, PathRejection>,
) -> Result<([(HeaderName, &'static str); 1], String), Problem> {
    require_see_webhooks(&caller)?;
    let unknown = || Problem::not_found("UNKNOWN_EVENT", "this tenant has no event at this position");
    let Path(position) = position.map_err(|_| unknown())?;
    let event = backend.webhooks().event(caller.tenant, position).await;
    let event = event.map_err(|fault| Problem::from_fault(&fault, backend.new_id()))?;
    Ok(([(CONTENT_TYPE, "application/json")], event.ok_or_else(unknown)?))
}

fn require_see_webhooks(caller: &Caller) -> Result<(), Problem> {
    if caller.may(Permission::SeeWebhooks) {
        return Ok(());
    }
    Err(Problem::forbidden("this needs the permission SeeWebhooks, which this caller's roles do not give"))
}

fn subscription(id: Result<Path<String>, PathRejection>) -> Result<WebhookSubscriptionId, Problem> {
    let Path(id) = id.map_err(|_| unknown())?;
    id.parse().map_err(|_| unknown())
}

fn unknown() -> Problem {
    Problem::not_found("UNKNOWN_SUBSCRIPTION", "this tenant has no such subscription")
}
