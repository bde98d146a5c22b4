//! Policies on webhook subscriptions.

use domain::integrations::{WebhookSubscription, WebhookSubscriptionEvent};
use domain::kernel::Recorded;
use domain::shared::WebhookSubscriptionId;
use serde::{Deserialize, Serialize};

use crate::kernel::{AnyCommand, Effect, Outcome, Policy, Reactions, Start};

/// Keeps the delivery cursor of a subscription in step with it. The cursor is the position up to which events were
/// delivered; it starts, stops and resumes with the subscription.
pub struct KeepCursorsOfWebhooks;

impl Policy for KeepCursorsOfWebhooks {
    const ID: &'static str = "keep_cursors_of_webhooks";
    const START: Start = Start::Beginning;
    type Source = WebhookSubscription;
    const EVENTS: &'static [&'static str] = &[
        "webhook.subscribed",
        "webhook.changed",
        "webhook.paused",
        "webhook.resumed",
        "webhook.replay_ordered",
        "webhook.unsubscribed",
    ];

    fn react(event: &Recorded<WebhookSubscriptionEvent>, reactions: &mut Reactions) {
        reactions.effect(KeepCursors { subscription: WebhookSubscriptionId::new(event.stream) });
    }
}

/// Sets the cursors of a subscription to the state in the log. It does not carry the change, so that it can run late,
/// twice and in any order.
#[derive(Serialize, Deserialize)]
pub struct KeepCursors {
    pub subscription: WebhookSubscriptionId,
}

impl Effect for KeepCursors {
    const NAME: &'static str = "keep_cursors";
    const TARGET: &'static str = "webhooks";

    fn follow_up(&self, _: &Outcome) -> Option<Box<dyn AnyCommand>> {
        None
    }
}
