//! Key lookup: the queries that the row cache can answer, and the conditions that a cached row must match.

use domain::shared::TenantId;
use projections::kernel::{Key, Kind, Model};
use projections::question::{Conditions, Filter, Question, Test};
use serde_json::Value;

/// A query that names complete row keys.
pub(super) struct KeyLookup {
    /// Keys in the spelling of the rows.
    pub(super) keys: Vec<Key>,
    /// Conditions of the query: its owner, if it has one, and its filters.
    pub(super) conditions: Conditions,
}

impl KeyLookup {
    /// `None` if the query needs more than rows by key, or is invalid; the row store then reports the error.
    pub(super) fn of(model: &Model, question: &Question) -> Option<Self> {
        let plain = question.order.is_none() && question.after.is_none() && !question.count;
        // A model that only appends has many rows, and each is read about once.
        if !plain || model.appends {
            return None;
        }
        let conditions = Conditions::of(model, question).ok()?;
        let keys = match conditions.key(model) {
            Some(key) => vec![key],
            None => listed_keys(model, question)?,
        };
        (keys.len() <= question.first as usize).then_some(Self { keys, conditions })
    }

    /// Query for these keys without owner and filters, for the row store.
    pub(super) fn store_query(&self, model: &Model, tenant: TenantId, keys: &[&Key]) -> Question {
        let values = |key: &Key| serde_json::from_str::<Vec<Value>>(key.as_str()).unwrap_or_default();
        let filters = match model.key {
            [field] => {
                let values = keys.iter().flat_map(|key| values(key)).collect();
                vec![Filter { field: (*field).into(), test: Test::In(values) }]
            }
            fields => {
                let values = keys.iter().flat_map(|key| values(key));
                let filter =
                    |(field, value): (&&str, Value)| Filter { field: (*field).into(), test: Test::Equals(value) };
                fields.iter().zip(values).map(filter).collect()
            }
        };
        Question { filters, ..Question::all(tenant, u32::try_from(keys.len()).unwrap_or(u32::MAX)) }
    }
}

/// Keys of an `In` filter on the only key field. Only UUIDs: their order as values equals their order as text.
fn listed_keys(model: &Model, question: &Question) -> Option<Vec<Key>> {
    let [field] = model.key else { return None };
    let mut lists = question.filters.iter().filter(|filter| filter.field == *field);
    let values = lists.find_map(|filter| if let Test::In(values) = &filter.test { Some(values) } else { None })?;
    if model.column(field)?.kind != Kind::Uuid {
        return None;
    }
    let key = |value: &Value| {
        let filters = vec![Filter { field: (*field).into(), test: Test::Equals(value.clone()) }];
        let one = Question { filters, ..Question::all(question.tenant, 1) };
        Conditions::of(model, &one).ok()?.key(model)
    };
    values.iter().map(key).collect()
}

#[cfg(test)]
mod tests {
    use domain::shared::{CustomerId, ProductId};
    use projections::kernel::Models;
    use projections::question::Order;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    fn question(filters: &[(&str, Test)]) -> Question {
        let filters = filters.iter().map(|(field, test)| Filter { field: (*field).into(), test: test.clone() });
        Question { filters: filters.collect(), ..Question::all(TenantId::new(Uuid::from_u128(1)), 5) }
    }

    fn id(number: u128) -> Value {
        ProductId::new(Uuid::from_u128(number)).to_string().into()
    }

    #[test]
    fn only_plain_queries_by_key_use_the_cache() {
        let models = Models::all();
        let model = models.get("Product").expect("a model");
        let keys = |question: &Question| KeyLookup::of(model, question).map(|lookup| lookup.keys.len());
        let one = question(&[("product", Test::Equals(id(0xabc)))]);
        assert_eq!(keys(&one), Some(1));
        assert_eq!(keys(&question(&[("product", Test::In(vec![id(1), id(2)]))])), Some(2));
        let too_many = Test::In((0..6).map(id).collect());
        let odd = Value::from(id(0xabc).as_str().unwrap_or_default().to_uppercase());
        for test in [Test::Equals(odd.clone()), Test::In(vec![odd, id(1)])] {
            let lookup = KeyLookup::of(model, &question(&[("product", test)])).expect("by key");
            assert_eq!(lookup.keys[0], Key::of(&[id(0xabc)]), "cache keys use the spelling of the rows");
        }
        for question in [
            question(&[]),
            question(&[("product", too_many)]),
            question(&[("product", Test::Equals(json!("x")))]),
            question(&[("product", Test::From(id(1)))]),
            question(&[("product", Test::Equals(id(1))), ("description", Test::Equals("Mug".into()))]),
            Question { count: true, ..one.clone() },
            Question { order: Some(Order { field: "status".into(), descending: false }), ..one },
        ] {
            assert_eq!(keys(&question), None, "{question:?}");
        }
    }

    #[test]
    fn owner_is_checked_on_the_cached_row() {
        let models = Models::all();
        let model = models.get("PointsBalance").expect("a model");
        let owner = model.owner.expect("a model with an owner");
        let (ada, eve) = (CustomerId::new(Uuid::from_u128(1)), CustomerId::new(Uuid::from_u128(2)));
        let mut query = question(&[(model.key[0], Test::Equals(ada.to_string().into()))]);
        let row = json!({ owner: ada.to_string() });
        let sees = |query: &Question| KeyLookup::of(model, query).expect("by key").conditions.hold(&row);
        assert!(sees(&query));
        query.owner = Some(ada);
        assert!(sees(&query));
        query.owner = Some(eve);
        assert!(!sees(&query));
    }
}
