//! Integrations: webhook subscriptions.

mod webhook_roster;
mod webhook_subscription;

pub use webhook_roster::{SUBSCRIPTIONS_MOST, WebhookRoster, WebhookRosterEvent, WebhookRosterRejection};
pub use webhook_subscription::{
    WebhookSubscription, WebhookSubscriptionEvent, WebhookSubscriptionRejection, WebhookTerms,
};

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.aggregate::<WebhookRoster>();
    each.aggregate::<WebhookSubscription>();
}
