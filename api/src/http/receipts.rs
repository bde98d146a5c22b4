//! `GET /v1/receipts/{id}`: what a command was answered, for ever.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;

use crate::admission::command_id;
use crate::error::Problem;
use crate::front::Front;
use crate::receipt::Answered;

/// By the id, or by the key that it was sent under. Callers find their own commands only.
pub(super) async fn receipt(
    State(front): State<Arc<Front>>,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Json<Answered>, Problem> {
    let caller = front.auth.caller(&headers, front.backend.now())?;
    let unknown = || Problem::not_found("UNKNOWN_RECEIPT", "no command with this id was decided for this caller");
    let Path(id) = id.map_err(|_| unknown())?;
    let id = command_id(caller.tenant, &id)?;
    let recalled = front.backend.receipt(caller.tenant, caller.principal, id).await;
    let recalled = recalled.map_err(|fault| Problem::from_fault(&fault, front.backend.new_id()))?;
    let settled = recalled.ok_or_else(unknown)?.settled;
    Ok(Json(Answered::from_settled(id, settled, true)))
}
