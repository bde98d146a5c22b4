//! Facts: events that decide nothing, such as a view or a like.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use super::{Aggregate, Rejection};

/// An aggregate without state. Each of its streams is one event, whose id follows from the command that appended it; a
/// repeat of the command is recognised by its receipt. Nothing is loaded before a fact is appended and no snapshot is
/// written, so that facts may be many. Read models count them.
pub trait Fact: Aggregate<Rejection = NoRejection> {}

/// Rejections of an aggregate that rejects nothing.
#[derive(Clone, Debug, PartialEq)]
pub enum NoRejection {}

impl Rejection for NoRejection {}

impl std::error::Error for NoRejection {}

impl fmt::Display for NoRejection {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

impl Serialize for NoRejection {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        match *self {}
    }
}

impl JsonSchema for NoRejection {
    fn schema_name() -> Cow<'static, str> {
        "NoRejection".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "description": "There are no rejections.", "oneOf": [] })
    }
}
