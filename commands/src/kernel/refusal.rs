//! Refusals: the ways in which a command is not accepted. Each implies a different next step for the caller.

use std::borrow::Cow;

use domain::kernel::{Rejection, Retry, encode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Reason why a command was not accepted.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// Rejected by a business rule. Stored: the same id always gets the same answer.
    Rejected(Rejected),
    /// Not decided; the same id may be sent again. Never stored.
    NotNow(NotNow),
    /// Invalid in every state. Never stored.
    Misuse(Misuse),
    /// A stream is not in memory; the scribe loads it and decides again. No caller gets this refusal.
    Missing,
}

/// A stored rejection by a business rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rejected {
    /// Stable code in capitals, such as `OUT_OF_STOCK`.
    pub code: String,
    /// Text for people; may change.
    pub message: String,
    /// The facts behind the rejection, as a JSON object.
    pub details: serde_json::Value,
    pub retry: Retry,
}

/// Temporary conditions under which the engine does not decide. The same id may be sent again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
pub enum NotNow {
    #[error("the engine is busy; try again in {retry_after_s} s")]
    Overloaded { retry_after_s: u32 },
    #[error("the event store cannot be reached; try again")]
    StoreAway,
    #[error("the store is not safe to write to: {0}")]
    StoreUnsafe(String),
    /// The difference from the database's clock follows `is`.
    #[error("the clock of the process is {0} the database's; try again")]
    ClockOff(String),
    #[error("another process owns the lane of this tenant; try again")]
    LaneElsewhere,
    #[error("the key store cannot be reached; try again")]
    KeyStoreAway,
    #[error("the deadline of the request has passed; try again")]
    DeadlinePassed,
    #[error("the command is not due yet")]
    NotDue,
    #[error("sold out a moment ago; try again in {retry_after_ms} ms")]
    SoldOutForNow { retry_after_ms: u32 },
    #[error("the process is shutting down; try again")]
    ShuttingDown,
    /// A rejection with [`Retry::SameId`]: what the command needs is about to come.
    #[error("{message}")]
    NotYet { code: String, message: String },
}

impl NotNow {
    /// The stable code that callers may branch on.
    pub fn code(&self) -> &str {
        match self {
            Self::Overloaded { .. } => "OVERLOADED",
            Self::StoreAway => "STORE_AWAY",
            Self::StoreUnsafe(_) => "STORE_UNSAFE",
            Self::ClockOff(_) => "CLOCK_OFF",
            Self::LaneElsewhere => "LANE_ELSEWHERE",
            Self::KeyStoreAway => "KEY_STORE_AWAY",
            Self::DeadlinePassed => "DEADLINE_PASSED",
            Self::NotDue => "NOT_DUE",
            Self::SoldOutForNow { .. } => "SOLD_OUT_FOR_NOW",
            Self::ShuttingDown => "SHUTTING_DOWN",
            Self::NotYet { code, .. } => code,
        }
    }
}

/// Input that does not parse or is not allowed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Misuse {
    /// Stable code in capitals, such as `INVALID_FIELD`.
    pub code: Cow<'static, str>,
    /// Path of the field in the input; empty for the whole input.
    pub field: String,
    pub message: String,
}

impl Misuse {
    pub fn new(code: impl Into<Cow<'static, str>>, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), field: field.into(), message: message.into() }
    }
}

/// Converts a typed rejection into the refusal that is stored and returned.
pub fn rejected(rejection: impl Rejection) -> Refusal {
    let retry = rejection.retry();
    let message = rejection.to_string();
    let (code, details) = match encode(&rejection) {
        Ok(named) => (named.name.into(), serde_json::from_str(&named.body).unwrap_or_default()),
        Err(unreadable) => (String::from("UNREADABLE"), serde_json::Value::from(unreadable.to_string())),
    };
    Refusal::Rejected(Rejected { code, message, details, retry })
}
