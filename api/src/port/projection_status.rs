//! Progress of the read models, as one tenant sees it.

use serde::Serialize;

/// Progress of one read model in the history of one tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProjectionStatus {
    /// Name of the read model.
    pub model: String,
    /// Group of read models that it follows the log with.
    pub group: &'static str,
    /// Version of its table.
    pub shape: String,
    pub state: ProjectionState,
    /// Number of the tenant's events that it contains; 0 while it is being built.
    pub position: i64,
    /// Number of the tenant's events that it does not contain yet.
    pub behind: i64,
    /// Number of the tenant's rows that wait because an event could not be folded.
    pub parked_rows: i64,
    /// Number of the tenant's streams that wait because an event could not be decoded.
    pub parked_streams: i64,
}

/// State of a read model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ProjectionState {
    /// It can be queried and follows the log.
    Following,
    /// It is being built from the log and cannot be queried yet.
    Building,
}
