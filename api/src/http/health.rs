//! How the process is, for those who watch it, and what it offers, for those who write clients.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use serde_json::{Value, json};

use crate::front::Front;

/// What is where, for those who begin at the root.
pub(super) async fn index() -> Json<Value> {
    Json(json!({
        "name": "cartulary",
        "version": env!("CARGO_PKG_VERSION"),
        "graphql": "/graphql",
        "openapi": "/openapi.json",
        "commands": "/v1/commands",
        "health": ["/live", "/ready", "/reason", "/metrics"],
    }))
}

/// The process runs.
pub(super) async fn live() -> &'static str {
    "live\n"
}

/// Whether it should get traffic.
pub(super) async fn ready(State(front): State<Arc<Front>>) -> (StatusCode, &'static str) {
    if front.backend.reasons().is_empty() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready; see /reason\n")
    }
}

/// Why it should not, and what it has to do without.
pub(super) async fn reason(State(front): State<Arc<Front>>) -> Json<Value> {
    let reasons = front.backend.reasons();
    Json(json!({ "ready": reasons.is_empty(), "reasons": reasons, "degraded": front.backend.shortcomings() }))
}

pub(super) async fn metrics(State(front): State<Arc<Front>>) -> Response<Body> {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], front.backend.metrics()).into_response()
}

pub(super) async fn openapi(State(front): State<Arc<Front>>) -> Response<Body> {
    ([(CONTENT_TYPE, "application/json")], front.openapi.clone()).into_response()
}
