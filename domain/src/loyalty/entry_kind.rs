//! The ways to points (LOY-23).

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// For what points are given.
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

/// Shown as it is stored.
impl fmt::Display for EntryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}
