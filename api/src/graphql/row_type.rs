//! Row types: fields of the objects that rows become, with the places of their values.

use std::collections::HashMap;
use std::sync::Arc;

use projections::kernel::Model;

use super::value::Shape;
use crate::relation::Relation;

/// Fields of a row type, with the places of their values.
pub(super) struct RowType {
    pub(super) model: Arc<Model>,
    pub(super) fields: HashMap<String, Source>,
}

/// Place of the value of a field.
pub(super) enum Source {
    /// A column of the row, by its number; callers who see only the public fields do not see a restricted one.
    Column { column: usize, is_restricted: bool, shape: Shape },
    /// A sealed column, by its number, with the kind of the personal field.
    Personal { column: usize, kind: String },
    /// Rows of another read model.
    Relation(Relation),
}
