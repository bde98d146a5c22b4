//! HTTP: the routes, and the middleware around all of them.
//!
//! The server (`platform::http_server`) bounds the time in which request headers must arrive; the time from then to the
//! response is bounded here.

mod accept;
mod batch;
mod commands;
mod console;
mod graphql;
mod graphql_request;
mod headers;
mod health;
mod live;
mod receipts;
#[cfg(test)]
mod tests;
mod webhooks;

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRef, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderValue, Response, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use tower_http::catch_panic::CatchPanicLayer;
use tracing::Instrument;

use crate::error::Problem;
use crate::port::Backend;
use crate::state::AppState;

/// Time limit from the headers of a request to the start of its response. Longer than `DECIDED_WITHIN`, so that a
/// command has been decided or refused by then, unless its preparation was slow.
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);

/// All routes of the API.
pub fn router(state: AppState) -> Router {
    let backend = Arc::<dyn Backend>::from_ref(&state);
    let for_panics = Arc::clone(&backend);
    let catch = CatchPanicLayer::custom(move |panic: Box<dyn Any + Send>| panicked(&*for_panics, &*panic));
    Router::new()
        .route("/", get(health::index))
        .route("/v1/commands/{name}", post(commands::command))
        .route("/v1/commands", post(batch::batch))
        .route("/v1/receipts/{id}", get(receipts::receipt))
        .route("/v1/webhooks/{id}/secret", get(webhooks::secret))
        .route("/v1/webhooks/{id}/deliveries", get(webhooks::deliveries))
        .route("/v1/events/{position}", get(webhooks::event))
        .route("/graphql", post(graphql::graphql).get(graphql::get))
        .route("/graphql/console/{file}", get(console::file))
        .route("/graphql/schema.graphql", get(console::schema))
        .route("/openapi.json", get(health::openapi))
        .route("/live", get(health::live))
        .route("/ready", get(health::ready))
        .route("/reason", get(health::reason))
        .route("/metrics", get(health::metrics))
        .fallback(async || Problem::not_found("NOT_FOUND", "there is nothing at this path"))
        .method_not_allowed_fallback(async || {
            let detail = "this path does not support this method";
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", detail)
        })
        .layer(catch)
        .layer(from_fn_with_state(backend, around))
        .with_state(state)
}

/// Health routes only, for processes that do not serve the API.
pub fn health(state: AppState) -> Router {
    Router::new()
        .route("/live", get(health::live))
        .route("/ready", get(health::ready))
        .route("/reason", get(health::reason))
        .route("/metrics", get(health::metrics))
        .fallback(async || Problem::not_found("NOT_FOUND", "this process serves health routes only"))
        .with_state(state)
}

/// Middleware of every request: request id, time limit and security headers.
async fn around(State(backend): State<Arc<dyn Backend>>, request: Request, next: Next) -> Response<Body> {
    let given = headers::uuid(request.headers(), &headers::REQUEST_ID).ok().flatten();
    let id = given.unwrap_or_else(|| backend.new_id());
    let span = tracing::info_span!("request", request.id = %id);
    let answer = tokio::time::timeout(ANSWERED_WITHIN, next.run(request)).instrument(span).await;
    let mut response = answer.unwrap_or_else(|_| {
        let detail = "the request took too long; commands of it that are not decided by now never will be";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "TIMED_OUT", detail).into_response()
    });
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id.to_string()) {
        headers.insert(headers::REQUEST_ID, id);
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

fn panicked(backend: &dyn Backend, panic: &(dyn Any + Send)) -> Response<Body> {
    let message = panic.downcast_ref::<String>().map(String::as_str);
    let message = message.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without a message");
    Problem::fault(backend.new_id(), &message).into_response()
}
