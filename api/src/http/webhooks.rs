//! `/v1/webhooks`: the secrets of a subscription, what was sent to it, and single events in full.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName};
use domain::shared::{Permission, WebhookSubscriptionId};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{commands_misuse, correlation};
use crate::admission::{Wish, admit};
use crate::auth::Caller;
use crate::error::Problem;
use crate::front::Front;
use crate::integrations::{Delivery, ShownSecret};
use crate::receipt::{Answered, Outcome};

/// Attempts on one page.
const FIRST_MOST: u32 = 200;
const FIRST: u32 = 50;

#[derive(Serialize)]
pub(super) struct Secrets {
    subscription: WebhookSubscriptionId,
    /// The newest first. More than one while an old one still signs.
    secrets: Vec<ShownSecret>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    first: Option<u32>,
    /// The number of the attempt behind which the page begins.
    before: Option<i64>,
}

#[derive(Serialize)]
pub(super) struct Deliveries {
    deliveries: Vec<Delivery>,
    /// Send it as `before` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<i64>,
}

/// `GET /v1/webhooks/{id}/secret`. That somebody saw it is decided and written like any command, before it is shown.
pub(super) async fn secret(
    State(front): State<Arc<Front>>,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Json<Secrets>, Problem> {
    let caller = front.auth.caller(&headers, front.backend.now())?;
    let subscription = subscription(id)?;
    let body = json!({ "subscription": subscription }).to_string();
    let wish = Wish { name: "ShowSecret", body: body.as_bytes(), key: None, correlation: correlation(&headers)? };
    let envelope = admit(&*front.backend, &front.commands, &caller, &wish).await?;
    let id = envelope.id;
    let answer = front.backend.submit(caller.tenant, vec![envelope]).await.pop();
    let answer = answer.ok_or_else(|| Problem::fault(front.backend.new_id(), &"a command was not answered"))?;
    match Answered::from_answer(&*front.backend, id, answer)?.outcome {
        Outcome::Accepted => {}
        Outcome::Rejected => return Err(unknown()),
    }
    let secrets = front.backend.webhooks().secrets(caller.tenant, subscription).await;
    let secrets = secrets.map_err(|fault| Problem::from_fault(&fault, front.backend.new_id()))?;
    Ok(Json(Secrets { subscription, secrets }))
}

/// `GET /v1/webhooks/{id}/deliveries`. Of a subscription of another tenant there is nothing to see.
pub(super) async fn deliveries(
    State(front): State<Arc<Front>>,
    id: Result<Path<String>, PathRejection>,
    asked: Result<Query<Asked>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Json<Deliveries>, Problem> {
    let caller = permitted(&front, &headers)?;
    let subscription = subscription(id)?;
    let odd = |_| commands_misuse("INVALID_FIELD", "first", "expected `first` and `before` as whole numbers");
    let Query(Asked { first, before }) = asked.map_err(odd)?;
    let first = first.unwrap_or(FIRST);
    if !(1..=FIRST_MOST).contains(&first) {
        let text = format!("expected 1 to {FIRST_MOST}");
        return Err(commands_misuse("INVALID_FIELD", "first", &text));
    }
    let found = front.backend.webhooks().deliveries(caller.tenant, subscription, before, first).await;
    let deliveries = found.map_err(|fault| Problem::from_fault(&fault, front.backend.new_id()))?;
    let full = u32::try_from(deliveries.len()) == Ok(first);
    let next = deliveries.last().filter(|_| full).map(|last| last.number);
    Ok(Json(Deliveries { deliveries, next }))
}

/// `GET /v1/events/{position}`: what a delivery says that was too large to be sent whole.
pub(super) async fn event(
    State(front): State<Arc<Front>>,
    position: Result<Path<i64>, PathRejection>,
    headers: HeaderMap,
) -> Result<([(HeaderName, &'static str); 1], String), Problem> {
    let caller = permitted(&front, &headers)?;
    let unknown = || Problem::not_found("UNKNOWN_EVENT", "this tenant has no event at this position");
    let Path(position) = position.map_err(|_| unknown())?;
    let found = front.backend.webhooks().event(caller.tenant, position).await;
    let event = found.map_err(|fault| Problem::from_fault(&fault, front.backend.new_id()))?;
    Ok(([(CONTENT_TYPE, "application/json")], event.ok_or_else(unknown)?))
}

fn permitted(front: &Front, headers: &HeaderMap) -> Result<Caller, Problem> {
    let caller = front.auth.caller(headers, front.backend.now())?;
    match caller.may(Permission::SeeWebhooks) {
        true => Ok(caller),
        false => {
            Err(Problem::forbidden("this needs the permission SeeWebhooks, which this caller's roles do not give"))
        }
    }
}

fn subscription(id: Result<Path<String>, PathRejection>) -> Result<WebhookSubscriptionId, Problem> {
    let Path(id) = id.map_err(|_| unknown())?;
    id.parse().map_err(|_| unknown())
}

fn unknown() -> Problem {
    Problem::not_found("UNKNOWN_SUBSCRIPTION", "this tenant has no such subscription")
}
