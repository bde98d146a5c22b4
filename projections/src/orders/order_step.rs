//! Timeline of an order (ORD-08). Invariant: one step for each event of the order.

use domain::kernel::Recorded;
use domain::orders::{Order, OrderEvent};
use domain::shared::{Currency, CustomerId, EventId, OrderId, Permission, Price, Principal, Reason, Text, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Folded, ReadModel, Sources};
use crate::key;

/// One entry in the timeline of an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderStep {
    /// Id of the order.
    pub order: OrderId,
    /// Sequence number of the step within the order, from 1.
    pub sequence: i64,
    /// Id of the event that made the step.
    pub event: EventId,
    /// Customer who placed the order.
    pub customer: CustomerId,
    /// Kind of step.
    pub kind: StepKind,
    /// The step in a few English words.
    pub description: Text<100>,
    /// Total of the order, payment, refund, or amount due for refund after a cancellation, in minor units. None for other
    /// kinds of step.
    pub amount_minor: Option<i64>,
    /// Currency of the amount.
    pub currency: Option<Currency>,
    /// Reason given for a cancellation.
    pub reason: Option<Reason>,
    /// Principal that sent the command.
    pub principal: Principal,
    /// Time of the step.
    pub at: Timestamp,
}

/// Kind of a step in the timeline of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// A customer placed the order.
    Placed,
    /// The order was imported from another shop system.
    Imported,
    /// The order was paid in full.
    Paid,
    /// The order was paid after its cancellation; the payment is due for refund.
    PaidLate,
    /// The order is pending again: it was cancelled for lack of payment, then paid while its stock was still there.
    Reinstated,
    /// The seller accepted the order.
    Accepted,
    /// The order is packed.
    Ready,
    /// The order is on its way to the customer.
    InTransit,
    /// The order was delivered.
    Delivered,
    /// The order was cancelled.
    Cancelled,
    /// Money was refunded.
    Refunded,
    /// Units came back from the customer.
    UnitsReturned,
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
        let (kind, customer, amount) = step(&event.event);
        let reason = match &event.event {
            OrderEvent::Cancelled { reason, .. } => Some(reason.clone()),
            _ => None,
        };
        Ok(Some(Self {
            order: OrderId::new(event.stream),
            sequence: event.sequence,
            event: EventId::new(event.id()),
            customer,
            kind,
            description: kind.description().parse().expect("a short visible text"),
            amount_minor: amount.map(Price::minor),
            currency: amount.map(Price::currency),
            reason,
            principal: event.principal,
            at: event.occurred_at,
        }))
    }
}

impl StepKind {
    fn description(self) -> &'static str {
        match self {
            Self::Placed => "Order placed",
            Self::Imported => "Order imported from another shop system",
            Self::Paid => "Order paid in full",
            Self::PaidLate => "Payment received after the cancellation",
            Self::Reinstated => "Order reinstated by a late payment",
            Self::Accepted => "Order accepted by the seller",
            Self::Ready => "Order packed",
            Self::InTransit => "Order on its way to the customer",
            Self::Delivered => "Order delivered",
            Self::Cancelled => "Order cancelled",
            Self::Refunded => "Money refunded",
            Self::UnitsReturned => "Units returned by the customer",
        }
    }
}

/// Kind of step, customer and amount of an event.
fn step(event: &OrderEvent) -> (StepKind, CustomerId, Option<Price>) {
    match *event {
        OrderEvent::Placed { customer, ref price, .. } => (StepKind::Placed, customer, Some(price.total())),
        OrderEvent::Imported { customer, total, .. } => (StepKind::Imported, customer, Some(total)),
        OrderEvent::Paid { customer, amount, .. } => (StepKind::Paid, customer, Some(amount)),
        OrderEvent::PaidLate { customer, amount, .. } => (StepKind::PaidLate, customer, Some(amount)),
        OrderEvent::Reinstated { customer, .. } => (StepKind::Reinstated, customer, None),
        OrderEvent::Accepted { customer, .. } => (StepKind::Accepted, customer, None),
        OrderEvent::Ready { customer, .. } => (StepKind::Ready, customer, None),
        OrderEvent::InTransit { customer, .. } => (StepKind::InTransit, customer, None),
        OrderEvent::Delivered { customer, .. } => (StepKind::Delivered, customer, None),
        OrderEvent::Cancelled { customer, refund_due, .. } => (StepKind::Cancelled, customer, refund_due),
        OrderEvent::Refunded { customer, amount, .. } => (StepKind::Refunded, customer, Some(amount)),
        OrderEvent::UnitsReturned { customer, .. } => (StepKind::UnitsReturned, customer, None),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{cancelled, paid, placed};
    use super::*;
    use crate::testing::Story;

    #[test]
    fn timeline_lists_every_event_in_order() {
        let story = paid(placed(Story::new(), 1, "2026-11-20"), 1, "2026-11-20");
        let steps: Vec<OrderStep> = cancelled(story, 1, "2026-11-21").rows();
        let listed: Vec<_> = steps.iter().map(|step| (step.sequence, step.kind, step.amount_minor)).collect();
        assert_eq!(
            listed,
            [(1, StepKind::Placed, Some(1000)), (2, StepKind::Paid, Some(1000)), (3, StepKind::Cancelled, None)]
        );
        assert!(steps[2].reason.is_some());
        assert_eq!(steps[1].description.to_string(), "Order paid in full");
        assert_ne!(steps[0].event, steps[1].event);
    }
}
