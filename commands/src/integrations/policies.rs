//! Policies on webhook subscriptions.

use domain::integrations::{WebhookSubscription, WebhookSubscriptionEvent};
use domain::kernel::Recorded;
use domain::shared::WebhookSubscriptionId;
use serde::{Deserialize, Serialize};

use crate::kernel::{AnyCommand, Effect, Outcome, Policy, Reactions, Start};

/// Requests an update of a subscription's delivery cursors whenever the subscription changes. A cursor is the position
/// up to which events were delivered; it starts, pauses and ends with its subscription.
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

/// Updates the cursors of a subscription from its state in the log. The effect contains the subscription's id and not
/// the change, so that it can run late, twice and in any order.
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
