//! Policies that award and reverse points on purchases, sign-ups, refunds and cancellations.
//!
//! The commands about an order read its current state, so that their order of arrival does not matter.

use domain::customers::{Customer, CustomerEvent};
use domain::kernel::Recorded;
use domain::orders::{Order, OrderEvent};
use domain::shared::{CustomerId, OrderId};

use super::{EarnForOrder, EarnForSignup, ReverseForOrder};
use crate::kernel::{Policy, Reactions, Start};

/// Awards points when an order is paid.
pub struct EarnOnOrderPaid;

impl Policy for EarnOnOrderPaid {
    const ID: &'static str = "earn_on_order_paid";
    const START: Start = Start::Introduction;
    type Source = Order;
    const EVENTS: &'static [&'static str] = &["order.paid"];

    fn react(event: &Recorded<OrderEvent>, reactions: &mut Reactions) {
        if let OrderEvent::Paid { customer, on, .. } = event.event {
            reactions.command(EarnForOrder { order: OrderId::new(event.stream), customer, on });
        }
    }
}

/// Awards points when an order of another shop system is imported, because it is already paid.
pub struct EarnOnOrderImported;

impl Policy for EarnOnOrderImported {
    const ID: &'static str = "earn_on_order_imported";
    const START: Start = Start::Introduction;
    type Source = Order;
    const EVENTS: &'static [&'static str] = &["order.imported"];

    fn react(event: &Recorded<OrderEvent>, reactions: &mut Reactions) {
        if let OrderEvent::Imported { customer, ordered_on, .. } = event.event {
            reactions.command(EarnForOrder { order: OrderId::new(event.stream), customer, on: ordered_on });
        }
    }
}

/// Awards points for a sign-up. An imported customer earns none.
pub struct EarnOnSignup;

impl Policy for EarnOnSignup {
    const ID: &'static str = "earn_on_signup";
    const START: Start = Start::Introduction;
    type Source = Customer;
    const EVENTS: &'static [&'static str] = &["customer.registered"];

    fn react(event: &Recorded<CustomerEvent>, reactions: &mut Reactions) {
        if let CustomerEvent::Registered { .. } = event.event {
            reactions.command(EarnForSignup { customer: CustomerId::new(event.stream) });
        }
    }
}

/// Reverses the points that belong to the refunded part of an order.
pub struct ReverseOnOrderRefunded;

impl Policy for ReverseOnOrderRefunded {
    const ID: &'static str = "reverse_on_order_refunded";
    const START: Start = Start::Introduction;
    type Source = Order;
    const EVENTS: &'static [&'static str] = &["order.refunded"];

    fn react(event: &Recorded<OrderEvent>, reactions: &mut Reactions) {
        if let OrderEvent::Refunded { customer, on, .. } = event.event {
            reactions.command(ReverseForOrder { order: OrderId::new(event.stream), customer, on });
        }
    }
}

/// Reverses all points of a cancelled order.
pub struct ReverseOnOrderCancelled;

impl Policy for ReverseOnOrderCancelled {
    const ID: &'static str = "reverse_on_order_cancelled";
    const START: Start = Start::Introduction;
    type Source = Order;
    const EVENTS: &'static [&'static str] = &["order.cancelled"];

    fn react(event: &Recorded<OrderEvent>, reactions: &mut Reactions) {
        if let OrderEvent::Cancelled { customer, on, .. } = event.event {
            reactions.command(ReverseForOrder { order: OrderId::new(event.stream), customer, on });
        }
    }
}
