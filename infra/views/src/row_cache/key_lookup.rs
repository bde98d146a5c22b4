//! Key lookup: the queries that the row cache can answer, and the conditions that a cached row must match.

use domain::shared::TenantId;
use projections::kernel::{ColumnType, Key, Model};
use projections::query::{Conditions, Filter, RowQuery, Test};
use serde_json::Value;

/// A query that names complete row keys.
pub(super) struct KeyLookup {
    /// Keys, spelled as in the rows.
    pub(super) keys: Vec<Key>,
    /// Conditions of the query: its owner, if it has one, and its filters.
    pub(super) conditions: Conditions,
}

impl KeyLookup {
    /// `None` if the query needs more than rows by key, or is invalid; the row store then answers it or reports the error.
    pub(super) fn of(model: &Model, query: &RowQuery) -> Option<Self> {
        let plain = query.order.is_none() && query.after.is_none() && !query.count;
        // Caching rows of a model that only appends is of no use: they are many, and each is read about once.
        if !plain || model.appends {
            return None;
        }
        let conditions = Conditions::of(model, query).ok()?;
        let keys = match conditions.key(model) {
            Some(key) => vec![key],
            None => listed_keys(model, query)?,
        };
        (keys.len() <= query.first as usize).then_some(Self { keys, conditions })
    }

    /// Query for these keys without owner and filters, for the row store.
    pub(super) fn store_query(&self, model: &Model, tenant: TenantId, keys: &[&Key]) -> RowQuery {
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

/// Keys of an `In` filter on the only key field, if it is a UUID. A page from the cache is in the order of the keys as
/// text, which for UUIDs equals their order in PostgreSQL.
fn listed_keys(model: &Model, query: &RowQuery) -> Option<Vec<Key>> {
    let [field] = model.key else { return None };
    let mut lists = query.filters.iter().filter(|filter| filter.field == *field);
    let values = lists.find_map(|filter| if let Test::In(values) = &filter.test { Some(values) } else { None })?;
    if model.column(field)?.kind != ColumnType::Uuid {
        return None;
    }
    let key = |value: &Value| {
        let filters = vec![Filter { field: (*field).into(), test: Test::Equals(value.clone()) }];
        let one = RowQuery { filters, ..RowQuery::all(query.tenant, 1) };
        Conditions::of(model, &one).ok()?.key(model)
    };
    values.iter().map(key).collect()
}

#[cfg(test)]
mod tests {
    use domain::shared::{CustomerId, ProductId};
    use projections::kernel::Models;
    use projections::query::SortOrder;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    fn query(filters: &[(&str, Test)]) -> RowQuery {
        let filters = filters.iter().map(|(field, test)| Filter { field: (*field).into(), test: test.clone() });
        RowQuery { filters: filters.collect(), ..RowQuery::all(TenantId::new(Uuid::from_u128(1)), 5) }
    }

    fn id(number: u128) -> Value {
        ProductId::new(Uuid::from_u128(number)).to_string().into()
    }

    #[test]
    fn only_plain_queries_by_key_use_the_cache() {
        let models = Models::all();
        let model = models.get("Product").expect("a model");
        let keys = |query: &RowQuery| KeyLookup::of(model, query).map(|lookup| lookup.keys.len());
        let one = query(&[("product", Test::Equals(id(0xabc)))]);
        assert_eq!(keys(&one), Some(1));
        assert_eq!(keys(&query(&[("product", Test::In(vec![id(1), id(2)]))])), Some(2));
        let too_many = Test::In((0..6).map(id).collect());
        let odd = Value::from(id(0xabc).as_str().unwrap_or_default().to_uppercase());
        for test in [Test::Equals(odd.clone()), Test::In(vec![odd, id(1)])] {
            let lookup = KeyLookup::of(model, &query(&[("product", test)])).expect("by key");
            assert_eq!(lookup.keys[0], Key::of(&[id(0xabc)]), "cache keys use the spelling of the rows");
        }
        for query in [
            query(&[]),
            query(&[("product", too_many)]),
            query(&[("product", Test::Equals(json!("x")))]),
            query(&[("product", Test::From(id(1)))]),
            query(&[("product", Test::Equals(id(1))), ("description", Test::Equals("Mug".into()))]),
            RowQuery { count: true, ..one.clone() },
            RowQuery { order: Some(SortOrder { field: "status".into(), descending: false }), ..one },
        ] {
            assert_eq!(keys(&query), None, "{query:?}");
        }
    }

    #[test]
    fn owner_is_checked_on_the_cached_row() {
        let models = Models::all();
        let model = models.get("PointsBalance").expect("a model");
        let owner = model.owner.expect("a model with an owner");
        let (ada, eve) = (CustomerId::new(Uuid::from_u128(1)), CustomerId::new(Uuid::from_u128(2)));
        let mut query = query(&[(model.key[0], Test::Equals(ada.to_string().into()))]);
        let row = json!({ owner: ada.to_string() });
        let sees = |query: &RowQuery| KeyLookup::of(model, query).expect("by key").conditions.matches(&row);
        assert!(sees(&query));
        query.owner = Some(ada);
        assert!(sees(&query));
        query.owner = Some(eve);
        assert!(!sees(&query));
    }
}
