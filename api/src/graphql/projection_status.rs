//! `projectionStatus`: how far the read models are in the history of the caller's tenant.

use async_graphql::Value;
use async_graphql::dynamic::{Enum, Field, FieldFuture, FieldValue, InputValue, Object, SchemaBuilder, TypeRef};
use domain::shared::Permission;

use super::executor::viewer::Viewer;
use super::scalars::LONG;
use super::session::Session;
use super::value::{from_json, member};
use crate::error::Problem;
use crate::port::ProjectionStatus;

const STATUS: &str = "ProjectionStatus";
const STATE: &str = "ProjectionState";
/// Permission required to read it.
const NEEDS: Permission = Permission::SeeTenants;

pub(super) fn field() -> Field {
    let text = "How far the read models are in the history of the tenant, and what waits. Needs the permission to see the \
                tenant.";
    let field = Field::new("projectionStatus", TypeRef::named_nn_list_nn(STATUS), |context| {
        FieldFuture::new(async move {
            let model = context.args.get("model").and_then(|name| name.string().ok().map(str::to_owned));
            let statuses = read(&Session::of(&context)?.viewer, model).await.map_err(Problem::into_graphql)?;
            Ok(Some(FieldValue::list(statuses.into_iter().map(FieldValue::value))))
        })
    });
    let model =
        InputValue::new("model", TypeRef::named(TypeRef::STRING)).description("Only the read model of this name.");
    field.description(text).argument(model)
}

async fn read(viewer: &Viewer, model: Option<String>) -> Result<Vec<Value>, Problem> {
    if !viewer.caller.may(NEEDS) {
        return Err(Problem::forbidden("this caller may not read the status of read models"));
    }
    let backend = &viewer.service.backend;
    let fault = |fault| Problem::from_fault(&fault, backend.new_id());
    let statuses = backend.projection_status(viewer.caller.tenant).await.map_err(fault)?;
    let is_wanted = |status: &&ProjectionStatus| model.as_ref().is_none_or(|model| *model == status.model);
    Ok(statuses
        .iter()
        .filter(is_wanted)
        .map(|status| from_json(serde_json::to_value(status).unwrap_or_default()))
        .collect())
}

pub(super) fn register(schema: SchemaBuilder) -> SchemaBuilder {
    let field =
        |name: &str, kind: &str, text: &str| Field::new(name, TypeRef::named_nn(kind), member(name)).description(text);
    let status = Object::new(STATUS)
        .description("Progress of one read model in the history of the tenant.")
        .field(field("model", TypeRef::STRING, "Name of the read model."))
        .field(field("group", TypeRef::STRING, "Group of read models that it follows the log with."))
        .field(field("shape", TypeRef::STRING, "Version of its table."))
        .field(field("state", STATE, "State of the read model."))
        .field(field("position", LONG, "Number of the tenant's events that it contains; 0 while it is being built."))
        .field(field("behind", LONG, "Number of the tenant's events that it does not contain yet."))
        .field(field("parkedRows", LONG, "Number of rows that wait because an event could not be folded."))
        .field(field("parkedStreams", LONG, "Number of streams that wait because an event could not be decoded."));
    let state = Enum::new(STATE)
        .description("State of a read model: FOLLOWING the log, or BUILDING, when it cannot be queried yet.")
        .items(["FOLLOWING", "BUILDING"]);
    schema.register(status).register(state)
}
