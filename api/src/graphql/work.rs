//! Fields for operators: dead letters, positions of policies, circuit breakers.

use async_graphql::Value;
use async_graphql::dynamic::{
    Enum, Field, FieldFuture, FieldValue, InputValue, Object, ResolverContext, SchemaBuilder, TypeRef,
};
use domain::shared::{Permission, TenantId, Timestamp};
use serde::Serialize;
use serde_json::Value as Json;
use uuid::Uuid;

use super::executor::viewer::Viewer;
use super::page_size::{FIRST, FIRST_MOST};
use super::scalars::{JSON, LONG, TIMESTAMP, UUID};
use super::session::Session;
use super::value::{from_json, member};
use crate::admission::rate_limit;
use crate::error::Problem;
use crate::port::{DeadLetter, LetterCursor, LetterRemoval};

/// Name of the field that returns a page, for the estimate of costs.
const PAGE_FIELD: &str = "deadLetters";
/// Type of its rows.
const LETTER: &str = "DeadLetter";
/// The field of a page and the type of its rows.
pub(super) const PAGE: (&str, &str) = (PAGE_FIELD, LETTER);

/// Query fields.
pub(super) fn queries() -> [Field; 3] {
    let letters = Field::new(PAGE_FIELD, TypeRef::named_list("DeadLetter"), |context| {
        FieldFuture::new(async move { field(dead_letters(&Session::of(&context)?.viewer, &context).await) })
    });
    let letters = letters
        .description(
            "Work that failed for good and events that cannot be read, newest first. Operators of the platform see \
             those of all tenants. Needs the permission SeeWork.",
        )
        .argument(InputValue::new("first", TypeRef::named(TypeRef::INT)).default_value(FIRST))
        .argument(
            InputValue::new("after", TypeRef::named(TypeRef::STRING))
                .description("`cursor` of the last letter of the page before."),
        );
    let processes = Field::new("processStatus", TypeRef::named_list("ProcessStatus"), |context| {
        FieldFuture::new(async move { field(processes(&Session::of(&context)?.viewer).await) })
    });
    let processes = processes.description(
        "The position of each policy in each lane of the log. For operators of the platform, with the permission \
         SeeWork.",
    );
    let breakers = Field::new("breakerState", TypeRef::named_list("BreakerState"), |context| {
        FieldFuture::new(async move { field(breakers(&Session::of(&context)?.viewer).await) })
    });
    let breakers = breakers.description("The circuit breakers of partners. Needs the permission SeeWork.");
    [letters, processes, breakers]
}

/// Mutation fields.
pub(super) fn mutations() -> [Field; 2] {
    let requeue = Field::new("requeueDeadLetter", TypeRef::named("DeadLetter"), |context| {
        FieldFuture::new(async move { field(remove(&Session::of(&context)?.viewer, &context, true).await) })
    });
    let discard = Field::new("discardDeadLetter", TypeRef::named("DeadLetter"), |context| {
        FieldFuture::new(async move { field(remove(&Session::of(&context)?.viewer, &context, false).await) })
    });
    let id = || InputValue::new("id", TypeRef::named_nn(UUID));
    [
        requeue.argument(id()).description(
            "Tries the work of a dead letter again, under the same ids, and removes the letter. Needs the permission \
             ManageWork.",
        ),
        discard.argument(id()).description("Removes a dead letter for good. Needs the permission ManageWork."),
    ]
}

/// Registers the types of the fields.
pub(super) fn register(schema: SchemaBuilder) -> SchemaBuilder {
    let (string, int) = (|| TypeRef::named_nn(TypeRef::STRING), || TypeRef::named_nn(TypeRef::INT));
    let of = |name: &str, kind: TypeRef| Field::new(name, kind, member(name));
    let letter = Object::new("DeadLetter")
        .description("Work that failed for good, or an event that cannot be read.")
        .field(of("id", TypeRef::named_nn(UUID)))
        .field(of("tenant", TypeRef::named_nn(UUID)))
        .field(of("kind", TypeRef::named_nn("DeadLetterKind")))
        .field(of("source", string()).description("The policy or the read model."))
        .field(of("name", string()).description("Name of the command or effect, or the type of the stream."))
        .field(of("body", TypeRef::named(JSON)).description("The command or effect, or the place of the event."))
        .field(of("reason", string()).description("Error of the last attempt."))
        .field(of("attempts", int()))
        .field(of("failedAt", TypeRef::named_nn(TIMESTAMP)))
        .field(of("cursor", string()));
    let kind = Enum::new("DeadLetterKind")
        .description(
            "What failed: a command of a policy, a call to a partner, an event that a policy or a read model cannot read, \
             or the delivery to a webhook subscription, which is then paused. The engine tries an event that cannot be \
             read again by itself: a requeue makes it do so now, and it cannot be discarded. The requeue of a webhook \
             resumes the subscription.",
        )
        .items(["COMMAND", "EFFECT", "POLICY_STREAM", "READ_MODEL_KEY", "WEBHOOK"]);
    let process = Object::new("ProcessStatus")
        .description("Position of a policy in one lane of the log.")
        .field(of("policy", string()))
        .field(of("lane", int()))
        .field(of("position", TypeRef::named_nn(LONG)))
        .field(of("lag", TypeRef::named_nn(LONG)).description("Positions between the policy and the end of the lane."))
        .field(
            of("parkedStreams", TypeRef::named_nn(LONG))
                .description("Streams in which the policy waits at an event that it cannot read."),
        );
    let breaker = Object::new("BreakerState")
        .description("Circuit breaker of a partner of a tenant.")
        .field(of("tenant", TypeRef::named_nn(UUID)))
        .field(of("partner", string()))
        .field(of("state", TypeRef::named_nn("Breaker")))
        .field(of("failures", int()).description("Consecutive failures."))
        .field(of("openUntil", TypeRef::named(TIMESTAMP)));
    let state = Enum::new("Breaker")
        .description("CLOSED: the partner is called. OPEN: it is not. HALF_OPEN: the next call tests it.")
        .items(["CLOSED", "OPEN", "HALF_OPEN"]);
    schema.register(letter).register(kind).register(process).register(breaker).register(state)
}

/// Value of a field.
fn field<'a>(result: Result<Json, Problem>) -> async_graphql::Result<Option<FieldValue<'a>>> {
    result.map(|json| Some(FieldValue::value(from_json(json)))).map_err(Problem::into_graphql)
}

async fn dead_letters(viewer: &Viewer, context: &ResolverContext<'_>) -> Result<Json, Problem> {
    require(viewer, Permission::SeeWork)?;
    let first = match context.args.get("first").map(|value| value.as_value()) {
        Some(Value::Number(number)) => number.as_i64().unwrap_or(0),
        _ => i64::from(FIRST),
    };
    let valid = u32::try_from(first).ok().filter(|first| (1..=FIRST_MOST.unsigned_abs()).contains(&u64::from(*first)));
    let first = valid.ok_or_else(|| viewer.invalid("first", format!("expected 1 to {FIRST_MOST}")))?;
    let after = match context.args.get("after").map(|value| value.as_value()) {
        Some(Value::String(cursor)) => {
            Some(parse_cursor(cursor).ok_or_else(|| viewer.invalid("after", "not a cursor of a dead letter"))?)
        }
        _ => None,
    };
    let backend = &viewer.service.backend;
    let letters = backend.work().dead_letters(scope(viewer), after, first).await;
    let letters = letters.map_err(|fault| Problem::from_fault(&fault, backend.new_id()))?;
    Ok(letters.iter().map(letter_json).collect())
}

async fn remove(viewer: &Viewer, context: &ResolverContext<'_>, requeue: bool) -> Result<Json, Problem> {
    require(viewer, Permission::ManageWork)?;
    let backend = &viewer.service.backend;
    let counted = rate_limit::count_command(&**backend, &viewer.caller).await;
    counted.map_err(|allowance| rate_limit::problem(&allowance))?;
    let id = match context.args.get("id").map(|value| value.as_value()) {
        Some(Value::String(id)) => Uuid::try_parse(id).ok(),
        _ => None,
    };
    let id = id.ok_or_else(|| viewer.invalid("id", "expected a UUID"))?;
    let removal = backend.work().remove_dead_letter(scope(viewer), id, requeue).await;
    match removal.map_err(|fault| Problem::from_fault(&fault, backend.new_id()))? {
        LetterRemoval::Removed(letter) => Ok(letter_json(&letter)),
        LetterRemoval::Unknown => Err(Problem::not_found("UNKNOWN_DEAD_LETTER", "there is no such dead letter")),
        LetterRemoval::Refused(reason) => Err(viewer.invalid("id", reason)),
    }
}

async fn processes(viewer: &Viewer) -> Result<Json, Problem> {
    require(viewer, Permission::SeeWork)?;
    if scope(viewer).is_some() {
        return Err(Problem::forbidden("only operators of the platform see the positions of policies"));
    }
    let backend = &viewer.service.backend;
    let found = backend.work().processes().await;
    Ok(to_json(&found.map_err(|fault| Problem::from_fault(&fault, backend.new_id()))?))
}

async fn breakers(viewer: &Viewer) -> Result<Json, Problem> {
    require(viewer, Permission::SeeWork)?;
    let backend = &viewer.service.backend;
    let found = backend.work().breakers(scope(viewer)).await;
    Ok(to_json(&found.map_err(|fault| Problem::from_fault(&fault, backend.new_id()))?))
}

/// Fails if the caller has not this permission.
fn require(viewer: &Viewer, needs: Permission) -> Result<(), Problem> {
    match viewer.caller.may(needs) {
        true => Ok(()),
        false => Err(Problem::forbidden(format!("this needs the permission {needs:?}"))),
    }
}

/// The tenant whose work the caller sees; `None` for operators of the platform, who see that of all tenants.
fn scope(viewer: &Viewer) -> Option<TenantId> {
    Some(viewer.caller.tenant).filter(|tenant| *tenant != TenantId::PLATFORM)
}

/// Plain data as JSON, which cannot fail.
fn to_json(value: &impl Serialize) -> Json {
    serde_json::to_value(value).unwrap_or_default()
}

fn letter_json(letter: &DeadLetter) -> Json {
    let mut json = to_json(letter);
    json["cursor"] = format!("{}.{}", letter.failed_at.micros(), letter.id).into();
    json
}

fn parse_cursor(text: &str) -> Option<LetterCursor> {
    let (micros, id) = text.split_once('.')?;
    Some(LetterCursor { failed_at: Timestamp::from_micros(micros.parse().ok()?), id: Uuid::try_parse(id).ok()? })
}
