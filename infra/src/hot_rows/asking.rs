//! Which questions can be answered from copies, and what of a copy an asker may see.

use domain::shared::TenantId;
use projections::kernel::{Key, Kind, Model};
use projections::question::{Filter, Question, Test, value_text};
use serde_json::Value;

/// A question that names whole keys.
pub(super) struct ByKey<'a> {
    pub(super) keys: Vec<Key>,
    /// What the rows must be beside that.
    rest: Vec<&'a Filter>,
}

impl<'a> ByKey<'a> {
    /// Nothing where the question asks for more than rows by their keys.
    pub(super) fn of(model: &Model, question: &'a Question) -> Option<Self> {
        let plain = question.order.is_none() && question.after.is_none() && !question.count;
        // Rows that come with every event are many and each is asked for once.
        if !plain || model.appends {
            return None;
        }
        let mut rest: Vec<&Filter> = question.filters.iter().collect();
        let mut take = |field: &str| {
            let at = rest.iter().position(|filter| filter.field == field)?;
            Some(&rest.remove(at).test)
        };
        let keys = match model.key {
            [field] => match take(field)? {
                Test::Equals(value) => vec![Key::of(&[value])],
                // Ids are in the same order as values and as texts; other keys may not be.
                Test::In(values) if model.column(field)?.kind == Kind::Uuid => {
                    values.iter().map(|value| Key::of(&[value])).collect()
                }
                _ => return None,
            },
            fields => {
                let values = fields.iter().map(|field| match take(field)? {
                    Test::Equals(value) => Some(value),
                    _ => None,
                });
                vec![Key::of(&values.collect::<Option<Vec<_>>>()?)]
            }
        };
        let fits = keys.len() <= question.first as usize && keys.iter().all(|key| is_canonical(model, key));
        let equal = rest.iter().all(|filter| matches!(filter.test, Test::Equals(_)));
        (fits && equal).then_some(Self { keys, rest })
    }

    /// The same for the store, for these keys, with no word about who asks.
    pub(super) fn store_question(&self, model: &Model, tenant: TenantId, keys: &[&Key]) -> Question {
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

    /// Whether a row is hers where an owner asks, and is all that was asked for.
    pub(super) fn lets_through(&self, model: &Model, question: &Question, row: &Value) -> bool {
        let is = |field: &str, wanted: &str| {
            model.column(field).and_then(|column| column.kind.text(&row[field])).is_some_and(|text| text == wanted)
        };
        let hers = match (question.owner, model.owner) {
            (Some(owner), Some(field)) => is(field, &owner.to_string()),
            _ => true,
        };
        let fits = |filter: &Filter| match (&filter.test, model.column(&filter.field)) {
            (Test::Equals(value), Some(column)) => {
                value_text(column, value).is_ok_and(|wanted| is(&filter.field, &wanted))
            }
            _ => false,
        };
        hers && self.rest.iter().all(|filter| fits(filter))
    }
}

/// Whether a key is written as rows write it; others are left to the store, which may know what is meant.
fn is_canonical(model: &Model, key: &Key) -> bool {
    let values: Vec<Value> = serde_json::from_str(key.as_str()).unwrap_or_default();
    let columns = model.key.iter().filter_map(|field| model.column(field));
    values.len() == model.key.len()
        && columns.zip(&values).all(|(column, value)| match value {
            Value::String(word) => column.kind.text(value).is_some_and(|text| text == *word),
            value => column.kind.text(value).is_some(),
        })
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
    fn only_rows_by_their_keys_come_from_copies() {
        let models = Models::all();
        let model = models.get("Product").expect("a model");
        let keys = |question: &Question| ByKey::of(model, question).map(|asked| asked.keys.len());
        let one = question(&[("product", Test::Equals(id(0xabc)))]);
        assert_eq!(keys(&one), Some(1));
        assert_eq!(keys(&question(&[("product", Test::In(vec![id(1), id(2)]))])), Some(2));
        let too_many = Test::In((0..6).map(id).collect());
        let odd = Test::Equals(id(0xabc).as_str().unwrap_or_default().to_uppercase().into());
        for question in [
            question(&[]),
            question(&[("product", too_many)]),
            question(&[("product", odd)]),
            question(&[("product", Test::Equals(json!("x")))]),
            question(&[("product", Test::From(id(1)))]),
            question(&[("product", Test::Equals(id(1))), ("status", Test::In(vec![]))]),
            Question { count: true, ..one.clone() },
            Question { order: Some(Order { field: "status".into(), descending: false }), ..one },
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
        let mut asked = question(&[(model.key[0], Test::Equals(id(1)))]);
        let row = json!({ owner: ada.to_string() });
        let sees = |asked: &Question| ByKey::of(model, asked).expect("by key").lets_through(model, asked, &row);
        assert!(sees(&asked));
        asked.owner = Some(ada);
        assert!(sees(&asked));
        asked.owner = Some(eve);
        assert!(!sees(&asked));
    }
}
