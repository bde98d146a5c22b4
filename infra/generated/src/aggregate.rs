//! Generated aggregate: a ledger that adds amounts and never rejects more than an overflow.

use domain::kernel::{Aggregate, Decision, Rejection};
use domain::shared::StockItemId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::names::{numbered, text};

/// Ledger of the generated aggregate with this number.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Ledger<const NUMBER: usize> {
    total: i64,
}

/// Events of a ledger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum LedgerEvent {
    /// A caller added an amount with one of the commands.
    #[serde(rename = "ledger.changed")]
    Changed { command: u8, amount: i64 },
    /// A policy added an amount.
    #[serde(rename = "ledger.followed")]
    Followed { amount: i64 },
}

/// Rejections of a ledger.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema, thiserror::Error)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum LedgerRejection {
    #[error("the total would leave the range of 64 bits")]
    TotalOverflow {},
}

impl Rejection for LedgerRejection {}

impl LedgerEvent {
    /// The amount that the event adds.
    pub fn amount(&self) -> i64 {
        match self {
            Self::Changed { amount, .. } | Self::Followed { amount } => *amount,
        }
    }
}

impl<const NUMBER: usize> Ledger<NUMBER> {
    const NAME: [u8; 17] = numbered(*b"GeneratedLedger00", NUMBER);

    /// Adds an amount, which the event names.
    pub fn add(&self, event: LedgerEvent) -> Decision<Self> {
        match self.total.checked_add(event.amount()) {
            Some(_) => Ok(vec![event]),
            None => Err(LedgerRejection::TotalOverflow {}),
        }
    }
}

impl<const NUMBER: usize> Aggregate for Ledger<NUMBER> {
    const TYPE: &'static str = text(&Self::NAME);
    type Id = StockItemId;
    type Event = LedgerEvent;
    type Rejection = LedgerRejection;

    fn apply(&mut self, event: &LedgerEvent) {
        self.total = self.total.saturating_add(event.amount());
    }
}
