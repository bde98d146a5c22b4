//! Health for load balancers, reasons and metrics for operators, and the documents for authors of clients.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use serde_json::{Value, json};

use crate::auth::Monitor;
use crate::port::Backend;
use crate::state::Documents;

/// Index of the routes.
pub(super) async fn index() -> Json<Value> {
    Json(json!({
        "name": "cartulary",
        "version": env!("CARGO_PKG_VERSION"),
        "graphql": "/graphql",
        "openapi": "/openapi.json",
        "commands": "/v1/commands",
        "health": ["/live", "/ready"],
        "monitoring": ["/reason", "/metrics"],
    }))
}

/// Liveness: the process runs.
pub(super) async fn live() -> &'static str {
    "live\n"
}

/// Readiness: 503 while the process should get no traffic.
pub(super) async fn ready(State(backend): State<Arc<dyn Backend>>) -> (StatusCode, &'static str) {
    if backend.reasons().is_empty() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready; see /reason\n")
    }
}

/// Reasons for not being ready, and optional parts that are not available.
pub(super) async fn reason(_: Monitor, State(backend): State<Arc<dyn Backend>>) -> Json<Value> {
    let reasons = backend.reasons();
    Json(json!({ "ready": reasons.is_empty(), "reasons": reasons, "degraded": backend.degradations() }))
}

pub(super) async fn metrics(_: Monitor, State(backend): State<Arc<dyn Backend>>) -> Response<Body> {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], backend.metrics()).into_response()
}

pub(super) async fn openapi(State(documents): State<Arc<Documents>>) -> Response<Body> {
    ([(CONTENT_TYPE, "application/json")], documents.openapi.clone()).into_response()
}
