//! What readers ask of one read model. Whatever a caller sends is checked here before a store sees it.

mod conditions;

use domain::shared::{CustomerId, TenantId};
use serde_json::Value;

use crate::kernel::{Column, Model};
use crate::ports::{Checkpoint, Fault};

pub use conditions::Conditions;

/// Which rows, in which order, how many.
#[derive(Clone, Debug)]
pub struct Question {
    pub tenant: TenantId,
    /// Only this customer's rows; set it whenever a customer asks and the model has an owner.
    pub owner: Option<CustomerId>,
    pub filters: Vec<Filter>,
    /// By which field; in the order of the key without one.
    pub order: Option<Order>,
    /// Behind which row to begin.
    pub after: Option<Cursor>,
    /// How many rows at most.
    pub first: u32,
    /// Whether to count all rows that fit, which costs more the more there are.
    pub count: bool,
    /// Not from a copy: the reader demanded a position, and waited for it.
    pub newest: bool,
}

/// One condition on a key field or an indexed field.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    pub field: String,
    pub test: Test,
}

/// What a field must be.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    Equals(Value),
    In(Vec<Value>),
    /// At least.
    From(Value),
    /// At most.
    To(Value),
}

/// By which field rows are ordered; rows without a value come last, or first when descending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    pub field: String,
    pub descending: bool,
}

/// Where a row stands in an order: its sort value, if it was ordered by a field, and its key, as a JSON array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(pub String);

/// The rows that fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub rows: Vec<Row>,
    /// Whether more rows follow.
    pub more: bool,
    /// What these rows are true at, in the lane of the tenant.
    pub at: Checkpoint,
    pub count: Option<i64>,
}

/// One row and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// JSON text with the fields in the order of the row type.
    pub json: String,
    pub cursor: Cursor,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// The question makes no sense; the text is for the caller.
    #[error("`{field}`: {text}")]
    Misuse { field: String, text: String },
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl Question {
    /// The first rows of a tenant in the order of their keys.
    pub fn all(tenant: TenantId, first: u32) -> Self {
        Self { tenant, owner: None, filters: Vec::new(), order: None, after: None, first, count: false, newest: false }
    }

    /// The columns by which rows are ordered: the field asked for, then the key.
    pub fn order_columns<'m>(&self, model: &'m Model) -> Result<Vec<&'m Column>, NoAnswer> {
        let first = self.order.as_ref().map(|order| askable(model, &order.field)).transpose()?;
        Ok(first.into_iter().chain(model.key.iter().filter_map(|field| model.column(field))).collect())
    }

    pub fn descending(&self) -> bool {
        self.order.as_ref().is_some_and(|order| order.descending)
    }
}

impl Cursor {
    /// Where a row stands in the order of these columns.
    pub fn of(row: &Value, columns: &[&Column]) -> Self {
        let values: Vec<_> = columns.iter().map(|column| &row[&column.name]).collect();
        Self(serde_json::to_string(&values).unwrap_or_default())
    }

    /// The values as texts, one per column; nothing where a row has no value to sort by.
    pub fn values(&self, columns: &[&Column]) -> Result<Vec<Option<String>>, NoAnswer> {
        let misuse = || NoAnswer::Misuse { field: "after".into(), text: "this is no cursor of this order".into() };
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

/// A column that readers may filter and order by.
pub fn askable<'m>(model: &'m Model, field: &str) -> Result<&'m Column, NoAnswer> {
    let known = model.key.contains(&field) || model.indexed.contains(&field);
    model.column(field).filter(|_| known).ok_or_else(|| {
        let text = format!("{} cannot be filtered or ordered by this field", model.fields());
        NoAnswer::Misuse { field: field.into(), text }
    })
}

/// A caller's value as the text of its column.
pub fn value_text(column: &Column, value: &Value) -> Result<String, NoAnswer> {
    let text = || format!("expected {}", column.kind.expected());
    column.kind.text(value).ok_or_else(|| NoAnswer::Misuse { field: column.name.clone(), text: text() })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::inventory::{Reservation, StockLevel};

    fn by(field: &str) -> Question {
        let order = Some(Order { field: field.into(), descending: true });
        Question { order, ..Question::all(TenantId::new(Uuid::from_u128(1)), 10) }
    }

    #[test]
    fn only_keys_and_indexed_fields_can_be_asked_for() {
        let model = Model::of::<StockLevel>();
        let names = |columns: Vec<&Column>| columns.iter().map(|column| column.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(by("available").order_columns(&model).expect("indexed")), ["available", "stock_item"]);
        assert!(by("on_hand").order_columns(&model).is_err());
        assert!(by("tenant").order_columns(&model).is_err());
    }

    #[test]
    fn a_cursor_comes_back_checked() {
        let model = Model::of::<Reservation>();
        let columns = by("until").order_columns(&model).expect("indexed");
        let id = "0190a5b2-7c3d-7e4f-8a9b-0c1d2e3f4a5b";
        let row = serde_json::json!({ "until": null, "stock_item": id, "reservation": id, "units": 1 });
        let cursor = Cursor::of(&row, &columns);
        assert_eq!(cursor.values(&columns).expect("ours"), [None, Some(id.into()), Some(id.into())]);
        for forged in ["", "[]", "[null,null,null]", r#"["now","a","b"]"#, "[1,2,3]"] {
            assert!(Cursor(forged.into()).values(&columns).is_err(), "{forged}");
        }
    }

    #[test]
    fn a_value_must_be_of_its_columns_kind() {
        let model = Model::of::<StockLevel>();
        let text = |field: &str, value: Value| value_text(askable(&model, field).expect("indexed"), &value).ok();
        assert_eq!(text("available", 5.into()).as_deref(), Some("5"));
        assert_eq!(text("available", "5".into()), None);
        assert_eq!(text("product", "5".into()), None);
        assert_eq!(text("status", "a\0b".into()), None);
    }
}
