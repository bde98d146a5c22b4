//! What watching rows gives: what is there now, and then whatever changes, the last value of each row.

use std::sync::{Arc, OnceLock};

use futures::stream::BoxStream;
use projections::kernel::Key;
use serde_json::Value as Json;

use crate::freshness::Freshness;

/// What a reader is told, until she goes away or is sent away. Between two items, changes of one row become one.
pub type Watching = BoxStream<'static, Result<Update, Ended>>;

/// A row as everybody who watches it shares it.
#[derive(Debug)]
pub struct LiveRow {
    pub key: Key,
    pub json: Json,
    /// The same for GraphQL, made when somebody first shows it.
    shown: OnceLock<async_graphql::Value>,
}

/// What has become of the rows that somebody watches.
#[derive(Clone, Debug)]
pub struct Update {
    /// Rows that are there now, new or changed.
    pub rows: Vec<Arc<LiveRow>>,
    /// Rows that went away, or do not fit any more.
    pub gone: Vec<Key>,
    /// In the first update: whether more rows fit than it has. They are told of when they change.
    pub more: bool,
    /// Everything up to here has been told.
    pub at: Freshness,
}

/// Why a reader is told no more. Whoever subscribes anew, with the last position, has missed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ended {
    /// It did not take what it was told in time.
    TooSlow,
    /// It watches more rows than one subscription may.
    TooManyRows,
    /// The read model was built anew, or this process fell too far behind: what was told cannot be built upon.
    StartOver,
    /// This process shuts down.
    ShuttingDown,
}

impl LiveRow {
    pub fn new(key: Key, json: Json) -> Self {
        Self { key, json, shown: OnceLock::new() }
    }

    pub(crate) fn shown(&self) -> &async_graphql::Value {
        self.shown.get_or_init(|| crate::graphql::from_json(self.json.clone()))
    }
}

impl Ended {
    /// What clients branch on.
    pub const fn code(self) -> &'static str {
        match self {
            Self::TooSlow => "TOO_SLOW",
            Self::TooManyRows => "TOO_MANY_ROWS",
            Self::StartOver => "START_OVER",
            Self::ShuttingDown => "SHUTTING_DOWN",
        }
    }

    /// For people.
    pub const fn told(self) -> &'static str {
        match self {
            Self::TooSlow => "the changes were not taken in time; subscribe again",
            Self::TooManyRows => "more rows changed than one subscription may watch; narrow the filter",
            Self::StartOver => "the rows were built anew or were missed; subscribe again",
            Self::ShuttingDown => "the process is shutting down; subscribe again",
        }
    }
}
