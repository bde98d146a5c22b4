//! From a request that passed the guard to an answer in GraphQL's own form.

use std::sync::Arc;
use std::time::Duration;

use async_graphql::parser::types::OperationType;
use async_graphql::{Request, Response, ServerError, Value, Variables};
use axum::http::StatusCode;
use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::budget::Standing;
use super::cost::{COST_MOST, actual};
use super::session::Session;
use crate::auth::Caller;
use crate::error::Problem;
use crate::front::Front;
use crate::guard;

/// More errors than this help nobody and make answers long.
const ERRORS_MOST: usize = 10;

/// Readers have gone by then, and what they asked for is given up with all its statements.
const READ_WITHIN: Duration = Duration::from_secs(5);
/// Commands are decided within ten seconds or never; several may come one after the other.
const DECIDED_WITHIN: Duration = Duration::from_secs(25);

/// A question as it was sent.
pub(crate) struct Asked {
    pub(crate) query: String,
    pub(crate) operation: Option<String>,
    pub(crate) variables: Json,
}

/// Answers a question. `Err` where it was not executed at all: the status is then not 200.
pub(crate) async fn answer(
    front: &Arc<Front>,
    caller: Caller,
    correlation: Option<Uuid>,
    asked: Asked,
) -> Result<Json, (StatusCode, Json)> {
    guard::check(&asked.query).map_err(|refused| refuse(StatusCode::BAD_REQUEST, refused.code, &refused.message))?;
    let variables = Variables::from_json(asked.variables);
    let mut request = Request::new(asked.query).variables(variables);
    if let Some(operation) = asked.operation {
        request = request.operation_name(operation);
    }
    let (operation, variables) = (request.operation_name.clone(), request.variables.clone());
    let document = request
        .parsed_query()
        .map_err(|error| (StatusCode::BAD_REQUEST, json!({ "errors": [told(front, error, "SYNTAX")] })))?;
    let changes = document.operations.iter().any(|(_, operation)| operation.node.ty == OperationType::Mutation);
    let within = if changes { DECIDED_WITHIN } else { READ_WITHIN };
    let cost = front.graph.costs.of(document, operation.as_deref(), &variables);
    if cost > COST_MOST {
        let text = format!(
            "the question costs {cost}; at most {COST_MOST} are answered at once: ask for fewer rows (`first`) or for \
             fewer lists within lists"
        );
        return Err(refuse(StatusCode::BAD_REQUEST, "TOO_COSTLY", &text));
    }
    let who = (caller.tenant, caller.principal);
    if let Err(seconds) = front.budgets.take(who, cost, front.backend.now()) {
        let problem = Problem::throttled(seconds);
        let mut body = refuse(problem.status, &problem.code, &problem.detail);
        body.1["errors"][0]["extensions"]["retryAfter"] = seconds.into();
        return Err(body);
    }
    let session = Session::new(Arc::clone(front), caller, correlation);
    let execution = front.graph.schema.execute(request.data(session));
    let Ok(response) = tokio::time::timeout(within, execution).await else {
        return Err(refuse(StatusCode::SERVICE_UNAVAILABLE, "TIMED_OUT", "the question took too long to answer"));
    };
    let spent = actual(&response.data).min(cost);
    let standing = front.budgets.give_back(who, cost - spent);
    shape(front, response, &costs(cost, spent, standing))
}

fn shape(front: &Front, response: Response, cost: &Json) -> Result<Json, (StatusCode, Json)> {
    // What was executed is answered with 200, whatever became of it; an error without a path means that nothing ran.
    let ran = response.data != Value::Null || response.errors.iter().any(|error| !error.path.is_empty());
    let code = if ran { "INTERNAL" } else { "INVALID_QUERY" };
    let errors = response.errors.iter().take(ERRORS_MOST).map(|error| told(front, error.clone(), code));
    let errors: Vec<_> = errors.collect();
    let mut body = json!({ "extensions": { "cost": cost } });
    if !errors.is_empty() {
        body["errors"] = errors.into();
    }
    if !ran {
        return Err((StatusCode::BAD_REQUEST, body));
    }
    body["data"] = response.data.into_json().unwrap_or_default();
    Ok(body)
}

/// An error with a code, and without anything from inside.
fn told(front: &Front, error: ServerError, otherwise: &str) -> Json {
    let mut told = serde_json::to_value(&error).unwrap_or_default();
    if told["extensions"]["code"].is_null() {
        if otherwise == "INTERNAL" && !is_about_input(&error.message) {
            let problem = Problem::fault(front.backend.new_id(), &error.message);
            told["message"] = problem.detail.into();
            told["extensions"] = json!({ "code": problem.code });
        } else {
            let code = if otherwise == "INTERNAL" { "INVALID_ARGUMENT" } else { otherwise };
            told["extensions"] = json!({ "code": code });
        }
    }
    told
}

/// The executor finds out late that an argument does not fit; that is the caller's to know.
fn is_about_input(message: &str) -> bool {
    message.starts_with("Invalid value for argument") || message.starts_with("Variable ")
}

fn refuse(status: StatusCode, code: &str, message: &str) -> (StatusCode, Json) {
    (status, json!({ "errors": [{ "message": message, "extensions": { "code": code } }] }))
}

fn costs(requested: u64, actual: u64, standing: Standing) -> Json {
    json!({
        "requestedQueryCost": requested,
        "actualQueryCost": actual,
        "throttleStatus": {
            "maximumAvailable": standing.maximum_available,
            "currentlyAvailable": standing.currently_available,
            "restoreRate": standing.restore_rate,
        },
    })
}
