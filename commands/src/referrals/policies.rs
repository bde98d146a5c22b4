//! Policies that follow what a friend does.

use domain::customers::{Customer, CustomerEvent};
use domain::kernel::Recorded;
use domain::orders::{Order, OrderEvent};
use domain::referrals::{Referral, ReferralEvent};
use domain::shared::{CustomerId, OrderId};

use super::{FinishReferral, QualifyReferral, RefuseReferral};
use crate::kernel::{Policy, Reactions, Start};

/// Records the registration of a friend.
pub struct QualifyOnSignup;

impl Policy for QualifyOnSignup {
    const ID: &'static str = "qualify_on_signup";
    const START: Start = Start::Introduction;
    type Source = Customer;
    const EVENTS: &'static [&'static str] = &["customer.registered"];

    fn react(event: &Recorded<CustomerEvent>, reactions: &mut Reactions) {
        if let CustomerEvent::Registered { .. } = event.event {
            reactions.command(QualifyReferral { friend: CustomerId::new(event.stream), order: None });
        }
    }
}

/// Records the first paid order of a friend.
pub struct QualifyOnOrderPaid;

impl Policy for QualifyOnOrderPaid {
    const ID: &'static str = "qualify_on_order_paid";
    const START: Start = Start::Introduction;
    type Source = Order;
    const EVENTS: &'static [&'static str] = &["order.paid"];

    fn react(event: &Recorded<OrderEvent>, reactions: &mut Reactions) {
        if let OrderEvent::Paid { customer, .. } = event.event {
            reactions.command(QualifyReferral { friend: customer, order: Some(OrderId::new(event.stream)) });
        }
    }
}

/// Refuses a referral whose first order is cancelled.
pub struct RefuseOnOrderCancelled;

impl Policy for RefuseOnOrderCancelled {
    const ID: &'static str = "refuse_on_order_cancelled";
    const START: Start = Start::Introduction;
    type Source = Order;
    const EVENTS: &'static [&'static str] = &["order.cancelled"];

    fn react(event: &Recorded<OrderEvent>, reactions: &mut Reactions) {
        if let OrderEvent::Cancelled { customer, .. } = event.event {
            reactions.command(RefuseReferral { friend: customer, order: OrderId::new(event.stream) });
        }
    }
}

/// Key of the timer that completes a referral.
const COMPLETION: &str = "completion";

/// Completes a referral at the end of its window.
pub struct FinishOnQualified;

impl Policy for FinishOnQualified {
    const ID: &'static str = "finish_on_qualified";
    const START: Start = Start::Introduction;
    type Source = Referral;
    const EVENTS: &'static [&'static str] = &["referral.qualified", "referral.refused"];

    fn react(event: &Recorded<ReferralEvent>, reactions: &mut Reactions) {
        match event.event {
            ReferralEvent::Qualified { friend, completes_at, .. } => {
                reactions.timer(COMPLETION, completes_at, FinishReferral { friend, due: completes_at });
            }
            ReferralEvent::Refused { .. } => reactions.cancel(COMPLETION),
            _ => {}
        }
    }
}
