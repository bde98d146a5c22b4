//! `GET /v1/receipts/{id}`: the stored answer of a command, kept without a time limit.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};

use crate::command_answer::CommandAnswer;
use crate::command_intake::command_id;
use crate::error::Problem;
use crate::port::{Backend, Caller};

/// Finds a command of this caller by its id, or by the idempotency key that it was sent under.
pub(super) async fn receipt(
    caller: Caller,
    State(backend): State<Arc<dyn Backend>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<CommandAnswer>, Problem> {
    let unknown = || Problem::not_found("UNKNOWN_RECEIPT", "no command with this id was decided for this caller");
    let Path(id) = id.map_err(|_| unknown())?;
    let id = command_id(caller.tenant, &id)?;
    let recalled = backend.receipt(caller.tenant, caller.principal, id).await;
    let recalled = recalled.map_err(|fault| Problem::from_fault(&fault, backend.new_id()))?;
    let settled = recalled.ok_or_else(unknown)?.settled;
    Ok(Json(CommandAnswer::from_settled(id, settled, true)))
}
