//! `POST /graphql` after the GraphQL over HTTP specification: one operation per request, JSON in, JSON out. A
//! subscription is answered as server-sent events, if the client accepts them. `GET /graphql` opens a WebSocket, or
//! shows the console.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;
use commands::kernel::Misuse;
use serde_json::{Value, json};

use super::graphql_request::RequestBody;
use super::headers::correlation;
use super::{console, live};
use crate::admission::body;
use crate::admission::connections::ConnectionLimits;
use crate::auth::AuthConfig;
use crate::error::Problem;
use crate::graphql::{GraphqlExecutor, GraphqlRequest, answer, check};
use crate::json;
use crate::port::Caller;
use crate::state::Documents;

const RESPONSE: &str = "application/graphql-response+json";

pub(super) async fn graphql(
    caller: Caller,
    State(graphql): State<Arc<GraphqlExecutor>>,
    State(connections): State<Arc<ConnectionLimits>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response<Body>, Problem> {
    let accepts_events = live::accepts_events(&headers);
    let media_type = match response_type(&headers) {
        // If the client accepts events only, a refusal is nevertheless sent as JSON.
        Err(_) if accepts_events => RESPONSE,
        media_type => media_type?,
    };
    let correlation = correlation(&headers)?;
    let body = body::read(&headers, body, body::JSON, body::GRAPHQL_BYTES_MOST).await?;
    let request = match read(&body) {
        Ok(request) => request,
        Err(problem) => {
            let error = json!({ "message": problem.detail, "extensions": { "code": problem.code } });
            return Ok(response(media_type, StatusCode::BAD_REQUEST, &json!({ "errors": [error] })));
        }
    };
    let answer = match check(&graphql, request) {
        Ok(checked) if accepts_events && checked.subscribes() => {
            live::check_same_origin(&headers)?;
            match live::event_stream(&graphql, &connections, caller, correlation, checked) {
                Ok(events) => return Ok(events),
                Err(refusal) => Err(refusal),
            }
        }
        Ok(checked) => answer(&graphql, caller, correlation, checked).await,
        Err(refusal) => Err(refusal),
    };
    Ok(match answer {
        Ok(body) => response(media_type, StatusCode::OK, &body),
        Err((status, body)) => response(media_type, status, &body),
    })
}

/// Opens a WebSocket if the request asks for one; otherwise shows the console.
pub(super) async fn open(
    State(auth): State<Arc<AuthConfig>>,
    State(graphql): State<Arc<GraphqlExecutor>>,
    State(connections): State<Arc<ConnectionLimits>>,
    State(documents): State<Arc<Documents>>,
    headers: HeaderMap,
    socket: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response<Body>, Problem> {
    match socket {
        Ok(socket) => live::open(auth, graphql, connections, &headers, socket),
        Err(rejection) if live::wants_socket(&headers) => {
            Err(Problem::new(StatusCode::BAD_REQUEST, "NO_WEBSOCKET", rejection.body_text()))
        }
        Err(_) => Ok(console::page(&documents)),
    }
}

fn read(body: &[u8]) -> Result<GraphqlRequest, Problem> {
    let text = json::strict(body)?;
    let invalid = |text: String| Misuse::new("INVALID_REQUEST", "", json::without_place(&text));
    if text.trim_start().starts_with('[') {
        return Err(invalid("expected one operation per request, not a list of operations".into()).into());
    }
    let request: RequestBody = serde_json::from_str(text).map_err(|error| invalid(error.to_string()))?;
    Ok(request.into())
}

/// Media type of the response: `application/graphql-response+json`, unless the client accepts only `application/json`.
fn response_type(headers: &HeaderMap) -> Result<&'static str, Problem> {
    let Some(accept) = headers.get(ACCEPT) else { return Ok(RESPONSE) };
    let accept = accept.to_str().unwrap_or_default().to_ascii_lowercase();
    let accepts = |media_type: &str| {
        let mut types = accept.split(',').map(|range| range.split(';').next().unwrap_or_default().trim());
        types.any(|range| range == media_type)
    };
    if accepts(RESPONSE) || accepts("*/*") || accepts("application/*") {
        Ok(RESPONSE)
    } else if accepts(body::JSON) {
        Ok(body::JSON)
    } else {
        let detail = format!("answers are `{RESPONSE}` or `{}`", body::JSON);
        Err(Problem::new(StatusCode::NOT_ACCEPTABLE, "NOT_ACCEPTABLE", detail))
    }
}

/// Builds the response. With `application/json`, a well-formed request that was not executed has the status 200, as the
/// specification requires; a refusal by the guard or by a limit keeps its own status with both media types.
fn response(media_type: &'static str, status: StatusCode, body: &Value) -> Response<Body> {
    let invalid = body["errors"][0]["extensions"]["code"] == "INVALID_QUERY";
    let status = if media_type == body::JSON && invalid { StatusCode::OK } else { status };
    let mut response = (status, [(CONTENT_TYPE, media_type)], body.to_string()).into_response();
    if let Some(seconds) = body["errors"][0]["extensions"]["retryAfter"].as_u64().filter(|_| status.as_u16() == 429) {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
