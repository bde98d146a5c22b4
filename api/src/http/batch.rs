//! `POST /v1/commands`: a batch of commands as NDJSON, one JSON object per line, decided and answered in their order.
//!
//! A refused line does not affect the others. Blank lines are ignored. Every answer names its line of the body.

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

/// Maximum number of lines that are prepared concurrently.
const CONCURRENT_LINES_MOST: usize = 16;

/// A line of the body, with its number from 1 on.
struct Line<'a> {
    number: usize,
    text: &'a [u8],
}

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

/// A command that is ready for submission.
struct Prepared<'a> {
    item: Item<'a>,
    envelope: Envelope,
}

/// Answer to a command that was decided.
#[derive(Serialize)]
struct Decided {
    line: usize,
    #[serde(flatten)]
    answer: CommandAnswer,
}

/// Answer to a line that was not decided.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Refused {
    line: usize,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    command_id: Option<CommandId>,
    problem: Box<RawValue>,
}

impl Line<'_> {
    /// True for a line without anything but the blanks that JSON allows between values.
    fn is_blank(&self) -> bool {
        self.text.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r'))
    }
}

impl Item<'_> {
    fn request(&self, correlation: Option<Uuid>) -> CommandRequest<'_> {
        CommandRequest { name: &self.name, body: self.body.get().as_bytes(), key: self.id.as_deref(), correlation }
    }
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
    let lines = lines(&body)?;
    // Every line counts as one command. If the rate limit grants fewer, it refuses the last ones.
    let allowance = backend.allow(&caller, u32::try_from(lines.len()).unwrap_or(u32::MAX)).await;
    if allowance.granted == 0 {
        return Ok(rate_limit::with_headers(&allowance, rate_limit::problem(&allowance).into_response()));
    }
    let (granted, refused) = lines.split_at(lines.len().min(allowance.granted as usize));
    let granted: Vec<_> = granted.iter().map(|line| prepare(&intake, &caller, correlation, line.text)).collect();
    let mut prepared: Vec<_> = stream::iter(granted).buffered(CONCURRENT_LINES_MOST).collect().await;
    prepared.extend(refused.iter().map(|_| Err(rate_limit::problem(&allowance))));
    let prepared = lines.iter().map(|line| line.number).zip(prepared).collect();
    let answers = submit(&*backend, &intake, &caller, prepared).await;
    Ok(rate_limit::with_headers(&allowance, ([(CONTENT_TYPE, body::NDJSON)], answers).into_response()))
}

/// The lines of a body that are not blank. Refuses a body without any, and one with too many.
fn lines(body: &[u8]) -> Result<Vec<Line<'_>>, Problem> {
    let all = (1..).zip(body.split(|byte| *byte == b'\n')).map(|(number, text)| Line { number, text });
    let lines: Vec<_> = all.filter(|line| !line.is_blank()).take(body::BATCH_COMMANDS_MOST + 1).collect();
    if lines.len() > body::BATCH_COMMANDS_MOST {
        let detail = format!("a batch has at most {} lines", body::BATCH_COMMANDS_MOST);
        return Err(Problem::too_large("TOO_MANY_LINES", detail));
    }
    if lines.is_empty() {
        return Err(Misuse::new("EMPTY_BATCH", "", "expected at least one line with a command").into());
    }
    Ok(lines)
}

async fn prepare<'a>(
    intake: &CommandIntake,
    caller: &Caller,
    correlation: Option<Uuid>,
    line: &'a [u8],
) -> Result<Prepared<'a>, Problem> {
    let text = json::strict(line).map_err(within_command)?;
    let item: Item<'_> =
        serde_json::from_str(text).map_err(|error| Misuse::new("INVALID_FIELD", "", error.to_string()))?;
    let envelope = intake.prepare(caller, &item.request(correlation)).await?;
    Ok(Prepared { item, envelope })
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

/// Submits the prepared commands; returns the answers and refusals of all lines in their order, as NDJSON.
async fn submit(
    backend: &dyn Backend,
    intake: &CommandIntake,
    caller: &Caller,
    prepared: Vec<(usize, Result<Prepared<'_>, Problem>)>,
) -> String {
    let mut envelopes = Vec::new();
    let mut lines = Vec::new();
    // Preparing the batch may have taken seconds, if host names had to be resolved: the time to decide starts now.
    let deadline = Some(intake.deadline());
    for (number, prepared) in prepared {
        let submitted = prepared.map(|Prepared { item, envelope }| {
            let id = envelope.id;
            envelopes.push(Envelope { deadline, ..envelope });
            (id, item)
        });
        lines.push((number, submitted));
    }
    let answers = if envelopes.is_empty() { Vec::new() } else { backend.submit(caller.tenant, envelopes).await };
    let mut answers = answers.into_iter();
    let mut text = String::new();
    for (line, submitted) in lines {
        let answer = match submitted {
            Err(problem) => refused(line, None, &problem),
            Ok((id, item)) => match answers.next() {
                Some(answer) => {
                    let answer = intake.recognise_older(caller, id, &item.request(None), answer).await;
                    match CommandAnswer::from_answer(backend, id, answer) {
                        Ok(answer) => serde_json::to_string(&Decided { line, answer }).unwrap_or_default(),
                        Err(problem) => refused(line, Some(id), &problem),
                    }
                }
                None => refused(line, Some(id), &intake.unanswered()),
            },
        };
        text.push_str(&answer);
        text.push('\n');
    }
    text
}

fn refused(line: usize, command_id: Option<CommandId>, problem: &Problem) -> String {
    let problem = RawValue::from_string(problem.to_json()).unwrap_or_default();
    serde_json::to_string(&Refused { line, outcome: "refused", command_id, problem }).unwrap_or_default()
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
