//! What happened to an order, step by step (ORD-09).

use domain::kernel::Recorded;
use domain::orders::{Order, OrderEvent};
use domain::shared::{Currency, CustomerId, OrderId, Permission, Price, Principal, Reason, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Folded, ReadModel, Sources};
use crate::key;

/// One thing that happened to an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderStep {
    /// The order.
    pub order: OrderId,
    /// The number of the step, from 1.
    pub sequence: i64,
    /// Who bought.
    pub customer: CustomerId,
    /// What happened.
    pub kind: StepKind,
    /// The amount that it was about, in minor units.
    pub amount_minor: Option<i64>,
    /// The currency of the amount.
    pub currency: Option<Currency>,
    /// What somebody gave as a reason.
    pub reason: Option<Reason>,
    /// Whoever sent the command.
    pub principal: Principal,
    /// When it happened.
    pub at: Timestamp,
}

/// What can happen to an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// A customer ordered.
    Placed,
    /// Another shop system took the order.
    Imported,
    /// It was paid in full.
    Paid,
    /// The seller took it on.
    Accepted,
    /// It is packed.
    Ready,
    /// It is on its way.
    InTransit,
    /// It has arrived.
    Delivered,
    /// It was ended.
    Cancelled,
    /// Money went back.
    Refunded,
}

impl ReadModel for OrderStep {
    const NEEDS: Permission = Permission::SeeOrders;
    const KEY: &'static [&'static str] = &["order", "sequence"];
    const INDEXED: &'static [&'static str] = &["at", "kind"];
    const OWNER: Option<&'static str> = Some("customer");
    const APPENDS: bool = true;

    fn sources(from: &mut Sources<Self>) {
        from.stream::<Order>(|event| Some(key![event.stream, event.sequence]), Self::on_order);
    }
}

impl OrderStep {
    fn on_order(_: Option<Self>, event: &Recorded<OrderEvent>) -> Folded<Self> {
        let (kind, customer, amount) = told(&event.event);
        let reason = match &event.event {
            OrderEvent::Cancelled { reason, .. } => Some(reason.clone()),
            _ => None,
        };
        Ok(Some(Self {
            order: OrderId::new(event.stream),
            sequence: event.sequence,
            customer,
            kind,
            amount_minor: amount.map(Price::minor),
            currency: amount.map(Price::currency),
            reason,
            principal: event.principal,
            at: event.occurred_at,
        }))
    }
}

/// What happened, to whose order, about which amount.
fn told(event: &OrderEvent) -> (StepKind, CustomerId, Option<Price>) {
    match *event {
        OrderEvent::Placed { customer, total, .. } => (StepKind::Placed, customer, Some(total)),
        OrderEvent::Imported { customer, total, .. } => (StepKind::Imported, customer, Some(total)),
        OrderEvent::Paid { customer, amount, .. } => (StepKind::Paid, customer, Some(amount)),
        OrderEvent::Accepted { customer, .. } => (StepKind::Accepted, customer, None),
        OrderEvent::Ready { customer, .. } => (StepKind::Ready, customer, None),
        OrderEvent::InTransit { customer, .. } => (StepKind::InTransit, customer, None),
        OrderEvent::Delivered { customer, .. } => (StepKind::Delivered, customer, None),
        OrderEvent::Cancelled { customer, refund_due, .. } => (StepKind::Cancelled, customer, refund_due),
        OrderEvent::Refunded { customer, amount, .. } => (StepKind::Refunded, customer, Some(amount)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::told::{cancelled, paid, placed};
    use super::*;
    use crate::testing::Story;

    #[test]
    fn every_step_is_told_in_order() {
        let story = paid(placed(Story::new(), 1, "2026-11-20"), 1, "2026-11-20");
        let steps: Vec<OrderStep> = cancelled(story, 1, "2026-11-21").rows();
        let seen: Vec<_> = steps.iter().map(|step| (step.sequence, step.kind, step.amount_minor)).collect();
        assert_eq!(
            seen,
            [(1, StepKind::Placed, Some(1000)), (2, StepKind::Paid, Some(1000)), (3, StepKind::Cancelled, None)]
        );
        assert!(steps[2].reason.is_some());
    }
}
