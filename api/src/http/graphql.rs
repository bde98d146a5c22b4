//! `POST /graphql`, as GraphQL over HTTP has it: one operation per request, JSON in, JSON out; a subscription is answered
//! with events. `GET /graphql` opens a socket, or shows the console.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{body, console, correlation, live};
use crate::error::Problem;
use crate::front::Front;
use crate::graphql::{Asked, answer, check};
use crate::json;

/// A document has 16 KiB; the rest is for variables.
const BYTES_MOST: usize = 256 * 1_024;

const RESPONSE: &str = "application/graphql-response+json";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Request {
    query: String,
    operation_name: Option<String>,
    variables: Option<Map<String, Value>>,
    /// Allowed by the specification and not used here.
    #[serde(rename = "extensions")]
    _extensions: Option<Map<String, Value>>,
}

pub(super) async fn graphql(
    State(front): State<Arc<Front>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response<Body>, Problem> {
    let caller = front.auth.caller(&headers, front.backend.now())?;
    let takes_events = live::takes_events(&headers);
    let kind = match response_kind(&headers) {
        // What is refused is told before the first event, and in JSON.
        Err(_) if takes_events => RESPONSE,
        kind => kind?,
    };
    let correlation = correlation(&headers)?;
    let body = body::read(&headers, body, body::JSON, BYTES_MOST).await?;
    let asked = match read(&body) {
        Ok(asked) => asked,
        Err(problem) => {
            let error = json!({ "message": problem.detail, "extensions": { "code": problem.code } });
            return Ok(written(kind, StatusCode::BAD_REQUEST, &json!({ "errors": [error] })));
        }
    };
    let answered = match check(&front, asked) {
        Ok(checked) if takes_events && checked.subscribes() => {
            live::from_here(&headers)?;
            match live::events(&front, caller, correlation, checked) {
                Ok(events) => return Ok(events),
                Err(refusal) => Err(refusal),
            }
        }
        Ok(checked) => answer(&front, caller, correlation, checked).await,
        Err(refusal) => Err(refusal),
    };
    Ok(match answered {
        Ok(body) => written(kind, StatusCode::OK, &body),
        Err((status, body)) => written(kind, status, &body),
    })
}

/// A socket for who asks for one, and the console for everybody else.
pub(super) async fn open(
    State(front): State<Arc<Front>>,
    headers: HeaderMap,
    socket: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response<Body>, Problem> {
    match socket {
        Ok(socket) => live::open(front, &headers, socket),
        Err(odd) if live::wants_socket(&headers) => {
            Err(Problem::new(StatusCode::BAD_REQUEST, "NO_WEBSOCKET", odd.body_text()))
        }
        Err(_) => Ok(console::page(&front)),
    }
}

impl From<Request> for Asked {
    fn from(request: Request) -> Self {
        let variables = Value::Object(request.variables.unwrap_or_default());
        Self { query: request.query, operation: request.operation_name, variables }
    }
}

fn read(body: &[u8]) -> Result<Asked, Problem> {
    let text = json::strict(body)?;
    let invalid = |text: String| super::commands_misuse("INVALID_REQUEST", "", json::without_place(&text));
    if text.trim_start().starts_with('[') {
        return Err(invalid("one operation per request; a list of operations is not answered".into()));
    }
    let request: Request = serde_json::from_str(text).map_err(|error| invalid(error.to_string()))?;
    Ok(request.into())
}

/// The newer media type, unless the caller takes only the older one.
fn response_kind(headers: &HeaderMap) -> Result<&'static str, Problem> {
    let Some(accept) = headers.get(ACCEPT) else { return Ok(RESPONSE) };
    let accept = accept.to_str().unwrap_or_default().to_ascii_lowercase();
    let takes = |kind: &str| {
        let mut kinds = accept.split(',').map(|range| range.split(';').next().unwrap_or_default().trim());
        kinds.any(|range| range == kind)
    };
    if takes(RESPONSE) || takes("*/*") || takes("application/*") {
        Ok(RESPONSE)
    } else if takes(body::JSON) {
        Ok(body::JSON)
    } else {
        let detail = format!("answers are `{RESPONSE}` or `{}`", body::JSON);
        Err(Problem::new(StatusCode::NOT_ACCEPTABLE, "NOT_ACCEPTABLE", detail))
    }
}

/// With the older media type a well-formed request that was not executed is told with 200, because its status says
/// nothing about GraphQL; what the guard or the budget refused stays a refusal for everybody.
fn written(kind: &'static str, status: StatusCode, body: &Value) -> Response<Body> {
    let invalid = body["errors"][0]["extensions"]["code"] == "INVALID_QUERY";
    let status = if kind == body::JSON && invalid { StatusCode::OK } else { status };
    let mut response = (status, [(CONTENT_TYPE, kind)], body.to_string()).into_response();
    if let Some(seconds) = body["errors"][0]["extensions"]["retryAfter"].as_u64().filter(|_| status.as_u16() == 429) {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
