//! `eventHistory`: the stored events of one stream, for callers who may audit.

use async_graphql::dynamic::{
    Field, FieldFuture, FieldValue, InputValue, Object, ResolverContext, SchemaBuilder, TypeRef,
};
use domain::kernel::Actor;
use domain::shared::Permission;
use serde_json::{Value as Json, json};

use super::executor::viewer::Viewer;
use super::page_size::{FIRST, FIRST_MOST};
use super::scalars;
use super::session::Session;
use super::value::{from_json, member, to_json};
use crate::error::Problem;
use crate::port::{StreamEvent, StreamQuery};

/// Name of the field.
const FIELD: &str = "eventHistory";
const CONNECTION: &str = "StoredEventConnection";
const EDGE: &str = "StoredEventEdge";
const EVENT: &str = "StoredEvent";
/// The field and the type of its rows.
pub(super) const PAGE: (&str, &str) = (FIELD, EVENT);

/// `eventHistory(streamType, stream, first, after)`.
pub(super) fn field() -> Field {
    Field::new(FIELD, TypeRef::named(CONNECTION), |context| {
        FieldFuture::new(async move {
            let session = Session::of(&context)?;
            let page = load(&session.viewer, &context).await.map_err(Problem::into_graphql)?;
            Ok(Some(FieldValue::value(from_json(page))))
        })
    })
    .description(
        "Stored events of one stream, oldest first: who caused which, when, and by which command. Personal fields are \
         hidden. A receipt names the streams that a command changed.",
    )
    .argument(
        InputValue::new("streamType", TypeRef::named_nn(TypeRef::STRING))
            .description("Type of the aggregate, such as Order."),
    )
    .argument(InputValue::new("stream", TypeRef::named_nn(scalars::UUID)).description("Id of the aggregate."))
    .argument(InputValue::new("first", TypeRef::named(TypeRef::INT)).default_value(FIRST))
    .argument(InputValue::new("after", TypeRef::named(TypeRef::STRING)))
}

/// Registers the types of the field.
pub(super) fn register(schema: SchemaBuilder) -> SchemaBuilder {
    let required = |name: &str, kind: &str| Field::new(name, TypeRef::named_nn(kind), member(name));
    let optional = |name: &str, kind: &str| Field::new(name, TypeRef::named(kind), member(name));
    let event = Object::new(EVENT)
        .description("Event as it is stored in the log.")
        .field(required("sequence", scalars::LONG).description("Number of the event in its stream, from 1."))
        .field(required("position", scalars::LONG).description("Position among all events of the tenant."))
        .field(required("type", TypeRef::STRING).description("Such as order.placed."))
        .field(required("version", TypeRef::INT).description("Version of the payload's format."))
        .field(required("occurredAt", scalars::TIMESTAMP))
        .field(required("recordedAt", scalars::TIMESTAMP))
        .field(required("actorKind", TypeRef::STRING).description("customer, member, operator or engine."))
        .field(
            required("actor", TypeRef::STRING)
                .description("Id of the customer, member or operator, or the name of the engine's policy or timer."),
        )
        .field(
            required("principal", scalars::UUID).description("Subject of the token with which the command was sent."),
        )
        .field(required("command", TypeRef::STRING).description("Type of the command, such as PlaceOrder."))
        .field(required("commandId", scalars::UUID))
        .field(
            optional("correlation", scalars::UUID).description("Shared by everything that followed from one request."),
        )
        .field(optional("causation", scalars::UUID).description("Id of the event that caused the command."))
        .field(required("payload", scalars::JSON).description("Content of the event, with personal fields hidden."));
    let edge = Object::new(EDGE).field(required("cursor", TypeRef::STRING)).field(required("node", EVENT));
    let connection = Object::new(CONNECTION)
        .description("A page of stored events.")
        .field(Field::new("edges", TypeRef::named_nn_list_nn(EDGE), member("edges")))
        .field(required("pageInfo", "PageInfo"));
    schema.register(event).register(edge).register(connection)
}

async fn load(viewer: &Viewer, context: &ResolverContext<'_>) -> Result<Json, Problem> {
    if !viewer.caller.may(Permission::SeeHistory) {
        return Err(Problem::forbidden("this caller may not read the history of streams"));
    }
    let query = query(viewer, context)?;
    let backend = &viewer.service.backend;
    let events = backend.stream_history(viewer.caller.tenant, &query).await;
    let mut events = events.map_err(|fault| Problem::from_fault(&fault, backend.new_id()))?;
    // One event more than requested shows whether there is a next page.
    let first = usize::try_from(query.first).unwrap_or(usize::MAX);
    let more = events.len() > first;
    events.truncate(first);
    let cursor = |event: &StreamEvent| event.sequence.to_string();
    Ok(json!({
        "edges": events.iter().map(|event| json!({ "cursor": cursor(event), "node": node(event) })).collect::<Vec<_>>(),
        "pageInfo": {
            "hasNextPage": more,
            "hasPreviousPage": query.after > 0,
            "startCursor": events.first().map(cursor),
            "endCursor": events.last().map(cursor),
        },
    }))
}

fn query(viewer: &Viewer, context: &ResolverContext<'_>) -> Result<StreamQuery, Problem> {
    let argument = |name: &str| context.args.get(name).map(|value| to_json(value.as_value())).unwrap_or_default();
    let stream = argument("stream").as_str().and_then(|text| text.parse().ok());
    let stream = stream.ok_or_else(|| viewer.invalid("stream", "expected a UUID"))?;
    let first = match argument("first") {
        Json::Null => i64::from(FIRST),
        value => value.as_i64().unwrap_or(0),
    };
    if !(1..=FIRST_MOST).contains(&first) {
        return Err(viewer.invalid("first", format!("expected 1 to {FIRST_MOST}")));
    }
    let after = match argument("after") {
        Json::Null => 0,
        value => {
            let sequence = value.as_str().and_then(|text| text.parse().ok()).filter(|sequence| *sequence > 0);
            sequence.ok_or_else(|| viewer.invalid("after", "expected a cursor of the same field"))?
        }
    };
    let stream_type = argument("streamType").as_str().unwrap_or_default().to_owned();
    Ok(StreamQuery { stream_type, stream, after, first: u32::try_from(first).unwrap_or(1) })
}

fn node(event: &StreamEvent) -> Json {
    let (kind, actor) = match &event.actor {
        Actor::Customer(customer) => ("customer", customer.to_string()),
        Actor::Member(member) => ("member", member.to_string()),
        Actor::Operator(operator) => ("operator", operator.to_string()),
        Actor::Engine(part) => ("engine", part.clone()),
    };
    json!({
        "sequence": event.sequence, "position": event.position, "type": event.kind, "version": event.version,
        "occurredAt": event.occurred_at, "recordedAt": event.recorded_at, "actorKind": kind, "actor": actor,
        "principal": event.principal, "command": event.command, "commandId": event.command_id,
        "correlation": event.correlation, "causation": event.causation, "payload": event.payload,
    })
}
