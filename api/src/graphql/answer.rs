//! From a request that passed the guard to an answer in GraphQL's own form.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use async_graphql::parser::types::{OperationType, Selection, SelectionSet};
use async_graphql::{Name, Request, Response, ServerError, Value, Variables};
use axum::http::StatusCode;
use futures::future::ready;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use serde_json::{Value as Json, json};
use tokio::task::{JoinError, JoinSet};
use uuid::Uuid;

use super::cost::{COST_MOST, actual};
use super::service::{READ_WITHIN, Service};
use super::session::Session;
use crate::admission::query_budget::BudgetStatus;
use crate::error::Problem;
use crate::guard;
use crate::port::Caller;

/// More errors than this help nobody and make answers long.
const ERRORS_MOST: usize = 10;

/// Commands are decided within ten seconds or never; several may come one after the other.
const DECIDED_WITHIN: Duration = Duration::from_secs(25);

/// A question as it was sent.
pub(crate) struct Asked {
    pub(crate) query: String,
    pub(crate) operation: Option<String>,
    pub(crate) variables: Json,
}

/// What is answered instead of executing: a status and GraphQL errors.
pub(crate) type Refusal = (StatusCode, Json);

/// A question that passed the guard.
pub(crate) struct Checked {
    request: Request,
    /// Nothing where it is not clear which operation is meant.
    kind: Option<OperationType>,
    cost: u64,
}

/// What a subscription is told.
pub(crate) enum Told {
    /// An answer to its selection.
    Next(Json),
    /// Why it ends: GraphQL errors.
    Error(Json),
}

/// Looks at a question before anything is done for it.
pub(crate) fn check(service: &Service, asked: Asked) -> Result<Checked, Refusal> {
    guard::check(&asked.query).map_err(|refused| refuse(StatusCode::BAD_REQUEST, refused.code, &refused.message))?;
    let variables = Variables::from_json(asked.variables);
    let mut request = Request::new(asked.query).variables(variables);
    if let Some(operation) = asked.operation {
        request = request.operation_name(operation);
    }
    let (operation, variables) = (request.operation_name.clone(), request.variables.clone());
    let document = request
        .parsed_query()
        .map_err(|error| (StatusCode::BAD_REQUEST, json!({ "errors": [told(service, error, "SYNTAX")] })))?;
    let named = |name: Option<&Name>| operation.is_none() || name.map(|name| name.as_str()) == operation.as_deref();
    let mut meant = document.operations.iter().filter(|(name, _)| named(*name));
    let meant = meant.next().filter(|_| meant.next().is_none()).map(|(_, operation)| &operation.node);
    if meant.is_some_and(|meant| meant.ty == OperationType::Subscription && !is_one_field(&meant.selection_set.node)) {
        let text = "a subscription asks for exactly one field, and not within a fragment";
        return Err(refuse(StatusCode::BAD_REQUEST, "INVALID_QUERY", text));
    }
    let kind = meant.map(|operation| operation.ty);
    let cost = service.graph.costs.of(document, operation.as_deref(), &variables);
    if cost > COST_MOST {
        let text = format!(
            "the question costs {cost}; at most {COST_MOST} are answered at once: ask for fewer rows (`first`) or for \
             fewer lists within lists"
        );
        return Err(refuse(StatusCode::BAD_REQUEST, "TOO_COSTLY", &text));
    }
    Ok(Checked { request, kind, cost })
}

impl Checked {
    pub(crate) fn subscribes(&self) -> bool {
        self.kind == Some(OperationType::Subscription)
    }

    /// Takes what it costs from what the caller has saved up.
    fn pay(&self, service: &Service, caller: &Caller) -> Result<(), Refusal> {
        let taken = service.budgets.take((caller.tenant, caller.principal), self.cost, service.backend.now());
        taken.map(|_| ()).map_err(|seconds| refused_by(&Problem::throttled(seconds)))
    }
}

/// Answers a question. `Err` where it was not executed at all: the status is then not 200.
pub(crate) async fn answer(
    service: &Arc<Service>,
    caller: Caller,
    correlation: Option<Uuid>,
    checked: Checked,
) -> Result<Json, Refusal> {
    if checked.subscribes() {
        let text = "a subscription is answered over a WebSocket (graphql-transport-ws) or as `text/event-stream`";
        return Err(refuse(StatusCode::BAD_REQUEST, "SUBSCRIPTION", text));
    }
    checked.pay(service, &caller)?;
    let within = if checked.kind == Some(OperationType::Query) { READ_WITHIN } else { DECIDED_WITHIN };
    let (who, cost) = ((caller.tenant, caller.principal), checked.cost);
    let session = Session::new(Arc::clone(service), caller, correlation);
    let execution = service.graph.schema.execute(checked.request.data(session));
    let Ok(response) = tokio::time::timeout(within, execution).await else {
        return Err(refuse(StatusCode::SERVICE_UNAVAILABLE, "TIMED_OUT", "the question took too long to answer"));
    };
    let spent = actual(&response.data).min(cost);
    let standing = service.budgets.give_back(who, cost - spent);
    shape(service, response, &costs(cost, spent, standing))
}

/// Answers a subscription for as long as it is read. What it costs is for its beginning; changes come as they come.
pub(crate) fn subscribe(
    service: &Arc<Service>,
    caller: Caller,
    correlation: Option<Uuid>,
    checked: Checked,
) -> Result<BoxStream<'static, Told>, Refusal> {
    if !checked.subscribes() {
        let text = "this operation is no subscription; send it as `POST /graphql`";
        return Err(refuse(StatusCode::BAD_REQUEST, "NOT_A_SUBSCRIPTION", text));
    }
    let place = service.subscriptions.take(&caller).map_err(|problem| refused_by(&problem))?;
    checked.pay(service, &caller)?;
    let session = Session::new(Arc::clone(service), caller, correlation);
    let responses = begun(service.graph.schema.execute_stream(checked.request.data(session)));
    let service = Arc::clone(service);
    let tell = move |response: Response| {
        // The place is free again when nobody reads any more.
        let _place = &place;
        if response.errors.is_empty() {
            return Told::Next(json!({ "data": response.data.into_json().unwrap_or_default() }));
        }
        let code =
            if response.errors.iter().any(|error| !error.path.is_empty()) { "INTERNAL" } else { "INVALID_QUERY" };
        let errors = response.errors.into_iter().take(ERRORS_MOST).map(|error| told(&service, error, code));
        Told::Error(errors.collect())
    };
    Ok(responses.map(tell).boxed())
}

/// Begins on a task of its own, which ends with the stream: what a beginning holds, a connection to the store among it,
/// must not wait until somebody reads.
fn begun(mut responses: BoxStream<'static, Response>) -> impl Stream<Item = Response> + Send {
    let mut beginning = JoinSet::new();
    beginning.spawn(async move { (responses.next().await, responses) });
    let first = async move {
        match beginning.join_next().await?.map_err(JoinError::try_into_panic) {
            Ok((first, rest)) => Some(stream::iter(first).chain(rest)),
            Err(Ok(panic)) => resume_unwind(panic),
            Err(Err(_)) => None,
        }
    };
    stream::once(first).filter_map(ready).flatten()
}

/// Two fields would be two subscriptions (GraphQL, section 5.2.3.1).
fn is_one_field(selections: &SelectionSet) -> bool {
    matches!(selections.items.as_slice(), [only] if matches!(only.node, Selection::Field(_)))
}

fn shape(service: &Service, response: Response, cost: &Json) -> Result<Json, (StatusCode, Json)> {
    // What was executed is answered with 200, whatever became of it; an error without a path means that nothing ran.
    let ran = response.data != Value::Null || response.errors.iter().any(|error| !error.path.is_empty());
    let code = if ran { "INTERNAL" } else { "INVALID_QUERY" };
    let errors = response.errors.iter().take(ERRORS_MOST).map(|error| told(service, error.clone(), code));
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
fn told(service: &Service, error: ServerError, otherwise: &str) -> Json {
    let mut told = serde_json::to_value(&error).unwrap_or_default();
    if told["extensions"]["code"].is_null() {
        if otherwise == "INTERNAL" && !is_about_input(&error.message) {
            let problem = Problem::fault(service.backend.new_id(), &error.message);
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

/// The same for what a problem says.
pub(crate) fn refused_by(problem: &Problem) -> Refusal {
    let mut refusal = refuse(problem.status, &problem.code, &problem.detail);
    if let Some(seconds) = problem.retry_after_s {
        refusal.1["errors"][0]["extensions"]["retryAfter"] = seconds.into();
    }
    refusal
}

fn refuse(status: StatusCode, code: &str, message: &str) -> Refusal {
    (status, json!({ "errors": [{ "message": message, "extensions": { "code": code } }] }))
}

fn costs(requested: u64, actual: u64, standing: BudgetStatus) -> Json {
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
