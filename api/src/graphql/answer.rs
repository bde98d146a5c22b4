//! Validation and execution of GraphQL requests.

use std::fmt::Write;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_graphql::parser::types::{ExecutableDocument, OperationType, Selection, SelectionSet};
use async_graphql::{Name, Request, Response, ServerError, Value, Variables};
use axum::http::StatusCode;
use futures::future::ready;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use serde_json::{Value as Json, json};
use tokio::task::{JoinError, JoinSet};
use uuid::Uuid;

use super::executor::viewer::Viewer;
use super::executor::{GraphqlExecutor, QUERY_TIMEOUT};
use super::query_cost::COST_MOST;
use super::read_plan::{self, Declined, Plan, PlannedAnswer};
use super::session::Session;
use crate::admission::cost_limiter::ThrottleStatus;
use crate::error::Problem;
use crate::guard;
use crate::port::Caller;

/// Highest number of errors in one answer, to bound its size.
const ERRORS_MOST: usize = 10;

/// Time limit of a mutation. Longer than `DECIDED_WITHIN`, because a mutation may run several commands in sequence;
/// shorter than the time limit of a request.
const MUTATION_TIMEOUT: Duration = Duration::from_secs(25);

/// A GraphQL request as the client sent it.
pub(crate) struct GraphqlRequest {
    /// The document.
    pub(crate) query: Option<String>,
    /// The id of the document: its SHA-256.
    pub(crate) document_id: Option<String>,
    pub(crate) operation: Option<String>,
    pub(crate) variables: Json,
}

/// Error raised before execution (a request error in the GraphQL specification): HTTP status and response body.
pub(crate) type RequestError = (StatusCode, Json);

/// A request that passed the guard and the limit of the query cost.
pub(crate) struct CheckedRequest {
    request: Request,
    /// `None` if the request does not select exactly one operation of the document; execution reports that.
    kind: Option<OperationType>,
    cost: u64,
    plan: PlanState,
}

/// Plan of the document of a request.
enum PlanState {
    None,
    /// The document is valid only if async-graphql answers it without errors.
    New(Box<Plan>),
    Known(Arc<Plan>),
}

/// An operation that was executed, or whose document or arguments were refused.
struct Executed {
    /// JSON text; `None` if nothing was executed.
    data: Option<Vec<u8>>,
    errors: Vec<Json>,
    rows: u64,
}

/// A message to a subscriber.
pub(crate) enum SubscriptionMessage {
    /// A result of the subscribed field.
    Next(Json),
    /// GraphQL errors. They end the subscription.
    Error(Json),
}

/// Checks a request before it is executed: document limits, syntax and estimated cost.
pub(crate) fn check(service: &GraphqlExecutor, sent: GraphqlRequest) -> Result<CheckedRequest, RequestError> {
    let query = service.documents.resolve(sent.query, sent.document_id.as_deref()).map_err(|refusal| {
        let (code, message) = refusal.describe();
        error_response(StatusCode::BAD_REQUEST, code, message)
    })?;
    let known = service.plans.find(&query, sent.operation.as_deref());
    if known.is_none() {
        guard::check(&query)
            .map_err(|violation| error_response(StatusCode::BAD_REQUEST, violation.code, &violation.message))?;
    }
    let mut request = Request::new(query).variables(Variables::from_json(sent.variables));
    if let Some(operation) = sent.operation {
        request = request.operation_name(operation);
    }
    if let Some(plan) = known {
        let cost = estimate(service, &plan.document, None, &request.variables)?;
        return Ok(CheckedRequest { request, kind: Some(OperationType::Query), cost, plan: PlanState::Known(plan) });
    }
    let (operation, variables) = (request.operation_name.clone(), request.variables.clone());
    let document = request
        .parsed_query()
        .map_err(|error| (StatusCode::BAD_REQUEST, json!({ "errors": [error_json(service, error, "SYNTAX")] })))?;
    let named = |name: Option<&Name>| operation.is_none() || name.map(|name| name.as_str()) == operation.as_deref();
    let mut selected = document.operations.iter().filter(|(name, _)| named(*name));
    let selected = selected.next().filter(|_| selected.next().is_none()).map(|(_, operation)| &operation.node);
    if selected.is_some_and(|one| one.ty == OperationType::Subscription && !is_one_field(&one.selection_set.node)) {
        let text = "a subscription must select exactly one field, outside of any fragment";
        return Err(error_response(StatusCode::BAD_REQUEST, "INVALID_QUERY", text));
    }
    let kind = selected.map(|operation| operation.ty);
    let cost = estimate(service, document, operation.as_deref(), &variables)?;
    let plan = selected.and_then(|_| read_plan::compile(&service.graph.row_types, document));
    let plan = plan.map_or(PlanState::None, |plan| PlanState::New(Box::new(plan)));
    Ok(CheckedRequest { request, kind, cost, plan })
}

/// Estimated cost of an operation; an error if it is above the limit.
fn estimate(
    service: &GraphqlExecutor,
    document: &ExecutableDocument,
    operation: Option<&str>,
    variables: &Variables,
) -> Result<u64, RequestError> {
    let cost = service.graph.cost_estimator.estimate(document, operation, variables);
    if cost > COST_MOST {
        let text = format!(
            "the query costs {cost} points, more than the limit of {COST_MOST}: request fewer rows (`first`) or fewer \
             nested lists"
        );
        return Err(error_response(StatusCode::BAD_REQUEST, "TOO_COSTLY", &text));
    }
    Ok(cost)
}

impl CheckedRequest {
    pub(crate) fn subscribes(&self) -> bool {
        self.kind == Some(OperationType::Subscription)
    }

    pub(crate) fn mutates(&self) -> bool {
        self.kind == Some(OperationType::Mutation)
    }

    /// Charges the estimated cost to the caller.
    fn charge(&self, service: &GraphqlExecutor, caller: &Caller) -> Result<(), RequestError> {
        let key = (caller.tenant, caller.principal);
        let charged = service.cost_limiters.of(caller).charge(key, self.cost, service.backend.now());
        charged.map(|_| ()).map_err(|seconds| request_error(&Problem::throttled(seconds)))
    }
}

/// Executes a query or mutation and returns the body of the response. Returns `Err` if nothing was executed; the status is
/// then not 200.
pub(crate) async fn answer(
    service: &Arc<GraphqlExecutor>,
    caller: Caller,
    correlation: Option<Uuid>,
    checked: CheckedRequest,
) -> Result<String, RequestError> {
    if checked.subscribes() {
        let text = "send a subscription over a WebSocket (graphql-transport-ws), or accept `text/event-stream`";
        return Err(error_response(StatusCode::BAD_REQUEST, "SUBSCRIPTION", text));
    }
    checked.charge(service, &caller)?;
    let timeout = if checked.kind == Some(OperationType::Query) { QUERY_TIMEOUT } else { MUTATION_TIMEOUT };
    let (key, cost, mutates) = ((caller.tenant, caller.principal), checked.cost, checked.mutates());
    let limiter = service.cost_limiters.of(&caller);
    let viewer = Viewer { service: Arc::clone(service), caller };
    let Ok(executed) = tokio::time::timeout(timeout, execute(viewer, correlation, checked)).await else {
        return Err(error_response(
            StatusCode::SERVICE_UNAVAILABLE,
            "TIMED_OUT",
            "the operation timed out; send it again, a mutation with the same `commandId`",
        ));
    };
    let actual = if mutates { cost } else { executed.rows.clamp(1, cost) };
    let status = limiter.refund(key, cost - actual);
    executed.into_body(&cost_extension(cost, actual, status))
}

/// Answers a request by the plan of its document, or else by async-graphql.
async fn execute(viewer: Viewer, correlation: Option<Uuid>, checked: CheckedRequest) -> Executed {
    let CheckedRequest { request, plan, .. } = checked;
    let mut behind = None;
    if let PlanState::Known(plan) = &plan {
        match read_plan::answer(&viewer, plan, &request.variables).await {
            Ok(PlannedAnswer { data, rows }) => return Executed { data: Some(data), errors: Vec::new(), rows },
            Err(Declined::Behind(reason)) => behind = Some(reason),
            Err(Declined::Unclear) => {}
        }
    }
    let service = Arc::clone(&viewer.service);
    let session = Session::new(viewer, correlation, behind);
    let (rows, query) = (session.rows_read(), request.query.clone());
    let response = service.graph.schema.execute(request.data(session)).await;
    if let (PlanState::New(plan), true) = (plan, response.errors.is_empty()) {
        service.plans.keep(query, *plan);
    }
    Executed::of(&service, response, rows.load(Ordering::Relaxed))
}

/// Starts a subscription, which ends when the stream is dropped. The caller is charged the estimated cost once; updates
/// are not charged.
pub(crate) fn subscribe(
    service: &Arc<GraphqlExecutor>,
    caller: Caller,
    correlation: Option<Uuid>,
    checked: CheckedRequest,
) -> Result<BoxStream<'static, SubscriptionMessage>, RequestError> {
    if !checked.subscribes() {
        let text = "this operation is not a subscription; send it as `POST /graphql`";
        return Err(error_response(StatusCode::BAD_REQUEST, "NOT_A_SUBSCRIPTION", text));
    }
    let permit = service.subscriptions.take(&caller).map_err(|problem| request_error(&problem))?;
    checked.charge(service, &caller)?;
    let viewer = Viewer { service: Arc::clone(service), caller };
    let session = Session::new(viewer, correlation, None);
    let responses = started(service.graph.schema.execute_stream(checked.request.data(session)));
    let service = Arc::clone(service);
    let message = move |response: Response| {
        // The closure owns the permit, so that dropping the stream releases it.
        let _permit = &permit;
        if response.errors.is_empty() {
            return SubscriptionMessage::Next(json!({ "data": response.data.into_json().unwrap_or_default() }));
        }
        let code =
            if response.errors.iter().any(|error| !error.path.is_empty()) { "INTERNAL" } else { "INVALID_QUERY" };
        let errors = response.errors.into_iter().take(ERRORS_MOST).map(|error| error_json(&service, error, code));
        SubscriptionMessage::Error(errors.collect())
    };
    Ok(responses.map(message).boxed())
}

/// Computes the first response in its own task, which is aborted when the stream is dropped. Computing it holds
/// resources, such as a database connection, that must not wait for a slow client.
fn started(mut responses: BoxStream<'static, Response>) -> impl Stream<Item = Response> + Send {
    let mut start = JoinSet::new();
    start.spawn(async move { (responses.next().await, responses) });
    let first = async move {
        match start.join_next().await?.map_err(JoinError::try_into_panic) {
            Ok((first, rest)) => Some(stream::iter(first).chain(rest)),
            Err(Ok(panic)) => resume_unwind(panic),
            Err(Err(_)) => None,
        }
    };
    stream::once(first).filter_map(ready).flatten()
}

/// True if the selections are exactly one field: a subscription has a single root field (GraphQL specification, section
/// 5.2.3.1).
fn is_one_field(selections: &SelectionSet) -> bool {
    matches!(selections.items.as_slice(), [only] if matches!(only.node, Selection::Field(_)))
}

impl Executed {
    /// Errors without a path and without data mean that nothing was executed.
    fn of(service: &GraphqlExecutor, mut response: Response, rows: u64) -> Self {
        // async-graphql has errors in the order in which concurrent fields failed; an answer has them as in the document.
        response.errors.sort_by_key(|error| error.locations.first().copied());
        let is_executed = response.data != Value::Null || response.errors.iter().any(|error| !error.path.is_empty());
        let code = if is_executed { "INTERNAL" } else { "INVALID_QUERY" };
        let errors = response.errors.into_iter().take(ERRORS_MOST).map(|error| error_json(service, error, code));
        // As JSON, fields are in alphabetical order; async-graphql has them in the order of their completion.
        let data = is_executed.then(|| response.data.into_json().unwrap_or_default().to_string().into_bytes());
        Self { data, errors: errors.collect(), rows }
    }

    /// Body of the response. An operation that was executed is answered with 200, even with errors.
    fn into_body(self, cost: &Json) -> Result<String, RequestError> {
        let extensions = json!({ "cost": cost });
        let Some(data) = self.data else {
            return Err((StatusCode::BAD_REQUEST, json!({ "errors": self.errors, "extensions": extensions })));
        };
        let mut body = String::with_capacity(data.len() + 256);
        body.push_str("{\"data\":");
        body.push_str(&String::from_utf8_lossy(&data));
        if !self.errors.is_empty() {
            _ = write!(body, ",\"errors\":{}", Json::Array(self.errors));
        }
        _ = write!(body, ",\"extensions\":{extensions}}}");
        Ok(body)
    }
}

/// JSON of an error. An error without a code gets `default_code`, or `INVALID_ARGUMENT` if the caller caused an error
/// with the default `INTERNAL`. Internal errors are logged, and their message is replaced.
fn error_json(service: &GraphqlExecutor, error: ServerError, default_code: &str) -> Json {
    let mut json = serde_json::to_value(&error).unwrap_or_default();
    if json["extensions"]["code"].is_null() {
        if default_code == "INTERNAL" && !is_about_input(&error.message) {
            let problem = Problem::fault(service.backend.new_id(), &error.message);
            json["message"] = problem.detail.into();
            json["extensions"] = json!({ "code": problem.code });
        } else {
            let code = if default_code == "INTERNAL" { "INVALID_ARGUMENT" } else { default_code };
            json["extensions"] = json!({ "code": code });
        }
    }
    json
}

/// True for an error of an argument that only the executor detects. It is the caller's mistake, so its message is sent.
fn is_about_input(message: &str) -> bool {
    message.starts_with("Invalid value for argument") || message.starts_with("Variable ")
}

/// A problem as a request error.
pub(crate) fn request_error(problem: &Problem) -> RequestError {
    let mut error = error_response(problem.status, &problem.code, &problem.detail);
    if let Some(seconds) = problem.retry_after_s {
        error.1["errors"][0]["extensions"]["retryAfter"] = seconds.into();
    }
    error
}

fn error_response(status: StatusCode, code: &str, message: &str) -> RequestError {
    (status, json!({ "errors": [{ "message": message, "extensions": { "code": code } }] }))
}

fn cost_extension(requested: u64, actual: u64, status: ThrottleStatus) -> Json {
    json!({
        "requestedQueryCost": requested,
        "actualQueryCost": actual,
        "throttleStatus": {
            "maximumAvailable": status.maximum_available,
            "currentlyAvailable": status.currently_available,
            "restoreRate": status.restore_rate,
        },
    })
}
