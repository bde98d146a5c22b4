//! Payouts of a tenant (PAY-12, PAY-13).

use domain::kernel::Recorded;
use domain::settlement::{PayoutEvent, PayoutStatus};
use domain::shared::{Currency, Date, PayoutId, Permission, Reason, Text, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Folded, ReadModel, Sources, Unfoldable};

/// Payout that a tenant requested.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Payout {
    /// Id of the payout, chosen by the caller.
    pub payout: PayoutId,
    /// Amount in minor units.
    pub amount_minor: i64,
    /// Currency of the amount.
    pub currency: Currency,
    /// Current status.
    pub status: PayoutStatus,
    /// Id of the transfer at the payment provider, once it was sent.
    pub reference: Option<Text<200>>,
    /// Reason of the failure, if it failed.
    pub reason: Option<Reason>,
    /// Business day of the request.
    pub on: Date,
    /// Time of the request.
    pub requested_at: Timestamp,
    /// Time at which the payout was sent or failed.
    pub ended_at: Option<Timestamp>,
}

impl ReadModel for Payout {
    const NEEDS: Permission = Permission::SeeSettlement;
    const KEY: &'static [&'static str] = &["payout"];
    const INDEXED: &'static [&'static str] = &["status", "requested_at"];

    fn sources(from: &mut Sources<Self>) {
        from.row_per_stream::<domain::settlement::Payout>(Self::on_payout);
    }
}

impl Payout {
    fn on_payout(row: Option<Self>, event: &Recorded<PayoutEvent>) -> Folded<Self> {
        if let PayoutEvent::Requested { amount, on } = event.event {
            return Ok(Some(Self {
                payout: PayoutId::new(event.stream),
                amount_minor: amount.minor(),
                currency: amount.currency(),
                status: PayoutStatus::Requested,
                reference: None,
                reason: None,
                on,
                requested_at: event.occurred_at,
                ended_at: None,
            }));
        }
        let row = Self { ended_at: Some(event.occurred_at), ..row.ok_or_else(Unfoldable::no_row)? };
        Ok(Some(match event.event.clone() {
            PayoutEvent::Sent { reference } => Self { status: PayoutStatus::Sent, reference: Some(reference), ..row },
            PayoutEvent::Failed { reason, .. } => Self { status: PayoutStatus::Failed, reason: Some(reason), ..row },
            PayoutEvent::Requested { .. } => row,
        }))
    }
}

#[cfg(test)]
mod tests {
    use domain::shared::{Money, Price};
    use uuid::Uuid;

    use super::*;
    use crate::testing::Story;

    fn then(story: Story, event: PayoutEvent) -> Story {
        story.then::<domain::settlement::Payout>(PayoutId::new(Uuid::from_u128(9)), event)
    }

    #[test]
    fn payout_is_requested_until_it_is_sent_or_fails() {
        let amount = Money { minor: 500, currency: "USD".parse().expect("a currency") };
        let amount = Price::try_from(amount).expect("a price");
        let on: Date = "2026-11-20".parse().expect("a day");
        let requested = then(Story::new(), PayoutEvent::Requested { amount, on });
        let row: Payout = requested.row();
        assert_eq!((row.amount_minor, row.status, row.ended_at), (500, PayoutStatus::Requested, None));
        let reference = "wire 7".parse().expect("a reference");
        let row: Payout = then(requested.clone(), PayoutEvent::Sent { reference }).row();
        assert_eq!((row.status, row.ended_at), (PayoutStatus::Sent, Some(Story::at(2))));
        let reason = "account closed".parse().expect("a reason");
        let row: Payout = then(requested, PayoutEvent::Failed { amount, reason }).row();
        assert!(row.status == PayoutStatus::Failed && row.reason.is_some() && row.reference.is_none());
    }
}
