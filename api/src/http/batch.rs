//! `POST /v1/commands`: a batch of commands as NDJSON, one JSON object per line, decided and answered in their order.
//!
//! A refused item does not affect the others.

use std::borrow::Cow;
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

use super::headers::correlation;
use crate::admission::{body, rate_limit};
use crate::command_answer::CommandAnswer;
use crate::command_intake::{CommandIntake, CommandRequest};
use crate::error::Problem;
use crate::json;
use crate::port::{Backend, Caller};

/// Maximum number of items that are prepared concurrently.
const CONCURRENT_ITEMS_MOST: usize = 16;

/// One command of a batch.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Item<'a> {
    /// The caller's own idempotency key of the command.
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, alias = "command")]
    body: &'a RawValue,
}

/// Answer to an item that was not decided.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Refused {
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    command_id: Option<CommandId>,
    problem: Box<RawValue>,
}

pub(super) async fn batch(
    caller: Caller,
    State(backend): State<Arc<dyn Backend>>,
    State(intake): State<Arc<CommandIntake>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response<Body>, Problem> {
    let correlation = correlation(&headers)?;
    let body = body::read(&headers, body, body::NDJSON, body::BATCH_BYTES_MOST).await?;
    let lines = body.strip_suffix(b"\n").unwrap_or(&body).split(|byte| *byte == b'\n');
    let lines = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let items: Vec<_> = lines.take(body::BATCH_COMMANDS_MOST + 1).collect();
    if items.len() > body::BATCH_COMMANDS_MOST {
        let detail = format!("a batch has at most {} lines", body::BATCH_COMMANDS_MOST);
        return Err(Problem::too_large("TOO_MANY_LINES", detail));
    }
    // Every item counts as one command. If the rate limit grants fewer, it refuses the last items.
    let allowance = backend.allow(&caller, u32::try_from(items.len()).unwrap_or(u32::MAX)).await;
    if allowance.granted == 0 {
        return Ok(rate_limit::with_headers(&allowance, rate_limit::problem(&allowance).into_response()));
    }
    let (granted, refused) = items.split_at(items.len().min(allowance.granted as usize));
    let granted: Vec<_> = granted.iter().map(|item| prepare(&intake, &caller, correlation, item)).collect();
    let mut prepared: Vec<_> = stream::iter(granted).buffered(CONCURRENT_ITEMS_MOST).collect().await;
    prepared.extend(refused.iter().map(|_| Err(rate_limit::problem(&allowance))));
    let answers = submit(&*backend, &intake, &caller, prepared).await;
    Ok(rate_limit::with_headers(&allowance, ([(CONTENT_TYPE, body::NDJSON)], answers).into_response()))
}

async fn prepare(
    intake: &CommandIntake,
    caller: &Caller,
    correlation: Option<Uuid>,
    line: &[u8],
) -> Result<Envelope, Problem> {
    let text = json::strict(line).map_err(within_command)?;
    let item: Item<'_> = serde_json::from_str(text)
        .map_err(|error| Misuse::new("INVALID_FIELD", "", json::without_place(&error.to_string())))?;
    let body = item.body.get().as_bytes();
    let request = CommandRequest { name: &item.name, body, key: item.id.as_deref(), correlation };
    intake.prepare(caller, &request).await
}

/// Removes the leading `body` or `command` from the path of a field, so that the path is the same as for a single
/// command.
fn within_command(misuse: Misuse) -> Misuse {
    let inside = ["body", "command"].iter().find_map(|member| misuse.field.strip_prefix(member));
    let field = match inside {
        Some(inside) if inside.is_empty() || inside.starts_with(['.', '[']) => {
            inside.trim_start_matches('.').to_owned()
        }
        _ => misuse.field,
    };
    Misuse { field, ..misuse }
}

/// Submits the prepared commands; returns the answers and refusals of all items in their order, as NDJSON.
async fn submit(
    backend: &dyn Backend,
    intake: &CommandIntake,
    caller: &Caller,
    prepared: Vec<Result<Envelope, Problem>>,
) -> String {
    let mut envelopes = Vec::new();
    let mut outcomes = Vec::new();
    // Preparing the batch may have taken seconds, if host names had to be resolved: the time to decide starts now.
    let deadline = Some(intake.deadline());
    for item in prepared {
        outcomes.push(item.map(|envelope| {
            let id = envelope.id;
            envelopes.push(Envelope { deadline, ..envelope });
            id
        }));
    }
    let answers = if envelopes.is_empty() { Vec::new() } else { backend.submit(caller.tenant, envelopes).await };
    let mut answers = answers.into_iter();
    let mut text = String::new();
    for outcome in outcomes {
        let line = match outcome {
            Err(problem) => refused(None, &problem),
            Ok(id) => match answers.next().map(|answer| CommandAnswer::from_answer(backend, id, answer)) {
                Some(Ok(answer)) => serde_json::to_string(&answer).unwrap_or_default(),
                Some(Err(problem)) => refused(Some(id), &problem),
                None => refused(Some(id), &intake.unanswered()),
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
    fn field_paths_are_the_same_in_a_batch_as_in_a_single_command() {
        let field = |field: &str| within_command(Misuse::new("DUPLICATE_FIELD", field, "…")).field;
        assert_eq!(["command.lines[0].quantity", "body.sku", "body"].map(field), ["lines[0].quantity", "sku", ""]);
        assert_eq!(["commander", "name", ""].map(field), ["commander", "name", ""]);
    }
}
