//! Queries for rows of one read model. Values from a caller are validated here before they reach a store.

mod cells;
mod conditions;
mod parents;

use domain::shared::{CustomerId, SearchToken, TenantId};
use serde_json::Value;

use crate::kernel::{Column, Model};
use crate::ports::{Checkpoint, Fault};

pub use cells::{CellPage, CellPages, Cells};
pub use conditions::Conditions;
pub use parents::Parents;

/// Query for rows of one read model.
#[derive(Clone, Debug, PartialEq)]
pub struct RowQuery {
    pub tenant: TenantId,
    /// Restricts to rows of this customer; set it whenever a customer queries a model with an owner.
    pub owner: Option<CustomerId>,
    pub filters: Vec<Filter>,
    /// Sort order; key order if `None`.
    pub order: Option<SortOrder>,
    /// Cursor after which the page begins.
    pub after: Option<Cursor>,
    /// Maximum number of rows.
    pub first: u32,
    /// Also counts all matching rows; the cost grows with their number.
    pub count: bool,
    /// Bypasses the row cache: the caller required a position, which cached rows may not have reached.
    pub bypass_cache: bool,
}

/// Condition on a key field or an indexed field.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    pub field: String,
    pub test: Test,
}

/// Test that the value of a field must pass.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    Equals(Value),
    In(Vec<Value>),
    /// Greater than or equal.
    From(Value),
    /// Less than or equal.
    To(Value),
    /// The person in this field, the key, has all these search tokens. A store answers it; a row in memory has no tokens.
    Tokens(Vec<SearchToken>),
}

/// Sort order. Rows without a value come last, or first if descending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SortOrder {
    pub field: String,
    pub descending: bool,
}

/// Position of a row in a sort order: its sort value, if sorted by a field, and its key, as a JSON array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(pub String);

/// One page of matching rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub rows: Vec<Row>,
    /// True if more rows follow.
    pub more: bool,
    /// Checkpoint that these rows reflect, in the lane of the tenant.
    pub at: Checkpoint,
    pub count: Option<i64>,
}

/// One row and its cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// JSON text with the fields in the order of the row type.
    pub json: String,
    pub cursor: Cursor,
}

/// Error of a query.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The query is invalid; the text is for the caller.
    #[error("`{field}`: {text}")]
    Misuse { field: String, text: String },
    /// The read model is still being built; it can be queried later.
    #[error("{model} is being built")]
    Building { model: String },
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl RowQuery {
    /// Queries the first rows of a tenant in key order.
    pub fn all(tenant: TenantId, first: u32) -> Self {
        Self {
            tenant,
            owner: None,
            filters: Vec::new(),
            order: None,
            after: None,
            first,
            count: false,
            bypass_cache: false,
        }
    }

    /// Columns of the sort order: the requested field, then the key.
    pub fn order_columns<'m>(&self, model: &'m Model) -> Result<Vec<&'m Column>, QueryError> {
        let first = self.order.as_ref().map(|order| filterable(model, &order.field)).transpose()?;
        Ok(first.into_iter().chain(model.key.iter().filter_map(|field| model.column(field))).collect())
    }

    pub fn descending(&self) -> bool {
        self.order.as_ref().is_some_and(|order| order.descending)
    }
}

impl Cursor {
    /// Makes the cursor of a row for these sort columns.
    pub fn of(row: &Value, columns: &[&Column]) -> Self {
        let values: Vec<_> = columns.iter().map(|column| &row[&column.name]).collect();
        Self(serde_json::to_string(&values).unwrap_or_default())
    }

    /// Values in text form, one per column; `None` for a row without a sort value. Checks a cursor sent by a caller.
    pub fn values(&self, columns: &[&Column]) -> Result<Vec<Option<String>>, QueryError> {
        let misuse = || QueryError::Misuse { field: "after".into(), text: "not a cursor of this sort order".into() };
        let values: Vec<Value> = serde_json::from_str(&self.0).map_err(|_| misuse())?;
        if values.len() != columns.len() {
            return Err(misuse());
        }
        let text = |(column, value): (&&Column, &Value)| match value {
            Value::Null if column.optional => Ok(None),
            value => column.kind.text(value).map(Some).ok_or_else(misuse),
        };
        columns.iter().zip(&values).map(text).collect()
    }
}

/// Column of this name, if callers may filter and order by it.
pub fn filterable<'m>(model: &'m Model, field: &str) -> Result<&'m Column, QueryError> {
    let is_allowed = model.key.contains(&field) || model.indexed.contains(&field);
    model.column(field).filter(|_| is_allowed).ok_or_else(|| {
        let text = format!("{} cannot be filtered or ordered by this field", model.fields());
        QueryError::Misuse { field: field.into(), text }
    })
}

/// Converts a caller's value to the text form of its column.
pub fn value_text(column: &Column, value: &Value) -> Result<String, QueryError> {
    let text = || format!("expected {}", column.kind.expected());
    column.kind.text(value).ok_or_else(|| QueryError::Misuse { field: column.name.clone(), text: text() })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::inventory::{Reservation, StockLevel};

    fn by(field: &str) -> RowQuery {
        let order = Some(SortOrder { field: field.into(), descending: true });
        RowQuery { order, ..RowQuery::all(TenantId::new(Uuid::from_u128(1)), 10) }
    }

    #[test]
    fn only_key_and_indexed_fields_can_be_used() {
        let model = Model::of::<StockLevel>();
        let names = |columns: Vec<&Column>| columns.iter().map(|column| column.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(by("available").order_columns(&model).expect("indexed")), ["available", "stock_item"]);
        assert!(by("on_hand").order_columns(&model).is_err());
        assert!(by("tenant").order_columns(&model).is_err());
    }

    #[test]
    fn cursor_from_a_caller_is_validated() {
        let model = Model::of::<Reservation>();
        let columns = by("until").order_columns(&model).expect("indexed");
        let id = "0190a5b2-7c3d-7e4f-8a9b-0c1d2e3f4a5b";
        let row = serde_json::json!({ "until": null, "stock_item": id, "reservation": id, "units": 1 });
        let cursor = Cursor::of(&row, &columns);
        assert_eq!(cursor.values(&columns).expect("a valid cursor"), [None, Some(id.into()), Some(id.into())]);
        for forged in ["", "[]", "[null,null,null]", r#"["now","a","b"]"#, "[1,2,3]"] {
            assert!(Cursor(forged.into()).values(&columns).is_err(), "{forged}");
        }
    }

    #[test]
    fn value_must_match_the_type_of_its_column() {
        let model = Model::of::<StockLevel>();
        let text = |field: &str, value: Value| value_text(filterable(&model, field).expect("indexed"), &value).ok();
        assert_eq!(text("available", 5.into()).as_deref(), Some("5"));
        assert_eq!(text("available", "5".into()), None);
        assert_eq!(text("product", "5".into()), None);
        assert_eq!(text("status", "a\0b".into()), None);
    }
}
