//! Plan of a document: what to read, and where each value belongs in the answer.

use std::sync::Arc;

use async_graphql::parser::types::{ExecutableDocument, Field, VariableDefinition};
use projections::kernel::Model;

/// Plan of a document with one operation.
pub(in crate::graphql) struct Plan {
    /// The document, from which the cost of a request is estimated.
    pub(in crate::graphql) document: ExecutableDocument,
    pub(super) operation: Option<String>,
    pub(super) variables: Vec<VariableDefinition>,
    pub(super) roots: Vec<(Label, Root)>,
}

/// Name of a field in the answer, as JSON with the colon.
pub(super) type Label = String;

pub(super) enum Root {
    /// A constant, as JSON.
    Constant(String),
    Read(Box<Read>),
}

/// Rows of one read model that are read together.
pub(super) struct Read {
    pub(super) model: Arc<Model>,
    /// The field with its arguments, without its selections.
    pub(super) field: Field,
    /// `None` for a single row.
    pub(super) page: Option<PagePlan>,
    pub(super) row: RowPlan,
}

/// Selections of a row.
#[derive(Default)]
pub(super) struct RowPlan {
    /// Numbers of the columns that are read, each once.
    pub(super) columns: Vec<usize>,
    pub(super) fields: Vec<(Label, RowField)>,
    pub(super) relations: Vec<RelatedRead>,
}

/// Value of a field of a row. A cell is given by its place in [`RowPlan::columns`].
pub(super) enum RowField {
    /// A constant, as JSON.
    Constant(String),
    /// A cell; a restricted one is null for callers who see only the public fields.
    Cell { cell: usize, is_restricted: bool, nested: Option<Nested> },
    /// A sealed cell.
    Personal { cell: usize, kind: String },
    /// A relation, by its place in [`RowPlan::relations`].
    Related(usize),
}

/// Selections within a cell that holds objects.
pub(super) enum Nested {
    /// The value as it is.
    Whole,
    List(Box<Self>),
    Object(Vec<(Label, NestedField)>),
}

pub(super) enum NestedField {
    /// A constant, as JSON.
    Constant(String),
    /// A member of the object, by its name.
    Member(String, Nested),
}

/// Rows that belong to a row.
pub(super) struct RelatedRead {
    /// Cells of the row that connect it, by their place in [`RowPlan::columns`].
    pub(super) cells: Vec<usize>,
    /// Columns of the other rows that hold the same values.
    pub(super) columns: Vec<String>,
    pub(super) read: Read,
}

/// Selections of a page.
#[derive(Default)]
pub(super) struct PagePlan {
    pub(super) fields: Vec<(Label, PageField)>,
    /// True if the total number of rows is selected.
    pub(super) count: bool,
    /// True if a cursor is selected.
    pub(super) cursors: bool,
    /// Name of the variable that is the whole filter.
    pub(super) filter_variable: Option<String>,
}

pub(super) enum PageField {
    /// A constant, as JSON.
    Constant(String),
    Edges(Vec<(Label, EdgeField)>),
    PageInfo(Vec<(Label, PageInfoField)>),
    TotalCount,
}

pub(super) enum EdgeField {
    /// A constant, as JSON.
    Constant(String),
    Cursor,
    Node,
}

pub(super) enum PageInfoField {
    /// A constant, as JSON.
    Constant(String),
    HasNextPage,
    HasPreviousPage,
    StartCursor,
    EndCursor,
}

impl Plan {
    /// True if a request that names this operation runs the operation of the plan.
    pub(super) fn runs(&self, operation: Option<&str>) -> bool {
        operation.is_none() || operation == self.operation.as_deref()
    }

    /// All reads at the root.
    pub(super) fn reads(&self) -> impl Iterator<Item = &Read> {
        self.roots.iter().filter_map(|(_, root)| match root {
            Root::Read(read) => Some(&**read),
            Root::Constant(_) => None,
        })
    }
}

impl Read {
    /// Visits this read and all reads below it.
    pub(super) fn visit<'p>(&'p self, visit: &mut impl FnMut(&'p Self)) {
        visit(self);
        for related in &self.row.relations {
            related.read.visit(visit);
        }
    }
}
