//! Which questions can be answered from copies, and what of a copy an asker may see.

use domain::shared::TenantId;
use projections::kernel::{ColumnType, Key, Model};
use projections::query::{Conditions, Filter, RowQuery, Test};
use serde_json::Value;

/// A question that names whole keys.
pub(super) struct ByKey {
    /// As rows spell them.
    pub(super) keys: Vec<Key>,
    /// What a row must be for this asker: hers, where an owner asks, and all that was asked for.
    pub(super) conditions: Conditions,
}

impl ByKey {
    /// Nothing where the question asks for more than rows by their keys, or makes no sense, which the store tells.
    pub(super) fn of(model: &Model, question: &RowQuery) -> Option<Self> {
        let plain = question.order.is_none() && question.after.is_none() && !question.count;
        // Rows that come with every event are many and each is asked for once.
        if !plain || model.appends {
            return None;
        }
        let conditions = Conditions::of(model, question).ok()?;
        let keys = match conditions.key(model) {
            Some(key) => vec![key],
            None => several(model, question)?,
        };
        (keys.len() <= question.first as usize).then_some(Self { keys, conditions })
    }

    /// The same for the store, for these keys, with no word about who asks.
    pub(super) fn store_question(&self, model: &Model, tenant: TenantId, keys: &[&Key]) -> RowQuery {
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
        RowQuery { filters, ..RowQuery::all(tenant, u32::try_from(keys.len()).unwrap_or(u32::MAX)) }
    }
}

/// The keys in a list of ids, which are in the same order as values and as texts; other keys may not be.
fn several(model: &Model, question: &RowQuery) -> Option<Vec<Key>> {
    let [field] = model.key else { return None };
    let mut lists = question.filters.iter().filter(|filter| filter.field == *field);
    let values = lists.find_map(|filter| if let Test::In(values) = &filter.test { Some(values) } else { None })?;
    if model.column(field)?.kind != ColumnType::Uuid {
        return None;
    }
    let key = |value: &Value| {
        let filters = vec![Filter { field: (*field).into(), test: Test::Equals(value.clone()) }];
        let one = RowQuery { filters, ..RowQuery::all(question.tenant, 1) };
        Conditions::of(model, &one).ok()?.key(model)
    };
    values.iter().map(key).collect()
}

#[cfg(test)]
mod tests {
    use domain::shared::{CustomerId, ProductId};
    use projections::kernel::Models;
    use projections::query::Order;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    fn question(filters: &[(&str, Test)]) -> RowQuery {
        let filters = filters.iter().map(|(field, test)| Filter { field: (*field).into(), test: test.clone() });
        RowQuery { filters: filters.collect(), ..RowQuery::all(TenantId::new(Uuid::from_u128(1)), 5) }
    }

    fn id(number: u128) -> Value {
        ProductId::new(Uuid::from_u128(number)).to_string().into()
    }

    #[test]
    fn only_rows_by_their_keys_come_from_copies() {
        let models = Models::all();
        let model = models.get("Product").expect("a model");
        let keys = |question: &RowQuery| ByKey::of(model, question).map(|asked| asked.keys.len());
        let one = question(&[("product", Test::Equals(id(0xabc)))]);
        assert_eq!(keys(&one), Some(1));
        assert_eq!(keys(&question(&[("product", Test::In(vec![id(1), id(2)]))])), Some(2));
        let too_many = Test::In((0..6).map(id).collect());
        let odd = Value::from(id(0xabc).as_str().unwrap_or_default().to_uppercase());
        for test in [Test::Equals(odd.clone()), Test::In(vec![odd, id(1)])] {
            let asked = ByKey::of(model, &question(&[("product", test)])).expect("by key");
            assert_eq!(asked.keys[0], Key::of(&[id(0xabc)]), "copies are named as rows spell their keys");
        }
        for question in [
            question(&[]),
            question(&[("product", too_many)]),
            question(&[("product", Test::Equals(json!("x")))]),
            question(&[("product", Test::From(id(1)))]),
            question(&[("product", Test::Equals(id(1))), ("description", Test::Equals("Mug".into()))]),
            RowQuery { count: true, ..one.clone() },
            RowQuery { order: Some(Order { field: "status".into(), descending: false }), ..one },
        ] {
            assert_eq!(keys(&question), None, "{question:?}");
        }
    }

    #[test]
    fn whose_row_it_is_is_decided_on_the_row_itself() {
        let models = Models::all();
        let model = models.get("PointsBalance").expect("a model");
        let owner = model.owner.expect("points belong to somebody");
        let (ada, eve) = (CustomerId::new(Uuid::from_u128(1)), CustomerId::new(Uuid::from_u128(2)));
        let mut asked = question(&[(model.key[0], Test::Equals(ada.to_string().into()))]);
        let row = json!({ owner: ada.to_string() });
        let sees = |asked: &RowQuery| ByKey::of(model, asked).expect("by key").conditions.matches(&row);
        assert!(sees(&asked));
        asked.owner = Some(ada);
        assert!(sees(&asked));
        asked.owner = Some(eve);
        assert!(!sees(&asked));
    }
}
