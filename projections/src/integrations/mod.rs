//! Integrations: webhook subscriptions.

mod webhook_subscription;

pub use webhook_subscription::{WebhookStatus, WebhookSubscription};

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.read_model::<WebhookSubscription>();
}
