//! What purchases, sign-ups and their undoing mean for points.
//!
//! The commands look at the order as it stands when they are decided, so that it does not matter which of them comes
//! first.

use domain::customers::{Customer, CustomerEvent};
use domain::kernel::Recorded;
use domain::orders::{Order, OrderEvent};
use domain::shared::{CustomerId, OrderId};

use super::{EarnForOrder, EarnForSignup, ReverseForOrder};
use crate::kernel::{Policy, Reactions, Start};

/// An order earns its points when it is paid.
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

/// An order of another shop system is paid already when it comes in.
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

/// Signing up earns points; being imported does not.
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

/// What goes back of an order takes its share of the points with it.
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

/// A cancelled order keeps no points.
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
