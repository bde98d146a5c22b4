//! Plain HTTP: routes, and what holds for every one of them.
//!
//! Whoever serves the router sets the time in which a request's headers must arrive; everything later is bounded
//! here.

mod batch;
mod body;
mod commands;
mod console;
mod graphql;
mod health;
mod live;
mod receipts;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use tower_http::catch_panic::CatchPanicLayer;
use tracing::Instrument;
use uuid::Uuid;

use crate::error::Problem;
use crate::front::Front;

/// A request that takes longer is given up. Commands are decided much sooner or never.
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");

/// All routes of the API.
pub fn router(front: Arc<Front>) -> Router {
    let for_panics = Arc::clone(&front);
    let catch = CatchPanicLayer::custom(move |panic: Box<dyn Any + Send>| panicked(&for_panics, &*panic));
    Router::new()
        .route("/", get(health::index))
        .route("/v1/commands/{name}", post(commands::command))
        .route("/v1/commands", post(batch::batch))
        .route("/v1/receipts/{id}", get(receipts::receipt))
        .route("/graphql", post(graphql::graphql).get(graphql::open))
        .route("/graphql/console.js", get(console::script))
        .route("/graphql/console.css", get(console::style))
        .route("/graphql/schema.graphql", get(console::schema))
        .route("/openapi.json", get(health::openapi))
        .route("/live", get(health::live))
        .route("/ready", get(health::ready))
        .route("/reason", get(health::reason))
        .route("/metrics", get(health::metrics))
        .fallback(async || Problem::not_found("NOT_FOUND", "there is nothing at this path"))
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", "this path has another method")
        })
        .layer(catch)
        .layer(from_fn_with_state(Arc::clone(&front), around))
        .with_state(front)
}

/// How the process is, and nothing else, for processes that do not serve the API.
pub fn health(front: Arc<Front>) -> Router {
    Router::new()
        .route("/live", get(health::live))
        .route("/ready", get(health::ready))
        .route("/reason", get(health::reason))
        .route("/metrics", get(health::metrics))
        .fallback(async || Problem::not_found("NOT_FOUND", "this process serves its health and nothing else"))
        .with_state(front)
}

/// Names the request, gives it up in time, and dresses the answer.
async fn around(State(front): State<Arc<Front>>, request: Request, next: Next) -> Response<Body> {
    let given = uuid(request.headers(), &REQUEST_ID).ok().flatten();
    let id = given.unwrap_or_else(|| front.backend.new_id());
    let span = tracing::info_span!("request", request.id = %id);
    let answer = tokio::time::timeout(ANSWERED_WITHIN, next.run(request)).instrument(span).await;
    let mut response = answer.unwrap_or_else(|_| {
        let detail = "the request took too long; what was not decided by now never is";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "TIMED_OUT", detail).into_response()
    });
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id.to_string()) {
        headers.insert(REQUEST_ID, id);
    }
    for (name, value) in [
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

fn panicked(front: &Front, panic: &(dyn Any + Send)) -> Response<Body> {
    let said = panic.downcast_ref::<String>().map(String::as_str);
    let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words");
    Problem::fault(front.backend.new_id(), &said).into_response()
}

/// The story that a request says it belongs to.
fn correlation(headers: &HeaderMap) -> Result<Option<Uuid>, Problem> {
    uuid(headers, &CORRELATION_ID).map_err(|()| {
        let text = "expected one UUID";
        commands_misuse("INVALID_FIELD", "X-Correlation-Id", text)
    })
}

fn commands_misuse(code: &'static str, field: &str, text: &str) -> Problem {
    ::commands::kernel::Misuse::new(code, field, text).into()
}

/// At most one header that is a UUID.
fn uuid(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Uuid>, ()> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let id = value.to_str().ok().filter(|text| text.len() == 36).and_then(|text| Uuid::try_parse(text).ok());
    match (id, values.next()) {
        (Some(id), None) => Ok(Some(id)),
        _ => Err(()),
    }
}
