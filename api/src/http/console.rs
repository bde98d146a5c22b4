//! The GraphQL console: GraphiQL, with all of its files served from here.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
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

/// Files of the page: name, media type, content.
const FILES: [(&str, &str, &str); 6] = [
    ("console.js", SCRIPT, include_str!("../console/console.js")),
    ("console.css", STYLE, include_str!("../console/console.css")),
    ("graphiql.min.js", SCRIPT, include_str!("../console/vendor/graphiql.min.js")),
    ("graphiql.min.css", STYLE, include_str!("../console/vendor/graphiql.min.css")),
    ("react.production.min.js", SCRIPT, include_str!("../console/vendor/react.production.min.js")),
    ("react-dom.production.min.js", SCRIPT, include_str!("../console/vendor/react-dom.production.min.js")),
];

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

pub(super) async fn file(Path(name): Path<String>) -> Result<Response<Body>, Problem> {
    let file = FILES.iter().find(|(known, ..)| *known == name);
    let missing = || Problem::not_found("NOT_FOUND", "there is nothing at this path");
    let (_, media_type, content) = file.ok_or_else(missing)?;
    Ok(([(CONTENT_TYPE, *media_type)], *content).into_response())
}

/// The GraphQL schema as text, if introspection is allowed.
pub(super) async fn schema(State(documents): State<Arc<Documents>>) -> Result<Response<Body>, Problem> {
    let hidden = || Problem::not_found("NOT_FOUND", "the schema is not shown here");
    let text = documents.graphql.clone().ok_or_else(hidden)?;
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}
