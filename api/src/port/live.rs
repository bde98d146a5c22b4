//! Live rows: the current rows of a query, followed by every change. Changes of one row between two updates are
//! merged into its last value.

use std::sync::{Arc, OnceLock};

use futures::stream::BoxStream;
use projections::kernel::Key;
use serde_json::Value as Json;

use super::freshness::Freshness;

/// Updates for one subscriber. If the backend ends the subscription, the last item is the reason.
pub type LiveUpdates = BoxStream<'static, Result<Update, Ended>>;

/// A row, shared by all its subscribers.
#[derive(Debug)]
pub struct LiveRow {
    pub key: Key,
    pub json: Json,
    /// The row as a GraphQL value, made at first use and shared by all subscribers.
    graphql: OnceLock<async_graphql::Value>,
}

/// Changes of the rows of one subscription.
#[derive(Clone, Debug)]
pub struct Update {
    /// Rows that are present (first update), new or changed.
    pub rows: Vec<Arc<LiveRow>>,
    /// Keys of rows that were deleted or no longer match.
    pub gone: Vec<Key>,
    /// True in the first update if more rows match than it contains. The others are sent when they change.
    pub more: bool,
    /// Position up to which all changes have been sent.
    pub at: Freshness,
}

/// Reason for the end of a subscription. A client that subscribes again with its last position gets every change since,
/// or an error if it must start without a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ended {
    /// The client did not read its updates in time.
    TooSlow,
    /// More rows changed than one subscription may buffer.
    TooManyRows,
    /// The read model was rebuilt, or this process missed too many changes to find them again.
    StartOver,
    /// This process shuts down.
    ShuttingDown,
}

impl LiveRow {
    pub fn new(key: Key, json: Json) -> Self {
        Self { key, json, graphql: OnceLock::new() }
    }

    /// The row as a GraphQL value; `convert` runs once per row.
    pub(crate) fn graphql(&self, convert: impl FnOnce(Json) -> async_graphql::Value) -> &async_graphql::Value {
        self.graphql.get_or_init(|| convert(self.json.clone()))
    }
}

impl Ended {
    /// Stable code for clients to branch on.
    pub const fn code(self) -> &'static str {
        match self {
            Self::TooSlow => "TOO_SLOW",
            Self::TooManyRows => "TOO_MANY_ROWS",
            Self::StartOver => "START_OVER",
            Self::ShuttingDown => "SHUTTING_DOWN",
        }
    }

    /// Text for people.
    pub const fn message(self) -> &'static str {
        match self {
            Self::TooSlow => "the client did not read its updates in time; subscribe again",
            Self::TooManyRows => "more rows changed than one subscription may buffer; narrow the filter",
            Self::StartOver => "the read model was rebuilt or changes were missed; subscribe again",
            Self::ShuttingDown => "the process is shutting down; subscribe again",
        }
    }
}
