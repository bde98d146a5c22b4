//! `POST /graphql`, as GraphQL over HTTP has it: one operation per request, JSON in, JSON out.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{body, correlation};
use crate::error::Problem;
use crate::front::Front;
use crate::graphql::{Asked, answer};
use crate::json;

/// A document has 16 KiB; the rest is for variables.
const BYTES_MOST: usize = 256 * 1_024;

const RESPONSE: &str = "application/graphql-response+json";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Request {
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
    let kind = response_kind(&headers)?;
    let correlation = correlation(&headers)?;
    let body = body::read(&headers, body, body::JSON, BYTES_MOST).await?;
    let asked = match read(&body) {
        Ok(asked) => asked,
        Err(problem) => {
            let error = json!({ "message": problem.detail, "extensions": { "code": problem.code } });
            return Ok(written(kind, StatusCode::BAD_REQUEST, &json!({ "errors": [error] })));
        }
    };
    Ok(match answer(&front, caller, correlation, asked).await {
        Ok(body) => written(kind, StatusCode::OK, &body),
        Err((status, body)) => written(kind, status, &body),
    })
}

fn read(body: &[u8]) -> Result<Asked, Problem> {
    let text = json::strict(body)?;
    let invalid = |text: String| super::commands_misuse("INVALID_REQUEST", "", json::without_place(&text));
    if text.trim_start().starts_with('[') {
        return Err(invalid("one operation per request; a list of operations is not answered".into()));
    }
    let request: Request = serde_json::from_str(text).map_err(|error| invalid(error.to_string()))?;
    let variables = Value::Object(request.variables.unwrap_or_default());
    Ok(Asked { query: request.query, operation: request.operation_name, variables })
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
