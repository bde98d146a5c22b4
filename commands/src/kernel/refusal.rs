//! The ways in which a command is not accepted. They are never mixed: each one tells the caller what to do next.

use std::borrow::Cow;

use domain::kernel::{Rejection, Retry, encode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a decision was not made in the caller's favour.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// The business says no. Stored: the same id gets the same answer for ever.
    Rejected(Rejected),
    /// Not decided; the same id may be sent again. Never stored.
    NotNow(NotNow),
    /// What was asked makes no sense, whatever the state. Never stored.
    Misuse(Misuse),
    /// A stream is not in memory yet; the scribe fetches it and asks again. Never seen by callers.
    Missing,
}

/// A stored "no" of the business.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rejected {
    /// Stable and in capitals, such as `OUT_OF_STOCK`.
    pub code: String,
    /// For people.
    pub message: String,
    /// The facts behind it, as a JSON object.
    pub details: serde_json::Value,
    pub retry: Retry,
}

/// Circumstances that pass.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
pub enum NotNow {
    #[error("the engine is busy; try again in {retry_after_s} s")]
    Overloaded { retry_after_s: u32 },
    #[error("the store cannot be reached right now")]
    StoreAway,
    #[error("the store is not safe to write to: {0}")]
    StoreUnsafe(String),
    #[error("the lane of this tenant is written by another process right now")]
    LaneElsewhere,
    #[error("the key store cannot be reached right now")]
    KeyStoreAway,
    #[error("the deadline of the request has passed")]
    DeadlinePassed,
    #[error("it is not due yet")]
    NotDue,
    #[error("nothing of it was left a moment ago; try again in {retry_after_ms} ms")]
    SoldOutForNow { retry_after_ms: u32 },
    #[error("the engine is shutting down")]
    ShuttingDown,
}

impl NotNow {
    /// The stable code callers may branch on.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Overloaded { .. } => "OVERLOADED",
            Self::StoreAway => "STORE_AWAY",
            Self::StoreUnsafe(_) => "STORE_UNSAFE",
            Self::LaneElsewhere => "LANE_ELSEWHERE",
            Self::KeyStoreAway => "KEY_STORE_AWAY",
            Self::DeadlinePassed => "DEADLINE_PASSED",
            Self::NotDue => "NOT_DUE",
            Self::SoldOutForNow { .. } => "SOLD_OUT_FOR_NOW",
            Self::ShuttingDown => "SHUTTING_DOWN",
        }
    }
}

/// Input that does not parse or is not allowed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Misuse {
    /// Stable and in capitals, such as `INVALID_FIELD`.
    pub code: Cow<'static, str>,
    /// Where in the input, as a path of field names; empty for the whole.
    pub field: String,
    pub message: String,
}

impl Misuse {
    pub fn new(code: impl Into<Cow<'static, str>>, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), field: field.into(), message: message.into() }
    }
}

/// Turns a typed rejection into the refusal that is stored and shown.
pub fn rejected(rejection: impl Rejection) -> Refusal {
    let retry = rejection.retry();
    let message = rejection.to_string();
    let (code, details) = match encode(&rejection) {
        Ok(named) => (named.name.into(), serde_json::from_str(&named.body).unwrap_or_default()),
        Err(unreadable) => (String::from("UNREADABLE"), serde_json::Value::from(unreadable.to_string())),
    };
    Refusal::Rejected(Rejected { code, message, details, retry })
}
