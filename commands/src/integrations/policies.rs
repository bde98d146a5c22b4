//! What follows from a change of a subscription.

use domain::integrations::{WebhookSubscription, WebhookSubscriptionEvent};
use domain::kernel::Recorded;
use domain::shared::WebhookSubscriptionId;
use serde::{Deserialize, Serialize};

use crate::kernel::{AnyCommand, Effect, Outcome, Policy, Reactions, Start};

/// Whoever delivers keeps a cursor for every subscription: how far its address was told. It has to begin, to stop and to go
/// on as the subscription does.
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

/// Bring the cursors of a subscription to where the log says that they should be. It says nothing of what changed, so that
/// it may be done late, twice and in any order.
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
