//! Row-level comparison of two tables of one read model, such as the served one and a rebuilt one.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::pin::pin;

use domain::shared::TenantId;
use futures::{Stream, StreamExt};
use projections::ports::Fault;
use serde::Serialize;
use serde_json::Value;

/// A row with the text by which its table is ordered within a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderedRow {
    pub tenant: TenantId,
    /// Key as text. Both tables are ordered by tenant and by the bytes of this text.
    pub key: String,
    /// Row in the form of [`Model::canonical`](projections::kernel::Model::canonical).
    pub row: String,
}

/// Result of a comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    /// Number of rows that are the same in both tables.
    pub equal: u64,
    /// Number of rows that only the served table has.
    pub only_served: u64,
    /// Number of rows that only the rebuilt table has.
    pub only_rebuilt: u64,
    /// Number of rows with different fields.
    pub changed: u64,
    /// The first different rows.
    pub differences: Vec<Difference>,
}

/// A row that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub tenant: TenantId,
    /// Key of the row, as JSON text.
    pub key: String,
    /// Fields that differ, each with its value in the served table and in the rebuilt one; null where the row is missing.
    pub fields: BTreeMap<String, [Value; 2]>,
}

impl Comparison {
    /// True if both tables have the same rows.
    pub fn is_equal(&self) -> bool {
        self.only_served + self.only_rebuilt + self.changed == 0
    }
}

/// Compares the rows of two tables, each in the order of tenant and key. At most `most` different rows are listed; all are
/// counted.
pub async fn compare(
    served: impl Stream<Item = Result<OrderedRow, Fault>>,
    rebuilt: impl Stream<Item = Result<OrderedRow, Fault>>,
    most: usize,
) -> Result<Comparison, Fault> {
    let (mut served, mut rebuilt) = (pin!(served), pin!(rebuilt));
    let mut comparison = Comparison::default();
    let (mut one, mut other) = (served.next().await.transpose()?, rebuilt.next().await.transpose()?);
    loop {
        let order = match (&one, &other) {
            (None, None) => return Ok(comparison),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(one), Some(other)) => place(one).cmp(&place(other)),
        };
        let (left, right) = (one.take_if(|_| order.is_le()), other.take_if(|_| order.is_ge()));
        comparison.add(left.as_ref(), right.as_ref(), most);
        if order.is_le() {
            one = served.next().await.transpose()?;
        }
        if order.is_ge() {
            other = rebuilt.next().await.transpose()?;
        }
    }
}

fn place(row: &OrderedRow) -> (TenantId, &str) {
    (row.tenant, &row.key)
}

impl Comparison {
    fn add(&mut self, served: Option<&OrderedRow>, rebuilt: Option<&OrderedRow>, most: usize) {
        match (served, rebuilt) {
            (Some(one), Some(other)) if one.row == other.row => {
                self.equal += 1;
                return;
            }
            (Some(_), Some(_)) => self.changed += 1,
            (Some(_), None) => self.only_served += 1,
            (None, _) => self.only_rebuilt += 1,
        }
        if let Some(row) = served.or(rebuilt).filter(|_| self.differences.len() < most) {
            let difference = Difference { tenant: row.tenant, key: row.key.clone(), fields: fields(served, rebuilt) };
            self.differences.push(difference);
        }
    }
}

/// Fields with different values in two rows.
fn fields(served: Option<&OrderedRow>, rebuilt: Option<&OrderedRow>) -> BTreeMap<String, [Value; 2]> {
    let values = |row: Option<&OrderedRow>| -> BTreeMap<String, Value> {
        row.and_then(|row| serde_json::from_str(&row.row).ok()).unwrap_or_default()
    };
    let (mut served, rebuilt) = (values(served), values(rebuilt));
    let mut fields = BTreeMap::new();
    for (name, value) in rebuilt {
        let before = served.remove(&name).unwrap_or_default();
        if before != value {
            fields.insert(name, [before, value]);
        }
    }
    fields.extend(served.into_iter().map(|(name, value)| (name, [value, Value::Null])));
    fields
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use projections::testing::poll_ready;
    use serde_json::json;

    use super::*;

    fn row(tenant: u8, key: &str, units: i64) -> OrderedRow {
        let tenant = format!("0190a5b2-7c3d-7e4f-8a9b-0000000000{tenant:02x}").parse().expect("an id");
        OrderedRow { tenant, key: key.into(), row: json!({ "key": key, "units": units }).to_string() }
    }

    fn compared(served: &[OrderedRow], rebuilt: &[OrderedRow], most: usize) -> Comparison {
        let rows = |rows: &[OrderedRow]| stream::iter(rows.iter().cloned().map(Ok).collect::<Vec<_>>());
        poll_ready(compare(rows(served), rows(rebuilt), most)).expect("the streams do not fail")
    }

    #[test]
    fn every_different_row_is_counted_and_the_first_are_listed_with_their_fields() {
        let served = [row(1, "a", 1), row(1, "b", 2), row(1, "c", 3), row(2, "a", 4)];
        let rebuilt = [row(1, "b", 2), row(1, "c", 30), row(1, "d", 5), row(2, "a", 4)];
        let comparison = compared(&served, &rebuilt, 2);
        assert_eq!((comparison.equal, comparison.only_served), (2, 1));
        assert_eq!((comparison.only_rebuilt, comparison.changed), (1, 1));
        let listed: Vec<_> = comparison.differences.iter().map(|one| (one.key.as_str(), one.fields.clone())).collect();
        let units = BTreeMap::from([("units".to_owned(), [json!(3), json!(30)])]);
        let missing = BTreeMap::from([
            ("key".to_owned(), [json!("a"), Value::Null]),
            ("units".to_owned(), [json!(1), Value::Null]),
        ]);
        assert_eq!(listed, [("a", missing), ("c", units)]);
        assert!(!comparison.is_equal() && compared(&served, &served, 1).is_equal());
    }

    #[test]
    fn tables_of_different_length_are_compared_to_their_ends() {
        let rows = [row(1, "a", 1), row(2, "a", 1), row(3, "a", 1)];
        assert_eq!(compared(&rows, &[], 9).only_served, 3);
        assert_eq!(compared(&[], &rows, 9).only_rebuilt, 3);
        assert_eq!(compared(&rows[1..], &rows, 9).only_rebuilt, 1);
        assert!(compared(&[], &[], 9).is_equal());
    }
}
