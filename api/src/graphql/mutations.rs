//! One mutation per command.

use std::sync::Arc;

use async_graphql::Value;
use async_graphql::dynamic::{
    Enum, EnumItem, Field, FieldFuture, FieldValue, InputValue, Object, SchemaBuilder, TypeRef,
};
use commands::kernel::CommandKind;
use serde_json::{Value as Json, json};

use super::names::{camel, path};
use super::scalars::{JSON, LONG, TIMESTAMP, UUID};
use super::session::Session;
use super::types::{Types, Way};
use super::value::{Shape, from_json, member};
use crate::admission::rate_limit;
use crate::command_answer::CommandAnswer;
use crate::command_intake::CommandRequest;
use crate::error::Problem;

/// `reserveStock(input: ReserveStockInput!, commandId: ID): ReserveStockPayload`.
///
/// The payload may be null, so that one command that could not be decided now does not hide the answers of others.
pub(super) fn mutation(kind: &CommandKind, types: &mut Types) -> (Field, Object) {
    let root = kind.schema.as_value();
    let input = types.of(root, root, &kind.name, Way::In);
    let (name, shape) = (kind.name.clone(), Arc::new(input.shape.clone()));
    let payload = Object::new(format!("{name}Payload"))
        .description("What became of it: a receipt, with a rejection where the business said no; or user errors.")
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
            Ok(Some(FieldValue::value(from_json(told(answer).map_err(Problem::into_graphql)?))))
        })
    });
    let mut field = field.description(root["description"].as_str().unwrap_or_default());
    // GraphQL has no input without fields, and a command without fields needs none.
    if root["properties"].as_object().is_some_and(|fields| !fields.is_empty()) {
        field = field.argument(InputValue::new("input", input.type_ref(false)));
    }
    let told = "The caller's own id or key: sent again with the same input, it gets the same answer and has no effect.";
    let field = field.argument(InputValue::new("commandId", TypeRef::named(TypeRef::ID)).description(told));
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
    let service = &session.service;
    let counted = rate_limit::take_one(&*service.backend, &session.caller).await;
    counted.map_err(|allowance| rate_limit::problem(&allowance))?;
    let request = CommandRequest { name, body: body.as_bytes(), key, correlation: session.correlation };
    service.intake.execute(&session.caller, &request).await
}

/// What is wrong with the input is part of the payload; what is wrong with the request or the machine is an error.
fn told(answer: Result<CommandAnswer, Problem>) -> Result<Json, Problem> {
    match answer {
        Ok(answered) => {
            let mut payload = serde_json::to_value(answered).unwrap_or_default();
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

/// What all payloads share.
pub(super) fn register(schema: SchemaBuilder) -> SchemaBuilder {
    let string = || TypeRef::named_nn(TypeRef::STRING);
    let changed = Object::new("ChangedStream")
        .description("A stream and the number of its last event.")
        .field(Field::new("type", string(), member("type")))
        .field(Field::new("id", TypeRef::named_nn(UUID), member("id")))
        .field(Field::new("version", TypeRef::named_nn(LONG), member("version")));
    let receipt = Object::new("Receipt")
        .description("The proof that a command was decided.")
        .field(Field::new("tenantPosition", TypeRef::named_nn(LONG), member("tenantPosition")))
        .field(
            Field::new("token", string(), member("token"))
                .description("Opaque; a query with `minPosition: token` sees this command's effects."),
        )
        .field(Field::new("recordedAt", TypeRef::named_nn(TIMESTAMP), member("recordedAt")))
        .field(
            Field::new("replayed", TypeRef::named_nn(TypeRef::BOOLEAN), member("replayed"))
                .description("Whether it was decided earlier and this is the stored answer."),
        )
        .field(Field::new("changed", TypeRef::named_nn_list_nn("ChangedStream"), member("changed")));
    let rejection = Object::new("Rejection")
        .description("The business said no. Stored: the same command id gets the same answer for ever.")
        .field(Field::new("code", string(), member("code")).description("Stable and in capitals."))
        .field(Field::new("message", string(), member("message")))
        .field(Field::new("details", TypeRef::named(JSON), member("details")).description("The facts behind it."))
        .field(Field::new("retry", TypeRef::named_nn("Retry"), member("retry")));
    let user_error = Object::new("UserError")
        .description("Something is wrong with the input; nothing was decided.")
        .field(
            Field::new("field", TypeRef::named_nn_list_nn(TypeRef::STRING), member("field"))
                .description("The path of the field within `input`; empty for the whole."),
        )
        .field(Field::new("message", string(), member("message")))
        .field(Field::new("code", string(), member("code")).description("Stable and in capitals."));
    let retry = Enum::new("Retry")
        .description("What a caller may do after a command was not accepted.")
        .item(EnumItem::new("SAME_ID").description("Nothing was decided; send it again with the same id."))
        .item(EnumItem::new("NEW_ID").description("It was refused; a new attempt needs a new id."))
        .item(EnumItem::new("NEVER").description("It will be refused however often it is sent."));
    schema.register(changed).register(receipt).register(rejection).register(user_error).register(retry)
}
