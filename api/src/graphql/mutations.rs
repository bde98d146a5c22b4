//! Mutations, one per command.

use std::sync::Arc;

use async_graphql::Value;
use async_graphql::dynamic::{
    Enum, EnumItem, Field, FieldFuture, FieldValue, InputValue, Object, SchemaBuilder, TypeRef,
};
use commands::kernel::CommandDescriptor;
use serde_json::{Value as Json, json};

use super::names::{camel, path};
use super::scalars::{JSON, LONG, TIMESTAMP, UUID};
use super::session::Session;
use super::types::{Direction, Types};
use super::value::{Shape, from_json, member};
use crate::admission::rate_limit;
use crate::command_answer::CommandAnswer;
use crate::command_intake::CommandRequest;
use crate::error::Problem;

/// `reserveStock(input: ReserveStockInput!, commandId: ID): ReserveStockPayload`.
///
/// The payload is nullable, so that a command that cannot be decided now does not hide the results of its siblings.
pub(super) fn mutation(kind: &CommandDescriptor, types: &mut Types) -> (Field, Object) {
    let root = kind.schema.as_value();
    let input = types.of(root, root, &kind.name, Direction::Input);
    let (name, shape) = (kind.name.clone(), Arc::new(input.shape.clone()));
    let payload = Object::new(format!("{name}Payload"))
        .description(
            "The result of a command: a receipt, with a rejection if a business rule refused it; or user errors.",
        )
        .field(Field::new("commandId", TypeRef::named(TypeRef::ID), member("commandId")))
        .field(Field::new("receipt", TypeRef::named("Receipt"), member("receipt")))
        .field(Field::new("rejection", TypeRef::named("Rejection"), member("rejection")))
        .field(Field::new("userErrors", TypeRef::named_nn_list_nn("UserError"), member("userErrors")));
    let type_name = payload.type_name().to_owned();
    let field = Field::new(camel(&kind.name), TypeRef::named(type_name), move |context| {
        let (name, shape) = (name.clone(), Arc::clone(&shape));
        FieldFuture::new(async move {
            let session = Session::of(&context)?;
            let input = context.args.get("input").map(|input| input.as_value().clone()).unwrap_or_default();
            let key = match context.args.get("commandId").map(|id| id.as_value()) {
                Some(Value::String(key)) => Some(key.clone()),
                Some(Value::Number(key)) => Some(key.to_string()),
                _ => None,
            };
            let answer = decide(session, &name, &shape, &input, key.as_deref()).await;
            Ok(Some(FieldValue::value(from_json(payload_json(answer).map_err(Problem::into_graphql)?))))
        })
    });
    let mut field = field.description(root["description"].as_str().unwrap_or_default());
    // GraphQL does not allow an input without fields, and a command without fields needs none.
    if root["properties"].as_object().is_some_and(|fields| !fields.is_empty()) {
        field = field.argument(InputValue::new("input", input.type_ref(false)));
    }
    let text = "Idempotency key chosen by the caller. A repeat with the same key and input returns the stored answer and \
                has no effect.";
    let field = field.argument(InputValue::new("commandId", TypeRef::named(TypeRef::ID)).description(text));
    (field, payload)
}

async fn decide(
    session: &Session,
    name: &str,
    shape: &Shape,
    input: &Value,
    key: Option<&str>,
) -> Result<CommandAnswer, Problem> {
    let body = match input {
        Value::Null => String::from("{}"),
        input => shape.to_json(input).to_string(),
    };
    let service = &session.viewer.service;
    let counted = rate_limit::count_command(&*service.backend, &session.viewer.caller).await;
    counted.map_err(|allowance| rate_limit::problem(&allowance))?;
    let request = CommandRequest { name, body: body.as_bytes(), key, correlation: session.correlation };
    service.intake.execute(&session.viewer.caller, &request).await
}

/// Payload of a mutation. Errors of the input are part of it; all other problems are GraphQL errors.
fn payload_json(answer: Result<CommandAnswer, Problem>) -> Result<Json, Problem> {
    match answer {
        Ok(answer) => {
            let mut payload = serde_json::to_value(answer).unwrap_or_default();
            payload["userErrors"] = json!([]);
            Ok(payload)
        }
        Err(problem) if problem.errors.is_empty() => Err(problem),
        Err(problem) => {
            let errors = problem.errors.iter();
            let errors: Vec<_> = errors
                .map(|one| json!({ "field": path(&one.field), "message": one.message, "code": one.code }))
                .collect();
            Ok(json!({ "userErrors": errors }))
        }
    }
}

/// Registers the types that all payloads share.
pub(super) fn register(schema: SchemaBuilder) -> SchemaBuilder {
    let string = || TypeRef::named_nn(TypeRef::STRING);
    let changed = Object::new("ChangedStream")
        .description("A changed stream, with its version: the sequence number of its last event.")
        .field(Field::new("type", string(), member("type")))
        .field(Field::new("id", TypeRef::named_nn(UUID), member("id")))
        .field(Field::new("version", TypeRef::named_nn(LONG), member("version")));
    let receipt = Object::new("Receipt")
        .description("Proof that a command was decided.")
        .field(Field::new("tenantPosition", TypeRef::named_nn(LONG), member("tenantPosition")))
        .field(
            Field::new("token", string(), member("token"))
                .description("Opaque. A query with `minPosition` set to it sees the effects of this command."),
        )
        .field(Field::new("recordedAt", TypeRef::named_nn(TIMESTAMP), member("recordedAt")))
        .field(
            Field::new("replayed", TypeRef::named_nn(TypeRef::BOOLEAN), member("replayed"))
                .description("True if the command was decided earlier and this is the stored answer."),
        )
        .field(Field::new("changed", TypeRef::named_nn_list_nn("ChangedStream"), member("changed")));
    let rejection = Object::new("Rejection")
        .description("A refusal by a business rule. It is stored: the same command id always gets the same answer.")
        .field(
            Field::new("code", string(), member("code"))
                .description("Stable error code in upper case, such as OUT_OF_STOCK."),
        )
        .field(Field::new("message", string(), member("message")))
        .field(
            Field::new("details", TypeRef::named(JSON), member("details"))
                .description("The facts on which the refusal rests."),
        )
        .field(Field::new("retry", TypeRef::named_nn("Retry"), member("retry")));
    let user_error = Object::new("UserError")
        .description("An error of the input. The command was not decided.")
        .field(
            Field::new("field", TypeRef::named_nn_list_nn(TypeRef::STRING), member("field"))
                .description("Path of the field within `input`; empty for the input as a whole."),
        )
        .field(Field::new("message", string(), member("message")))
        .field(
            Field::new("code", string(), member("code"))
                .description("Stable error code in upper case, such as INVALID_FIELD."),
        );
    let retry = Enum::new("Retry")
        .description("How a command that was not accepted may be retried.")
        .item(EnumItem::new("SAME_ID").description("Not decided. Send it again with the same id."))
        .item(EnumItem::new("NEW_ID").description("Refused. A new attempt needs a new id."))
        .item(EnumItem::new("NEVER").description("Not to be retried: it will always be refused."));
    schema.register(changed).register(receipt).register(rejection).register(user_error).register(retry)
}
