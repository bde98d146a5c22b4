//! `POST /v1/commands`: many commands in one request, one JSON object per line, decided and answered in their order.
//!
//! A line that is refused is refused alone; the others go on.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Response};
use axum::response::IntoResponse;
use commands::kernel::Misuse;
use commands::scribe::Envelope;
use domain::shared::CommandId;
use futures::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{body, commands_misuse, correlation};
use crate::admission::{Wish, admit, deadline};
use crate::auth::Caller;
use crate::error::Problem;
use crate::front::Front;
use crate::json;
use crate::receipt::Answered;

const BYTES_MOST: usize = 4 * 1_024 * 1_024;
const LINES_MOST: usize = 1_000;
/// How many lines are read and sealed at once.
const ADMITTED_AT_ONCE: usize = 16;

/// One line.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    /// The caller's own key for it.
    #[serde(borrow)]
    id: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow)]
    name: std::borrow::Cow<'a, str>,
    #[serde(borrow, alias = "command")]
    body: &'a RawValue,
}

/// The answer to a line that was not decided.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Refused {
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    command_id: Option<CommandId>,
    problem: Box<RawValue>,
}

pub(super) async fn batch(
    State(front): State<Arc<Front>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response<Body>, Problem> {
    let caller = front.auth.caller(&headers, front.backend.now())?;
    let correlation = correlation(&headers)?;
    let body = body::read(&headers, body, body::NDJSON, BYTES_MOST).await?;
    let lines = body.strip_suffix(b"\n").unwrap_or(&body).split(|byte| *byte == b'\n');
    let lines: Vec<_> = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line)).take(LINES_MOST + 1).collect();
    if lines.len() > LINES_MOST {
        return Err(Problem::too_large("TOO_MANY_LINES", format!("a batch has at most {LINES_MOST} lines")));
    }
    // Every line counts as the command that it is. The first ones go on; the others may be sent again.
    let allowance = front.backend.allow(&caller, u32::try_from(lines.len()).unwrap_or(u32::MAX)).await;
    if allowance.granted == 0 {
        return Ok(allowance.tell(allowance.problem().into_response()));
    }
    let (granted, late) = lines.split_at(lines.len().min(allowance.granted as usize));
    let granted: Vec<_> = granted.iter().map(|line| admit_line(&front, &caller, correlation, line)).collect();
    let mut admitted: Vec<_> = stream::iter(granted).buffered(ADMITTED_AT_ONCE).collect().await;
    admitted.extend(late.iter().map(|_| Err(allowance.problem())));
    let answers = submit(&front, &caller, admitted).await;
    Ok(allowance.tell(([(CONTENT_TYPE, body::NDJSON)], answers).into_response()))
}

async fn admit_line(
    front: &Front,
    caller: &Caller,
    correlation: Option<Uuid>,
    line: &[u8],
) -> Result<Envelope, Problem> {
    let text = json::strict(line).map_err(within_command)?;
    let line: Line<'_> = serde_json::from_str(text)
        .map_err(|error| commands_misuse("INVALID_FIELD", "", json::without_place(&error.to_string())))?;
    let wish = Wish { name: &line.name, body: line.body.get().as_bytes(), key: line.id.as_deref(), correlation };
    admit(&*front.backend, &front.commands, caller, &wish).await
}

/// Fields are named as the command names them, with or without a batch around it.
fn within_command(misuse: Misuse) -> Misuse {
    let inside = ["body", "command"].iter().find_map(|frame| misuse.field.strip_prefix(frame));
    let field = match inside {
        Some(inside) if inside.is_empty() || inside.starts_with(['.', '[']) => {
            inside.trim_start_matches('.').to_owned()
        }
        _ => misuse.field,
    };
    Misuse { field, ..misuse }
}

/// Has the good lines decided and puts their answers between the refusals of the others.
async fn submit(front: &Front, caller: &Caller, admitted: Vec<Result<Envelope, Problem>>) -> String {
    let mut envelopes = Vec::new();
    let mut places = Vec::new();
    // The first lines were admitted long ago where addresses in others had to be looked up.
    let deadline = deadline(&*front.backend);
    for line in admitted {
        places.push(line.map(|envelope| {
            let id = envelope.id;
            envelopes.push(Envelope { deadline, ..envelope });
            id
        }));
    }
    let answers = if envelopes.is_empty() { Vec::new() } else { front.backend.submit(caller.tenant, envelopes).await };
    let mut answers = answers.into_iter();
    let mut text = String::new();
    for place in places {
        let line = match place {
            Err(problem) => refused(None, &problem),
            Ok(id) => match answers.next().map(|answer| Answered::from_answer(&*front.backend, id, answer)) {
                Some(Ok(answered)) => serde_json::to_string(&answered).unwrap_or_default(),
                Some(Err(problem)) => refused(Some(id), &problem),
                None => refused(Some(id), &Problem::fault(front.backend.new_id(), &"a command was not answered")),
            },
        };
        text.push_str(&line);
        text.push('\n');
    }
    text
}

fn refused(command_id: Option<CommandId>, problem: &Problem) -> String {
    let problem = RawValue::from_string(problem.to_json()).unwrap_or_default();
    serde_json::to_string(&Refused { outcome: "refused", command_id, problem }).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_called_the_same_in_a_batch_as_alone() {
        let field = |field: &str| within_command(Misuse::new("DUPLICATE_FIELD", field, "…")).field;
        assert_eq!(["command.lines[0].quantity", "body.sku", "body"].map(field), ["lines[0].quantity", "sku", ""]);
        assert_eq!(["commander", "name", ""].map(field), ["commander", "name", ""]);
    }
}
