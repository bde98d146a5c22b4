//! Generated read models: totals of a ledger.

use std::borrow::Cow;

use domain::kernel::Recorded;
use domain::shared::{Permission, StockItemId, Timestamp};
use projections::kernel::{Folded, ReadModel, Sources, Unfoldable};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::{Ledger, LedgerEvent};

/// Read model with this number of the aggregate with this number; `LedgerSummary07Of1` in the API.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Summary<const NUMBER: usize, const MODEL: u8>(Totals);

/// Totals of a ledger.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
struct Totals {
    /// Id of the ledger.
    ledger: StockItemId,
    /// Sum of all amounts.
    total: i64,
    /// Number of entries that callers made.
    changes: i64,
    /// Number of entries that policies made.
    follow_ups: i64,
    /// Largest amount.
    largest: i64,
    /// Smallest amount.
    smallest: i64,
    /// Time of the first entry.
    opened_at: Timestamp,
    /// Time of the last entry.
    changed_at: Timestamp,
}

impl<const NUMBER: usize, const MODEL: u8> JsonSchema for Summary<NUMBER, MODEL> {
    fn schema_name() -> Cow<'static, str> {
        format!("LedgerSummary{NUMBER:02}Of{MODEL}").into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Totals::json_schema(generator)
    }
}

impl<const NUMBER: usize, const MODEL: u8> ReadModel for Summary<NUMBER, MODEL> {
    const NEEDS: Permission = Permission::SeeStock;
    const KEY: &'static [&'static str] = &["ledger"];
    const INDEXED: &'static [&'static str] = &["total", "changed_at"];

    fn sources(from: &mut Sources<Self>) {
        from.row_per_stream::<Ledger<NUMBER>>(Self::on_ledger);
    }
}

impl<const NUMBER: usize, const MODEL: u8> Summary<NUMBER, MODEL> {
    fn on_ledger(row: Option<Self>, event: &Recorded<LedgerEvent>) -> Folded<Self> {
        let mut totals = row.map_or_else(|| Totals::opened(event), |row| row.0);
        let amount = event.event.amount();
        totals.total = totals.total.checked_add(amount).ok_or_else(|| Unfoldable::overflow("total"))?;
        match event.event {
            LedgerEvent::Changed { .. } => totals.changes += 1,
            LedgerEvent::Followed { .. } => totals.follow_ups += 1,
        }
        totals.largest = totals.largest.max(amount);
        totals.smallest = totals.smallest.min(amount);
        totals.changed_at = event.occurred_at;
        Ok(Some(Self(totals)))
    }
}

impl Totals {
    fn opened(event: &Recorded<LedgerEvent>) -> Self {
        let (ledger, amount) = (StockItemId::new(event.stream), event.event.amount());
        let (opened_at, changed_at) = (event.occurred_at, event.occurred_at);
        Self { ledger, total: 0, changes: 0, follow_ups: 0, largest: amount, smallest: amount, opened_at, changed_at }
    }
}
