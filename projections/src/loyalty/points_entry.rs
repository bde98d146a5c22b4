//! Ledger of a points balance (LOY-12). Invariant: the entries of a customer add up to the balance.

use domain::kernel::Recorded;
use domain::loyalty::{EntryKind, LoyaltyAccount, LoyaltyAccountEvent};
use domain::shared::{CustomerId, Date, Permission, Reason, RedemptionId, Text, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::points_balance::change;
use crate::kernel::{Folded, ReadModel, Sources};
use crate::key;

/// One change of a points balance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PointsEntry {
    /// Customer who owns the points.
    pub customer: CustomerId,
    /// Sequence number of the entry within the account, from 1.
    pub sequence: i64,
    /// Change of the balance, in points.
    pub change: i64,
    /// Reason of the change.
    pub reason: EntryReason,
    /// Kind of activity for which points were earned or reversed; `admin_adjust` for a manual correction.
    pub kind: Option<EntryKind>,
    /// Reference to the origin, for example an order; of a manual correction the id of its command.
    pub source: Option<Text<100>>,
    /// Points before the multiplier of the customer's tier, if it raised them.
    pub base_points: Option<i64>,
    /// Version of the earning rules that was applied.
    pub rule_version: Option<u32>,
    /// Redemption on which points were spent or from which they were returned.
    pub redemption: Option<RedemptionId>,
    /// Reason given for a manual correction.
    pub note: Option<Reason>,
    /// Business day of the change.
    pub on: Date,
    /// Time of the change.
    pub at: Timestamp,
}

/// Reason of a change of a points balance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EntryReason {
    /// Points were earned.
    Earned,
    /// Points were spent on a reward.
    Redeemed,
    /// A redemption was cancelled and its points returned.
    Returned,
    /// Earned points were taken back after a refund or a cancellation.
    Reversed,
    /// The balance was corrected manually.
    Adjusted,
}

impl ReadModel for PointsEntry {
    const NEEDS: Permission = Permission::SeePoints;
    const KEY: &'static [&'static str] = &["customer", "sequence"];
    const INDEXED: &'static [&'static str] = &["at", "reason", "on"];
    const OWNER: Option<&'static str> = Some("customer");
    const APPENDS: bool = true;
    // 2: a manual correction has a kind and a source.
    const REVISION: u32 = 2;

    fn sources(from: &mut Sources<Self>) {
        from.stream::<LoyaltyAccount>(|event| Some(key![change(&event.event).0, event.sequence]), Self::on_account);
    }
}

impl PointsEntry {
    fn on_account(_: Option<Self>, event: &Recorded<LoyaltyAccountEvent>) -> Folded<Self> {
        let (customer, change) = change(&event.event);
        let entry = |reason, on| Self {
            customer,
            sequence: event.sequence,
            change,
            reason,
            kind: None,
            source: None,
            base_points: None,
            rule_version: None,
            redemption: None,
            note: None,
            on,
            at: event.occurred_at,
        };
        Ok(Some(match event.event.clone() {
            LoyaltyAccountEvent::Earned { kind, source, rule_version, on, base, .. } => {
                let (kind, source, rule_version) = (Some(kind), Some(source), Some(rule_version));
                let base_points = base.map(|points| points.get());
                Self { kind, source, rule_version, base_points, ..entry(EntryReason::Earned, on) }
            }
            LoyaltyAccountEvent::Reversed { kind, source, on, .. } => {
                Self { kind: Some(kind), source: Some(source), ..entry(EntryReason::Reversed, on) }
            }
            LoyaltyAccountEvent::Redeemed { redemption, on, .. } => {
                Self { redemption: Some(redemption), ..entry(EntryReason::Redeemed, on) }
            }
            LoyaltyAccountEvent::Returned { redemption, on, .. } => {
                Self { redemption: Some(redemption), ..entry(EntryReason::Returned, on) }
            }
            LoyaltyAccountEvent::Adjusted { reason, on, .. } => {
                let (kind, source) = (Some(EntryKind::AdminAdjust), event.command.to_string().parse().ok());
                Self { kind, source, note: Some(reason), ..entry(EntryReason::Adjusted, on) }
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::points_balance::PointsBalance;
    use super::super::points_balance::tests::story;
    use super::*;

    #[test]
    fn entries_add_up_to_the_balance_and_name_their_reasons() {
        let (balance, entries): (PointsBalance, Vec<PointsEntry>) = (story().row(), story().rows());
        assert_eq!(balance.balance, entries.iter().map(|entry| entry.change).sum::<i64>());
        let reasons: Vec<_> = entries.iter().map(|entry| entry.reason).collect();
        assert_eq!(
            reasons,
            [
                EntryReason::Earned,
                EntryReason::Redeemed,
                EntryReason::Returned,
                EntryReason::Reversed,
                EntryReason::Adjusted
            ]
        );
    }
}
