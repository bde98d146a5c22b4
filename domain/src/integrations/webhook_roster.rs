//! Webhook roster: a tenant's subscriptions that have not ended (INT-10). Invariant: at most [`SUBSCRIPTIONS_MOST`].

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Aggregate, Decision, Rejection};
use crate::shared::{TenantId, WebhookSubscriptionId};

/// Largest number of subscriptions per tenant. Each one reads the log, so the limit bounds the load.
pub const SUBSCRIPTIONS_MOST: usize = 50;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct WebhookRoster {
    #[serde(rename = "standing")]
    open: BTreeSet<WebhookSubscriptionId>,
}

/// Stored format: names and fields of events are never renamed or removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum WebhookRosterEvent {
    /// A subscription of the tenant began.
    #[serde(rename = "webhooks.added")]
    Added { subscription: WebhookSubscriptionId },
    /// A subscription of the tenant ended.
    #[serde(rename = "webhooks.removed")]
    Removed { subscription: WebhookSubscriptionId },
}

/// Rejections of a webhook roster.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema, thiserror::Error)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum WebhookRosterRejection {
    #[error("a tenant has at most {most} subscriptions")]
    TooManySubscriptions { most: usize },
}

impl Rejection for WebhookRosterRejection {}

impl WebhookRoster {
    pub fn add(&self, subscription: WebhookSubscriptionId) -> Decision<Self> {
        match self.open.len() {
            _ if self.open.contains(&subscription) => Ok(vec![]),
            SUBSCRIPTIONS_MOST.. => Err(WebhookRosterRejection::TooManySubscriptions { most: SUBSCRIPTIONS_MOST }),
            _ => Ok(vec![WebhookRosterEvent::Added { subscription }]),
        }
    }

    pub fn remove(&self, subscription: WebhookSubscriptionId) -> Decision<Self> {
        match self.open.contains(&subscription) {
            true => Ok(vec![WebhookRosterEvent::Removed { subscription }]),
            false => Ok(vec![]),
        }
    }
}

impl Aggregate for WebhookRoster {
    const TYPE: &'static str = "WebhookRoster";
    // Not delivered to webhooks, like the events of the subscriptions themselves.
    const PUBLISHED: bool = false;
    type Id = TenantId;
    type Event = WebhookRosterEvent;
    type Rejection = WebhookRosterRejection;

    fn apply(&mut self, event: &WebhookRosterEvent) {
        match event {
            WebhookRosterEvent::Added { subscription } => _ = self.open.insert(*subscription),
            WebhookRosterEvent::Removed { subscription } => _ = self.open.remove(subscription),
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
    fn number_of_subscriptions_is_limited_and_an_ended_one_frees_its_place() {
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
    fn subscription_is_counted_once_and_removing_an_unknown_one_changes_nothing() {
        given([added(1)]).when(|roster: &WebhookRoster| roster.add(subscription(1))).then_nothing();
        given([added(1)]).when(|roster: &WebhookRoster| roster.remove(subscription(2))).then_nothing();
    }
}
