//! Facts: events that decide nothing, such as a view or a like.

use super::{Aggregate, NoRejection};

/// An aggregate without state. Each of its streams is one event, whose id follows from the command that appended it; a
/// repeat of the command is recognised by its receipt. Nothing is loaded before a fact is appended and no snapshot is
/// written, so that facts may be many. Read models count them.
pub trait Fact: Aggregate<Rejection = NoRejection> {}
