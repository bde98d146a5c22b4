//! The GraphQL console: one page with its script and style sheet, all served from here.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::Response;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::IntoResponse;

use crate::error::Problem;
use crate::state::Documents;

/// Media type of the page.
pub(super) const PAGE: &str = "text/html";

/// Allows scripts, styles and connections of this origin only.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

/// The page, prefilled with the example query of the schema. The query has no character that must be escaped in HTML.
pub(super) fn page(documents: &Documents) -> Response<Body> {
    let headers = [(CONTENT_TYPE, "text/html; charset=utf-8"), (CONTENT_SECURITY_POLICY, POLICY)];
    let page = include_str!("../console/console.html").replace("{{ example_query }}", &documents.example_query);
    (headers, page).into_response()
}

pub(super) async fn script() -> Response<Body> {
    ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("../console/console.js")).into_response()
}

pub(super) async fn style() -> Response<Body> {
    ([(CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("../console/console.css")).into_response()
}

/// The GraphQL schema as text, if introspection is allowed.
pub(super) async fn schema(State(documents): State<Arc<Documents>>) -> Result<Response<Body>, Problem> {
    let hidden = || Problem::not_found("NOT_FOUND", "the schema is not shown here");
    let text = documents.graphql.clone().ok_or_else(hidden)?;
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}
