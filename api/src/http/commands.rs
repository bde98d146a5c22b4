//! `POST /v1/commands/{Name}`: one command, one clear answer.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderName, Response, StatusCode};
use axum::response::IntoResponse;
use serde::Deserialize;

use super::{body, commands_misuse, correlation};
use crate::admission::{Wish, admit};
use crate::auth::Caller;
use crate::error::Problem;
use crate::front::Front;
use crate::limits;
use crate::receipt::{Answered, Outcome};

/// The largest order of a shop has a few hundred lines.
const BYTES_MOST: usize = 256 * 1_024;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// Instead of the header, for callers who cannot set one.
    id: Option<String>,
}

pub(super) async fn command(
    State(front): State<Arc<Front>>,
    name: Result<Path<String>, PathRejection>,
    asked: Result<Query<Asked>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response<Body>, Problem> {
    let caller = front.auth.caller(&headers, front.backend.now())?;
    let unknown = |_| Problem::not_found("UNKNOWN_COMMAND", "there is no command of this name");
    let Path(name) = name.map_err(unknown)?;
    let odd = |_| commands_misuse("INVALID_KEY", "id", "expected at most one parameter, `id`");
    let key = key(&headers, asked.map_err(odd)?.0)?;
    let correlation = correlation(&headers)?;
    let body = body::read(&headers, body, body::JSON, BYTES_MOST).await?;
    let wish = Wish { name: &name, body: &body, key: key.as_deref(), correlation };
    let (allowance, answer) = match limits::one(&front, &caller).await {
        Ok(allowance) => (allowance, decide(&front, &caller, &wish).await),
        Err(allowance) => (allowance, Err(allowance.problem())),
    };
    Ok(allowance.tell(answer.into_response()))
}

async fn decide(front: &Front, caller: &Caller, wish: &Wish<'_>) -> Result<Response<Body>, Problem> {
    let envelope = admit(&*front.backend, &front.commands, caller, wish).await?;
    let id = envelope.id;
    let answer = front.backend.submit(caller.tenant, vec![envelope]).await.pop();
    let answer = answer.ok_or_else(|| Problem::fault(front.backend.new_id(), &"a command was not answered"))?;
    let answered = Answered::from_answer(&*front.backend, id, answer)?;
    Ok((status(answered.outcome), Json(answered)).into_response())
}

fn status(outcome: Outcome) -> StatusCode {
    match outcome {
        Outcome::Accepted => StatusCode::OK,
        Outcome::Rejected => StatusCode::CONFLICT,
    }
}

/// The caller's key from the header or the address; where both are given, they must agree.
fn key(headers: &HeaderMap, asked: Asked) -> Result<Option<String>, Problem> {
    let odd = |text| commands_misuse("INVALID_KEY", "Idempotency-Key", text);
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let header = match (values.next(), values.next()) {
        (None, _) => None,
        (Some(value), None) => Some(value.to_str().map_err(|_| odd("expected visible ASCII"))?),
        _ => return Err(odd("expected one header")),
    };
    // The draft of the IETF writes the key in quotes; most callers do not.
    let bare = |text: &str| text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text).to_owned();
    match (header.map(bare), asked.id) {
        (Some(header), Some(id)) if header != id => Err(odd("the header and `id` differ")),
        (header, id) => Ok(header.or(id)),
    }
}
