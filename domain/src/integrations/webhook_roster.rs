//! A tenant's subscriptions that have not ended (INT-10). Invariant: there are at most [`SUBSCRIPTIONS_MOST`].

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Aggregate, Decision, Rejection};
use crate::shared::{TenantId, WebhookSubscriptionId};

/// Every subscription is a reader of the log, so their number is bounded.
pub const SUBSCRIPTIONS_MOST: usize = 50;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct WebhookRoster {
    standing: BTreeSet<WebhookSubscriptionId>,
}

/// Names and fields are the stored format.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum WebhookRosterEvent {
    /// The tenant has one more subscription.
    #[serde(rename = "webhooks.added")]
    Added { subscription: WebhookSubscriptionId },
    /// One of the tenant's subscriptions is over.
    #[serde(rename = "webhooks.removed")]
    Removed { subscription: WebhookSubscriptionId },
}

/// Why there cannot be one more subscription.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema, thiserror::Error)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum WebhookRosterRejection {
    #[error("a tenant has at most {most} subscriptions")]
    TooManySubscriptions { most: usize },
}

impl Rejection for WebhookRosterRejection {}

impl WebhookRoster {
    pub fn add(&self, subscription: WebhookSubscriptionId) -> Decision<Self> {
        match self.standing.len() {
            _ if self.standing.contains(&subscription) => Ok(vec![]),
            SUBSCRIPTIONS_MOST.. => Err(WebhookRosterRejection::TooManySubscriptions { most: SUBSCRIPTIONS_MOST }),
            _ => Ok(vec![WebhookRosterEvent::Added { subscription }]),
        }
    }

    pub fn remove(&self, subscription: WebhookSubscriptionId) -> Decision<Self> {
        match self.standing.contains(&subscription) {
            true => Ok(vec![WebhookRosterEvent::Removed { subscription }]),
            false => Ok(vec![]),
        }
    }
}

impl Aggregate for WebhookRoster {
    const TYPE: &'static str = "WebhookRoster";
    // The events name addresses of receivers, and many an address contains a secret.
    const PUBLISHED: bool = false;
    type Id = TenantId;
    type Event = WebhookRosterEvent;
    type Rejection = WebhookRosterRejection;

    fn apply(&mut self, event: &WebhookRosterEvent) {
        match event {
            WebhookRosterEvent::Added { subscription } => _ = self.standing.insert(*subscription),
            WebhookRosterEvent::Removed { subscription } => _ = self.standing.remove(subscription),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::given;
    use crate::testing::values::id;

    fn subscription(number: usize) -> WebhookSubscriptionId {
        WebhookSubscriptionId::new(id((number as u128).saturating_add(1)))
    }

    fn added(number: usize) -> WebhookRosterEvent {
        WebhookRosterEvent::Added { subscription: subscription(number) }
    }

    #[test]
    fn there_is_a_last_subscription_and_one_that_ends_makes_room() {
        let full = || (0..SUBSCRIPTIONS_MOST).map(added);
        let one_more = subscription(SUBSCRIPTIONS_MOST);
        given(full())
            .when(|roster: &WebhookRoster| roster.add(one_more))
            .then_rejected(WebhookRosterRejection::TooManySubscriptions { most: SUBSCRIPTIONS_MOST });
        given(full())
            .when(|roster: &WebhookRoster| roster.remove(subscription(7)))
            .then_once([WebhookRosterEvent::Removed { subscription: subscription(7) }])
            .when(|roster| roster.add(one_more))
            .then_once([added(SUBSCRIPTIONS_MOST)]);
    }

    #[test]
    fn a_subscription_is_counted_once_and_what_is_not_there_does_not_go() {
        given([added(1)]).when(|roster: &WebhookRoster| roster.add(subscription(1))).then_nothing();
        given([added(1)]).when(|roster: &WebhookRoster| roster.remove(subscription(2))).then_nothing();
    }
}
