//! `POST /v1/commands/{Name}`: one command.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderName, Response, StatusCode};
use axum::response::IntoResponse;
use commands::kernel::Misuse;
use serde::Deserialize;

use super::headers::correlation;
use crate::admission::{body, rate_limit};
use crate::command_answer::{CommandAnswer, Outcome};
use crate::command_intake::{CommandIntake, CommandRequest};
use crate::error::Problem;
use crate::port::{Backend, Caller};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Query parameters.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Parameters {
    /// The idempotency key, for clients that cannot set the header.
    id: Option<String>,
}

pub(super) async fn command(
    caller: Caller,
    State(backend): State<Arc<dyn Backend>>,
    State(intake): State<Arc<CommandIntake>>,
    name: Result<Path<String>, PathRejection>,
    parameters: Result<Query<Parameters>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response<Body>, Problem> {
    let unknown = |_| Problem::not_found("UNKNOWN_COMMAND", "there is no command of this name");
    let Path(name) = name.map_err(unknown)?;
    let invalid = |_| Misuse::new("INVALID_KEY", "id", "expected at most one parameter, `id`");
    let key = key(&headers, parameters.map_err(invalid)?.0)?;
    let correlation = correlation(&headers)?;
    let body = body::read(&headers, body, body::JSON, body::COMMAND_BYTES_MOST).await?;
    let request = CommandRequest { name: &name, body: &body, key: key.as_deref(), correlation };
    let (allowance, answer) = match rate_limit::count_command(&*backend, &caller).await {
        Ok(allowance) => (allowance, intake.execute(&caller, &request).await.map(response)),
        Err(allowance) => (allowance, Err(rate_limit::problem(&allowance))),
    };
    Ok(rate_limit::with_headers(&allowance, answer.into_response()))
}

fn response(answer: CommandAnswer) -> Response<Body> {
    let status = match answer.outcome {
        Outcome::Accepted => StatusCode::OK,
        Outcome::Rejected => StatusCode::CONFLICT,
    };
    (status, Json(answer)).into_response()
}

/// The caller's key from the header or the query; if both are given, they must be equal.
fn key(headers: &HeaderMap, parameters: Parameters) -> Result<Option<String>, Problem> {
    let invalid = |text| Misuse::new("INVALID_KEY", "Idempotency-Key", text);
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let header = match (values.next(), values.next()) {
        (None, _) => None,
        (Some(value), None) => Some(value.to_str().map_err(|_| invalid("expected visible ASCII"))?),
        _ => return Err(invalid("expected one header").into()),
    };
    // The IETF draft puts the key in quotes; most clients send it without.
    let bare = |text: &str| text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text).to_owned();
    match (header.map(bare), parameters.id) {
        (Some(header), Some(id)) if header != id => Err(invalid("the header and `id` differ").into()),
        (header, id) => Ok(header.or(id)),
    }
}
