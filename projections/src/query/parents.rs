//! Parents of a relation: one query answered for several rows at once.

use serde_json::Value;

use super::{Filter, RowQuery, Test};

/// Rows whose related rows are read together. Each gets a page of its own: the rows whose columns hold its values.
#[derive(Clone, Debug, PartialEq)]
pub struct Parents {
    /// Columns that connect the rows, key fields or indexed ones.
    pub columns: Vec<String>,
    /// Values of each parent, in the order of the columns.
    pub values: Vec<Vec<Value>>,
}

impl RowQuery {
    /// This query for one parent alone.
    pub fn of_parent(&self, columns: &[String], values: &[Value]) -> Self {
        let equals =
            |(field, value): (&String, &Value)| Filter { field: field.clone(), test: Test::Equals(value.clone()) };
        let mut query = self.clone();
        query.filters.extend(columns.iter().zip(values).map(equals));
        query
    }
}
