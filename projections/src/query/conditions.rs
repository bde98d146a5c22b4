//! Evaluates the conditions of a query on a row in memory, with the same result as a store.

use std::collections::BTreeSet;

use domain::shared::{Date, Timestamp};
use serde_json::Value;
use uuid::Uuid;

use super::{QueryError, RowQuery, Test, filterable, value_text};
use crate::kernel::{ColumnType, Key, Model};

/// Validated conditions of a query, evaluated against many rows. Sort order, page and tenant are not considered.
///
/// Two queries with the same conditions, in any order and notation, have equal ones.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Conditions(Vec<Condition>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Condition {
    field: String,
    kind: ColumnType,
    constraint: Constraint,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Constraint {
    /// Values in ascending order, each once.
    OneOf(Vec<Scalar>),
    From(Scalar),
    To(Scalar),
}

/// Value as its column compares it: two notations of one value are equal. Only values of one type are compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Scalar {
    Uuid(Uuid),
    Integer(i64),
    Boolean(bool),
    /// Compared byte by byte, like the columns of the stores.
    Text(String),
    Instant(Timestamp),
    Day(Date),
}

impl Conditions {
    /// Validates the conditions of a query as a store does.
    pub fn of(model: &Model, query: &RowQuery) -> Result<Self, QueryError> {
        let mut conditions = Vec::new();
        if let (Some(owner), Some(column)) = (query.owner, model.owner.and_then(|owner| model.column(owner))) {
            let constraint = Constraint::OneOf(vec![Scalar::Uuid(owner.uuid())]);
            conditions.push(Condition { field: column.name.clone(), kind: column.kind, constraint });
        }
        for filter in &query.filters {
            let column = filterable(model, &filter.field)?;
            let scalar = |value: &Value| {
                value_text(column, value)?;
                Scalar::of(column.kind, value).ok_or_else(|| QueryError::Misuse {
                    field: column.name.clone(),
                    text: format!("expected {}", column.kind.expected()),
                })
            };
            let constraint = match &filter.test {
                Test::Equals(value) => Constraint::OneOf(vec![scalar(value)?]),
                Test::In(values) => {
                    let values: BTreeSet<_> = values.iter().map(scalar).collect::<Result<_, _>>()?;
                    Constraint::OneOf(values.into_iter().collect())
                }
                Test::From(value) => Constraint::From(scalar(value)?),
                Test::To(value) => Constraint::To(scalar(value)?),
                Test::Tokens(_) => {
                    let text = "rows are found by their words in queries only, not in subscriptions".into();
                    return Err(QueryError::Misuse { field: "text".into(), text });
                }
            };
            conditions.push(Condition { field: column.name.clone(), kind: column.kind, constraint });
        }
        conditions.sort_unstable();
        conditions.dedup();
        Ok(Self(conditions))
    }

    /// True if a row meets all conditions. No condition on a field without a value is met.
    pub fn matches(&self, row: &Value) -> bool {
        self.0.iter().all(|condition| {
            Scalar::of(condition.kind, &row[&condition.field]).is_some_and(|value| match &condition.constraint {
                Constraint::OneOf(values) => values.contains(&value),
                Constraint::From(least) => value >= *least,
                Constraint::To(most) => value <= *most,
            })
        })
    }

    /// Key of the only row that can match, if the conditions fix one value for every key field.
    pub fn key(&self, model: &Model) -> Option<Key> {
        let value = |field: &&str| {
            self.0.iter().find_map(|condition| match (&condition.constraint, condition.field == *field) {
                (Constraint::OneOf(values), true) if values.len() == 1 => values.first().map(Scalar::to_json),
                _ => None,
            })
        };
        let values: Option<Vec<Value>> = model.key.iter().map(value).collect();
        values.map(|values| Key::of(&values))
    }
}

impl Scalar {
    fn of(kind: ColumnType, value: &Value) -> Option<Self> {
        Some(match kind {
            ColumnType::Integer => Self::Integer(value.as_i64()?),
            ColumnType::Boolean => Self::Boolean(value.as_bool()?),
            ColumnType::Uuid => Self::Uuid(value.as_str()?.parse().ok()?),
            ColumnType::Text => Self::Text(value.as_str()?.into()),
            ColumnType::Instant => Self::Instant(value.as_str()?.parse().ok()?),
            ColumnType::Day => Self::Day(value.as_str()?.parse().ok()?),
            ColumnType::Json => return None,
        })
    }

    /// JSON value in the notation of rows and keys.
    fn to_json(&self) -> Value {
        match self {
            Self::Uuid(id) => id.to_string().into(),
            Self::Integer(number) => (*number).into(),
            Self::Boolean(truth) => (*truth).into(),
            Self::Text(text) => text.as_str().into(),
            Self::Instant(instant) => instant.to_string().into(),
            Self::Day(day) => day.to_string().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::slice;

    use domain::shared::{CustomerId, SearchToken, TenantId};
    use serde_json::json;

    use super::*;
    use crate::inventory::{Reservation, StockLevel};
    use crate::loyalty::PointsBalance;
    use crate::query::Filter;

    const ONE: &str = "0190a5b2-7c3d-7e4f-8a9b-0c1d2e3f4a5b";
    const TWO: &str = "0190a5b2-7c3d-7e4f-8a9b-0c1d2e3f4a5c";

    fn conditions(model: &Model, tests: &[(&str, Test)]) -> Result<Conditions, QueryError> {
        let filter = |(field, test): &(&str, Test)| Filter { field: (*field).into(), test: test.clone() };
        let filters = tests.iter().map(filter).collect();
        Conditions::of(model, &RowQuery { filters, ..RowQuery::all(TenantId::new(Uuid::from_u128(1)), 1) })
    }

    #[test]
    fn values_are_compared_independent_of_notation() {
        let model = Model::of::<Reservation>();
        let row = json!({ "stock_item": ONE, "reservation": TWO, "units": 3, "until": "2026-11-20T12:00:00Z" });
        let matches = |field, test| conditions(&model, &[(field, test)]).expect("valid conditions").matches(&row);
        assert!(matches("until", Test::Equals("2026-11-20T13:00:00+01:00".into())));
        assert!(matches("until", Test::From("2026-11-20T11:59:59.999999Z".into())));
        assert!(!matches("until", Test::To("2026-11-20T11:59:59.999999Z".into())));
        assert!(matches("stock_item", Test::In(vec![TWO.into(), ONE.to_uppercase().into()])));
        assert!(!matches("stock_item", Test::In(vec![])));
        assert!(conditions(&model, &[]).expect("valid conditions").matches(&row));
    }

    #[test]
    fn order_and_notation_of_conditions_do_not_matter() {
        let model = Model::of::<Reservation>();
        let of = |tests: &[(&str, Test)]| conditions(&model, tests).expect("valid conditions");
        let (item, ids) =
            (("stock_item", Test::Equals(ONE.into())), |ids: [&str; 2]| Test::In(ids.map(Into::into).into()));
        let upper = TWO.to_uppercase();
        assert_eq!(of(&[item.clone(), ("order", ids([ONE, TWO]))]), of(&[("order", ids([&upper, ONE])), item.clone()]));
        assert_ne!(of(slice::from_ref(&item)), of(&[("stock_item", Test::From(ONE.into()))]));
        assert_ne!(of(&[item]), of(&[]));
    }

    #[test]
    fn field_without_a_value_matches_no_condition() {
        let model = Model::of::<Reservation>();
        let row = json!({ "stock_item": ONE, "reservation": TWO, "units": 3, "until": null });
        for test in [Test::From("2026-11-20T12:00:00Z".into()), Test::To("2026-11-20T12:00:00Z".into())] {
            assert!(!conditions(&model, &[("until", test)]).expect("valid conditions").matches(&row));
        }
    }

    #[test]
    fn conditions_that_a_store_refuses_are_refused() {
        let model = Model::of::<StockLevel>();
        let refused = |field, value: Value| conditions(&model, &[(field, Test::Equals(value))]).is_err();
        assert!(refused("on_hand", 1.into()) && refused("tenant", ONE.into()) && refused("available", "1".into()));
        assert!(refused("status", "a\0b".into()) && !refused("available", 1.into()));
    }

    #[test]
    fn words_are_no_condition_on_a_row_in_memory() {
        let model = Model::of::<crate::customers::Customer>();
        let words = conditions(&model, &[("customer", Test::Tokens(vec![SearchToken::new(1)]))]);
        assert!(matches!(words, Err(QueryError::Misuse { field, .. }) if field == "text"));
    }

    #[test]
    fn query_for_one_row_yields_its_key() {
        let model = Model::of::<Reservation>();
        let by = |test: Test| conditions(&model, &[("stock_item", Test::Equals(ONE.into())), ("reservation", test)]);
        let key = |test| by(test).expect("valid conditions").key(&model);
        assert_eq!(key(Test::Equals(TWO.to_uppercase().into())), Some(Key::of(&[ONE, TWO])));
        assert_eq!(key(Test::In(vec![ONE.into(), TWO.into()])), None);
    }

    #[test]
    fn owner_is_a_condition() {
        let model = Model::of::<PointsBalance>();
        let owner = model.owner.expect("the model has an owner");
        let customer = CustomerId::new(Uuid::from_u128(9));
        let query = RowQuery { owner: Some(customer), ..RowQuery::all(TenantId::new(Uuid::from_u128(1)), 1) };
        let conditions = Conditions::of(&model, &query).expect("valid conditions");
        assert!(conditions.matches(&json!({ owner: customer })) && !conditions.matches(&json!({ owner: ONE })));
    }
}
