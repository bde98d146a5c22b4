//! Every subscription of a tenant (INT-10). What was sent is a table and no fold: `GET /v1/webhooks/{id}/deliveries`.

use domain::integrations::WebhookSubscriptionEvent;
use domain::kernel::Recorded;
use domain::shared::{EventType, Permission, Reason, TargetUrl, Text, Timestamp, WebhookSubscriptionId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Folded, ReadModel, Sources, Unfoldable};

/// An address outside that is told of events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WebhookSubscription {
    /// The subscription.
    pub subscription: WebhookSubscriptionId,
    /// Where events are sent.
    pub url: TargetUrl,
    /// The names of the events that are sent; every event where there is none.
    pub events: Vec<EventType>,
    /// What it is for.
    pub description: Option<Text<500>>,
    /// Whether anything is sent.
    pub status: WebhookStatus,
    /// Why nothing is sent, while it is paused.
    pub pause_reason: Option<Reason>,
    /// The number of the secret that signs, from 0.
    pub secret_generation: i64,
    /// Until when the secret before it signs as well.
    pub old_secret_until: Option<Timestamp>,
    /// When it was made.
    pub subscribed_at: Timestamp,
    /// When anything about it changed last.
    pub changed_at: Timestamp,
}

/// Whether events are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WebhookStatus {
    /// They are.
    Active,
    /// They wait.
    Paused,
    /// Never again.
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
        row.take(&event.event);
        Ok(Some(Self { changed_at: event.occurred_at, ..row }))
    }

    fn take(&mut self, event: &WebhookSubscriptionEvent) {
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
        let wanted = ["order.placed", "order.paid"].map(|name| name.parse().expect("an event")).into();
        let subscribed = WebhookSubscriptionEvent::Subscribed { url, events: wanted, description: None };
        let subscription = WebhookSubscriptionId::new(Uuid::from_u128(7));
        let story = [subscribed].into_iter().chain(events).fold(Story::new(), |story, event| {
            story.then::<domain::integrations::WebhookSubscription>(subscription, event)
        });
        story.row()
    }

    #[test]
    fn a_subscription_shows_why_it_is_paused_until_it_goes_on() {
        let paused = || WebhookSubscriptionEvent::Paused { reason: "it is gone".parse().expect("a reason") };
        let row = after(vec![paused()]);
        assert_eq!(row.status, WebhookStatus::Paused);
        assert_eq!(row.pause_reason.map(|reason| reason.to_string()).as_deref(), Some("it is gone"));
        let row = after(vec![paused(), WebhookSubscriptionEvent::Resumed {}]);
        assert_eq!((row.status, row.pause_reason), (WebhookStatus::Active, None));
        assert_eq!(after(vec![paused(), WebhookSubscriptionEvent::Unsubscribed {}]).status, WebhookStatus::Ended);
    }

    #[test]
    fn a_subscription_shows_its_terms_and_never_a_secret() {
        let url: TargetUrl = "https://other.example.org/".parse().expect("an address");
        let changed = WebhookSubscriptionEvent::Changed { url: url.clone(), events: [].into(), description: None };
        let until = Story::at(99);
        let rotated = WebhookSubscriptionEvent::SecretRotated { generation: 1, old_valid_until: until };
        let row = after(vec![changed, rotated, WebhookSubscriptionEvent::SecretShown { generation: 1 }]);
        assert_eq!((row.url, row.events.len()), (url, 0));
        assert_eq!((row.secret_generation, row.old_secret_until, row.changed_at), (1, Some(until), Story::at(4)));
    }
}
