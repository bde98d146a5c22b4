//! Holds the conditions of a question against a row in memory, with the answer that a store would give.

use domain::shared::{Date, Timestamp};
use serde_json::Value;
use uuid::Uuid;

use super::{NoAnswer, Question, Test, askable, value_text};
use crate::kernel::{Key, Kind, Model};

/// What rows must be for a question, checked once and then held against many rows. Order, page and tenant are not
/// looked at.
#[derive(Clone, Debug)]
pub struct Conditions(Vec<Condition>);

#[derive(Clone, Debug)]
struct Condition {
    field: String,
    kind: Kind,
    wanted: Wanted,
}

#[derive(Clone, Debug)]
enum Wanted {
    OneOf(Vec<Plain>),
    From(Plain),
    To(Plain),
}

/// A value as its column compares it, whatever its spelling was. Only values of one kind meet.
#[derive(Clone, Debug, PartialEq, PartialOrd)]
enum Plain {
    Uuid(Uuid),
    Integer(i64),
    Truth(bool),
    /// Compared byte by byte, as the stores' columns are.
    Text(String),
    Instant(Timestamp),
    Day(Date),
}

impl Conditions {
    /// Refuses what a store would refuse.
    pub fn of(model: &Model, question: &Question) -> Result<Self, NoAnswer> {
        let mut conditions = Vec::new();
        if let (Some(owner), Some(column)) = (question.owner, model.owner.and_then(|owner| model.column(owner))) {
            let wanted = Wanted::OneOf(vec![Plain::Uuid(owner.uuid())]);
            conditions.push(Condition { field: column.name.clone(), kind: column.kind, wanted });
        }
        for filter in &question.filters {
            let column = askable(model, &filter.field)?;
            let plain = |value: &Value| {
                value_text(column, value)?;
                Plain::of(column.kind, value).ok_or_else(|| NoAnswer::Misuse {
                    field: column.name.clone(),
                    text: format!("expected {}", column.kind.expected()),
                })
            };
            let wanted = match &filter.test {
                Test::Equals(value) => Wanted::OneOf(vec![plain(value)?]),
                Test::In(values) => Wanted::OneOf(values.iter().map(plain).collect::<Result<_, _>>()?),
                Test::From(value) => Wanted::From(plain(value)?),
                Test::To(value) => Wanted::To(plain(value)?),
            };
            conditions.push(Condition { field: column.name.clone(), kind: column.kind, wanted });
        }
        Ok(Self(conditions))
    }

    /// Whether a row is one of those that were asked for. A field without a value fits no condition.
    pub fn hold(&self, row: &Value) -> bool {
        self.0.iter().all(|condition| {
            Plain::of(condition.kind, &row[&condition.field]).is_some_and(|value| match &condition.wanted {
                Wanted::OneOf(wanted) => wanted.contains(&value),
                Wanted::From(least) => value >= *least,
                Wanted::To(most) => value <= *most,
            })
        })
    }

    /// The key of the only row that can be meant, where the conditions name one value for every field of the key.
    pub fn key(&self, model: &Model) -> Option<Key> {
        let value = |field: &&str| {
            self.0.iter().find_map(|condition| match (&condition.wanted, condition.field == *field) {
                (Wanted::OneOf(wanted), true) if wanted.len() == 1 => wanted.first().map(Plain::to_json),
                _ => None,
            })
        };
        let values: Option<Vec<Value>> = model.key.iter().map(value).collect();
        values.map(|values| Key::of(&values))
    }
}

impl Plain {
    fn of(kind: Kind, value: &Value) -> Option<Self> {
        Some(match kind {
            Kind::Integer => Self::Integer(value.as_i64()?),
            Kind::Boolean => Self::Truth(value.as_bool()?),
            Kind::Uuid => Self::Uuid(value.as_str()?.parse().ok()?),
            Kind::Text => Self::Text(value.as_str()?.into()),
            Kind::Instant => Self::Instant(value.as_str()?.parse().ok()?),
            Kind::Day => Self::Day(value.as_str()?.parse().ok()?),
            Kind::Json => return None,
        })
    }

    /// As rows and keys spell it.
    fn to_json(&self) -> Value {
        match self {
            Self::Uuid(id) => id.to_string().into(),
            Self::Integer(number) => (*number).into(),
            Self::Truth(truth) => (*truth).into(),
            Self::Text(text) => text.as_str().into(),
            Self::Instant(instant) => instant.to_string().into(),
            Self::Day(day) => day.to_string().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::shared::{CustomerId, TenantId};
    use serde_json::json;

    use super::*;
    use crate::inventory::{Reservation, StockLevel};
    use crate::loyalty::PointsBalance;
    use crate::question::Filter;

    const ONE: &str = "0190a5b2-7c3d-7e4f-8a9b-0c1d2e3f4a5b";
    const TWO: &str = "0190a5b2-7c3d-7e4f-8a9b-0c1d2e3f4a5c";

    fn conditions(model: &Model, tests: &[(&str, Test)]) -> Result<Conditions, NoAnswer> {
        let filter = |(field, test): &(&str, Test)| Filter { field: (*field).into(), test: test.clone() };
        let filters = tests.iter().map(filter).collect();
        Conditions::of(model, &Question { filters, ..Question::all(TenantId::new(Uuid::from_u128(1)), 1) })
    }

    #[test]
    fn values_are_compared_and_not_their_spelling() {
        let model = Model::of::<Reservation>();
        let row = json!({ "stock_item": ONE, "reservation": TWO, "units": 3, "until": "2026-11-20T12:00:00Z" });
        let holds = |field, test| conditions(&model, &[(field, test)]).expect("askable").hold(&row);
        assert!(holds("until", Test::Equals("2026-11-20T13:00:00+01:00".into())));
        assert!(holds("until", Test::From("2026-11-20T11:59:59.999999Z".into())));
        assert!(!holds("until", Test::To("2026-11-20T11:59:59.999999Z".into())));
        assert!(holds("stock_item", Test::In(vec![TWO.into(), ONE.to_uppercase().into()])));
        assert!(!holds("stock_item", Test::In(vec![])));
        assert!(conditions(&model, &[]).expect("nothing is asked").hold(&row));
    }

    #[test]
    fn a_field_without_a_value_fits_nothing() {
        let model = Model::of::<Reservation>();
        let row = json!({ "stock_item": ONE, "reservation": TWO, "units": 3, "until": null });
        for test in [Test::From("2026-11-20T12:00:00Z".into()), Test::To("2026-11-20T12:00:00Z".into())] {
            assert!(!conditions(&model, &[("until", test)]).expect("askable").hold(&row));
        }
    }

    #[test]
    fn what_a_store_refuses_is_refused() {
        let model = Model::of::<StockLevel>();
        let refused = |field, value: Value| conditions(&model, &[(field, Test::Equals(value))]).is_err();
        assert!(refused("on_hand", 1.into()) && refused("tenant", ONE.into()) && refused("available", "1".into()));
        assert!(refused("status", "a\0b".into()) && !refused("available", 1.into()));
    }

    #[test]
    fn a_question_for_one_row_is_known_by_its_key() {
        let model = Model::of::<Reservation>();
        let by = |test: Test| conditions(&model, &[("stock_item", Test::Equals(ONE.into())), ("reservation", test)]);
        let key = |test| by(test).expect("askable").key(&model);
        assert_eq!(key(Test::Equals(TWO.to_uppercase().into())), Some(Key::of(&[ONE, TWO])));
        assert_eq!(key(Test::In(vec![ONE.into(), TWO.into()])), None);
    }

    #[test]
    fn an_owner_is_a_condition() {
        let model = Model::of::<PointsBalance>();
        let owner = model.owner.expect("a customer's own");
        let customer = CustomerId::new(Uuid::from_u128(9));
        let question = Question { owner: Some(customer), ..Question::all(TenantId::new(Uuid::from_u128(1)), 1) };
        let conditions = Conditions::of(&model, &question).expect("it makes sense");
        assert!(conditions.hold(&json!({ owner: customer })) && !conditions.hold(&json!({ owner: ONE })));
    }
}
