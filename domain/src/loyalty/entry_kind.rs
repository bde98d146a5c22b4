//! Kind of a points entry (LOY-23).

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Reason for which points are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    Purchase,
    Signup,
    Review,
    Birthday,
    Referral,
    Campaign,
    AdminAdjust,
}

/// Same text as in JSON.
impl fmt::Display for EntryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}
