//! Webhook subscriptions of a tenant (INT-10). Deliveries are not a read model but a plain table, served by
//! `GET /v1/webhooks/{id}/deliveries`.

use domain::integrations::WebhookSubscriptionEvent;
use domain::kernel::Recorded;
use domain::shared::{EventType, Permission, Reason, TargetUrl, Text, Timestamp, WebhookSubscriptionId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Folded, ReadModel, Sources, Unfoldable};

/// Subscription that sends events to a URL outside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WebhookSubscription {
    /// Id of the subscription.
    pub subscription: WebhookSubscriptionId,
    /// URL to which events are sent.
    pub url: TargetUrl,
    /// Names of the events that are sent; an empty list means all events.
    pub events: Vec<EventType>,
    /// Purpose of the subscription.
    pub description: Option<Text<500>>,
    /// Delivery status.
    pub status: WebhookStatus,
    /// Reason for the pause, while paused.
    pub pause_reason: Option<Reason>,
    /// Generation number of the signing secret, from 0.
    pub secret_generation: i64,
    /// Time until which the previous secret signs as well.
    pub old_secret_until: Option<Timestamp>,
    /// Time at which the subscription was created.
    pub subscribed_at: Timestamp,
    /// Time of the last change.
    pub changed_at: Timestamp,
}

/// Delivery status of a webhook subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WebhookStatus {
    /// Events are sent.
    Active,
    /// Events are held back until the subscription is resumed.
    Paused,
    /// The subscription has ended for good.
    Ended,
}

impl ReadModel for WebhookSubscription {
    const NEEDS: Permission = Permission::SeeWebhooks;
    const KEY: &'static [&'static str] = &["subscription"];
    const INDEXED: &'static [&'static str] = &["status", "subscribed_at"];

    fn sources(from: &mut Sources<Self>) {
        from.row_per_stream::<domain::integrations::WebhookSubscription>(Self::on_subscription);
    }
}

impl WebhookSubscription {
    fn on_subscription(row: Option<Self>, event: &Recorded<WebhookSubscriptionEvent>) -> Folded<Self> {
        if let WebhookSubscriptionEvent::Subscribed { url, events, description } = &event.event {
            return Ok(Some(Self {
                subscription: WebhookSubscriptionId::new(event.stream),
                url: url.clone(),
                events: events.iter().cloned().collect(),
                description: description.clone(),
                status: WebhookStatus::Active,
                pause_reason: None,
                secret_generation: 0,
                old_secret_until: None,
                subscribed_at: event.occurred_at,
                changed_at: event.occurred_at,
            }));
        }
        let mut row = row.ok_or_else(Unfoldable::no_row)?;
        row.apply(&event.event);
        Ok(Some(Self { changed_at: event.occurred_at, ..row }))
    }

    fn apply(&mut self, event: &WebhookSubscriptionEvent) {
        match event.clone() {
            WebhookSubscriptionEvent::Subscribed { .. }
            | WebhookSubscriptionEvent::SecretShown { .. }
            | WebhookSubscriptionEvent::ReplayOrdered { .. } => {}
            WebhookSubscriptionEvent::Changed { url, events, description } => {
                self.url = url;
                self.events = events.into_iter().collect();
                self.description = description;
            }
            WebhookSubscriptionEvent::Paused { reason } => {
                self.status = WebhookStatus::Paused;
                self.pause_reason = Some(reason);
            }
            WebhookSubscriptionEvent::Resumed {} => {
                self.status = WebhookStatus::Active;
                self.pause_reason = None;
            }
            WebhookSubscriptionEvent::SecretRotated { generation, old_valid_until } => {
                self.secret_generation = generation.into();
                self.old_secret_until = Some(old_valid_until);
            }
            WebhookSubscriptionEvent::Unsubscribed {} => {
                self.status = WebhookStatus::Ended;
                self.pause_reason = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::testing::Story;

    fn after(events: Vec<WebhookSubscriptionEvent>) -> WebhookSubscription {
        let url = "https://hooks.example.org/shop".parse().expect("an address");
        let events_sent = ["order.placed", "order.paid"].map(|name| name.parse().expect("an event")).into();
        let subscribed = WebhookSubscriptionEvent::Subscribed { url, events: events_sent, description: None };
        let subscription = WebhookSubscriptionId::new(Uuid::from_u128(7));
        let story = [subscribed].into_iter().chain(events).fold(Story::new(), |story, event| {
            story.then::<domain::integrations::WebhookSubscription>(subscription, event)
        });
        story.row()
    }

    #[test]
    fn pause_reason_is_shown_until_the_subscription_is_resumed() {
        let paused = || WebhookSubscriptionEvent::Paused { reason: "it is gone".parse().expect("a reason") };
        let row = after(vec![paused()]);
        assert_eq!(row.status, WebhookStatus::Paused);
        assert_eq!(row.pause_reason.map(|reason| reason.to_string()).as_deref(), Some("it is gone"));
        let row = after(vec![paused(), WebhookSubscriptionEvent::Resumed {}]);
        assert_eq!((row.status, row.pause_reason), (WebhookStatus::Active, None));
        assert_eq!(after(vec![paused(), WebhookSubscriptionEvent::Unsubscribed {}]).status, WebhookStatus::Ended);
    }

    #[test]
    fn settings_are_shown_and_secrets_are_not() {
        let url: TargetUrl = "https://other.example.org/".parse().expect("an address");
        let changed = WebhookSubscriptionEvent::Changed { url: url.clone(), events: [].into(), description: None };
        let until = Story::at(99);
        let rotated = WebhookSubscriptionEvent::SecretRotated { generation: 1, old_valid_until: until };
        let row = after(vec![changed, rotated, WebhookSubscriptionEvent::SecretShown { generation: 1 }]);
        assert_eq!((row.url, row.events.len()), (url, 0));
        assert_eq!((row.secret_generation, row.old_secret_until, row.changed_at), (1, Some(until), Story::at(4)));
    }
}
