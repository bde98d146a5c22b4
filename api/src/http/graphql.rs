//! `/graphql` after the GraphQL over HTTP specification: one operation per request, JSON out.
//!
//! `POST` takes any operation as JSON. A subscription is answered as server-sent events, if the client accepts them.
//! `GET` takes a query in the address. Without one it opens a WebSocket, or shows the console to a browser.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Query, State};
use axum::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, Uri};
use axum::response::IntoResponse;
use commands::kernel::Misuse;
use serde::de::DeserializeOwned;
use serde_json::json;
use uuid::Uuid;

use super::accept::Accept;
use super::graphql_request::{Parameters, RequestBody};
use super::headers::correlation;
use super::{console, live};
use crate::admission::body;
use crate::admission::connections::ConnectionLimits;
use crate::auth::Authenticator;
use crate::error::Problem;
use crate::graphql::{GraphqlExecutor, GraphqlRequest, RequestError, answer, check, request_error};
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
    let accept = Accept::of(&headers);
    let accepts_events = accept.names(live::EVENTS);
    let media_type = match response_type(&accept) {
        // If the client accepts events only, a refusal is nevertheless sent as JSON.
        Err(_) if accepts_events => RESPONSE,
        media_type => media_type?,
    };
    let correlation = correlation(&headers)?;
    let body = body::read(&headers, body, body::JSON, body::GRAPHQL_BYTES_MOST).await?;
    let request = match read(&body) {
        Ok(request) => request,
        Err(problem) => return Ok(malformed(media_type, &problem)),
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
    Ok(response(media_type, answer))
}

/// Opens a WebSocket if the request asks for one, shows the console if it prefers a page, and otherwise executes the
/// query in the address.
pub(super) async fn get(
    State(auth): State<Arc<Authenticator>>,
    State(graphql): State<Arc<GraphqlExecutor>>,
    State(connections): State<Arc<ConnectionLimits>>,
    State(documents): State<Arc<Documents>>,
    uri: Uri,
    headers: HeaderMap,
    socket: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response<Body>, Problem> {
    match socket {
        Ok(socket) => return live::open(auth, graphql, connections, &headers, socket),
        Err(rejection) if live::wants_socket(&headers) => {
            return Err(Problem::new(StatusCode::BAD_REQUEST, "NO_WEBSOCKET", rejection.body_text()));
        }
        Err(_) => {}
    }
    let accept = Accept::of(&headers);
    if [RESPONSE, body::JSON].iter().all(|json| accept.prefers(console::PAGE, json)) {
        return Ok(console::page(&documents));
    }
    let caller = auth.caller(&headers, graphql.backend.now())?;
    let media_type = response_type(&accept)?;
    let correlation = correlation(&headers)?;
    match read_address(&uri) {
        Ok(request) => Ok(query(&graphql, caller, correlation, media_type, request).await),
        Err(problem) => Ok(malformed(media_type, &problem)),
    }
}

/// Executes a query of a `GET` request. A mutation is refused: a link or a prefetch must not change anything.
async fn query(
    graphql: &Arc<GraphqlExecutor>,
    caller: Caller,
    correlation: Option<Uuid>,
    media_type: &'static str,
    request: GraphqlRequest,
) -> Response<Body> {
    match check(graphql, request) {
        Ok(checked) if checked.mutates() => {
            let problem =
                Problem::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", "send a mutation with `POST`");
            let mut response = response(media_type, Err(request_error(&problem)));
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
            response
        }
        Ok(checked) => response(media_type, answer(graphql, caller, correlation, checked).await),
        Err(refusal) => response(media_type, Err(refusal)),
    }
}

fn read(body: &[u8]) -> Result<GraphqlRequest, Problem> {
    let text = json::strict(body)?;
    let invalid = |text: String| Misuse::new("INVALID_REQUEST", "", text);
    if text.trim_start().starts_with('[') {
        return Err(invalid("expected one operation per request, not a list of operations".into()).into());
    }
    let request: RequestBody = serde_json::from_str(text).map_err(|error| invalid(error.to_string()))?;
    Ok(request.into())
}

/// Parses the parameters of an address: `query` or `documentId`, `operationName`, and `variables` and `extensions` as JSON.
fn read_address(uri: &Uri) -> Result<GraphqlRequest, Problem> {
    let invalid = |field: &str, text: String| Misuse::new("INVALID_REQUEST", field, text);
    let Query(parameters) =
        Query::<Parameters>::try_from_uri(uri).map_err(|rejection| invalid("", rejection.body_text()))?;
    let body = RequestBody {
        query: parameters.query,
        document_id: parameters.document_id,
        operation_name: parameters.operation_name,
        variables: object("variables", parameters.variables)?,
        extensions: object("extensions", parameters.extensions)?,
    };
    Ok(body.into())
}

/// Parses a parameter that is a JSON object.
fn object<T: DeserializeOwned>(field: &str, text: Option<String>) -> Result<Option<T>, Misuse> {
    let invalid = |text: String| Misuse::new("INVALID_REQUEST", field, text);
    let Some(text) = text else { return Ok(None) };
    let text = json::strict(text.as_bytes()).map_err(|misuse| invalid(misuse.message))?;
    serde_json::from_str(text).map_err(|error| invalid(error.to_string()))
}

/// Media type of the response: `application/graphql-response+json` if the client names it and likes nothing better,
/// otherwise `application/json`, which every client understands.
fn response_type(accept: &Accept) -> Result<&'static str, Problem> {
    let (response, json) = (accept.quality(RESPONSE), accept.quality(body::JSON));
    if response > json || (response == json && accept.names(RESPONSE)) {
        Ok(RESPONSE)
    } else if json > 0 {
        Ok(body::JSON)
    } else {
        let detail = format!("answers are `{RESPONSE}` or `{}`", body::JSON);
        Err(Problem::new(StatusCode::NOT_ACCEPTABLE, "NOT_ACCEPTABLE", detail))
    }
}

/// Response to a request that is no GraphQL request: 400 with both media types.
fn malformed(media_type: &'static str, problem: &Problem) -> Response<Body> {
    let error = json!({ "message": problem.detail, "extensions": { "code": problem.code } });
    response(media_type, Err((StatusCode::BAD_REQUEST, json!({ "errors": [error] }))))
}

/// Builds the response. With `application/json`, a document that does not parse, is not valid or is not known by its id
/// has the status 200, as the specification requires and Apollo clients expect; a refusal by the guard or by a limit keeps its own status with both media types.
fn response(media_type: &'static str, answer: Result<String, RequestError>) -> Response<Body> {
    let (status, body) = match answer {
        Ok(body) => return ([(CONTENT_TYPE, media_type)], body).into_response(),
        Err(refusal) => refusal,
    };
    let is_invalid = matches!(
        body["errors"][0]["extensions"]["code"].as_str(),
        Some("SYNTAX" | "INVALID_QUERY" | "PERSISTED_QUERY_NOT_FOUND")
    );
    let status = if media_type == body::JSON && is_invalid { StatusCode::OK } else { status };
    let mut response = (status, [(CONTENT_TYPE, media_type)], body.to_string()).into_response();
    if let Some(seconds) = body["errors"][0]["extensions"]["retryAfter"].as_u64().filter(|_| status.as_u16() == 429) {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
