//! Webhook subscription: delivery of events to a URL outside (INT-10, PM-24).
//!
//! Invariants: nothing is delivered while a subscription is paused; an ended one stays ended; the state contains no
//! secret, only its generation number: the secret is derived from this number and the outer key.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Aggregate, Decision, Rejection, Retry};
use crate::shared::{EventType, Reason, Seconds, TargetUrl, Text, Timestamp, WebhookSubscriptionId};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct WebhookSubscription {
    terms: Option<WebhookTerms>,
    #[serde(rename = "standing")]
    status: Status,
    /// Generation number of the current secret.
    generation: u32,
    /// End of the time in which the previous secret signs as well.
    old_valid_until: Option<Timestamp>,
    /// First and last tenant position of the last ordered replay.
    replay: Option<(i64, i64)>,
}

/// Terms of a subscription: URL, filter of events and description.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WebhookTerms {
    pub url: TargetUrl,
    /// Event names to deliver; all events if empty.
    pub events: BTreeSet<EventType>,
    pub description: Option<Text<500>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Status {
    #[default]
    Active,
    Paused,
    Ended,
}

/// Stored format: names and fields of events are never renamed or removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum WebhookSubscriptionEvent {
    /// A URL was subscribed to these events, or to all events if the list is empty, from the next event on.
    #[serde(rename = "webhook.subscribed")]
    Subscribed { url: TargetUrl, events: BTreeSet<EventType>, description: Option<Text<500>> },
    /// The URL, the events or the description changed.
    #[serde(rename = "webhook.changed")]
    Changed { url: TargetUrl, events: BTreeSet<EventType>, description: Option<Text<500>> },
    /// Delivery is paused; events that occur meanwhile are delivered after it is resumed.
    #[serde(rename = "webhook.paused")]
    Paused { reason: Reason },
    /// Delivery continues with the first event that was not delivered.
    #[serde(rename = "webhook.resumed")]
    Resumed {},
    /// A new secret signs deliveries; the previous one signs them as well until the given time.
    #[serde(rename = "webhook.secret_rotated")]
    SecretRotated { generation: u32, old_valid_until: Timestamp },
    /// The secrets were shown to the actor of the event.
    #[serde(rename = "webhook.secret_shown")]
    SecretShown { generation: u32 },
    /// The events from the first to the last of these tenant positions, both included, are delivered again.
    #[serde(rename = "webhook.replay_ordered")]
    ReplayOrdered { from: i64, to: i64 },
    /// The subscription ended for ever.
    #[serde(rename = "webhook.unsubscribed")]
    Unsubscribed {},
}

/// Rejections of a webhook subscription.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema, thiserror::Error)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum WebhookSubscriptionRejection {
    #[error("there is no such subscription")]
    SubscriptionUnknown {},
    #[error("this subscription was made already, on other terms")]
    SubscriptionExists {},
    #[error("this subscription has ended; make a new one")]
    SubscriptionEnded {},
    #[error("this subscription is paused; resume it first")]
    SubscriptionPaused {},
}

impl Rejection for WebhookSubscriptionRejection {
    fn retry(&self) -> Retry {
        match self {
            Self::SubscriptionExists {} | Self::SubscriptionEnded {} => Retry::Never,
            _ => Retry::NewId,
        }
    }
}

impl WebhookSubscription {
    /// Creates the subscription. A repeat with the same terms changes nothing.
    pub fn subscribe(&self, terms: WebhookTerms) -> Decision<Self> {
        match &self.terms {
            None => {
                let WebhookTerms { url, events, description } = terms;
                Ok(vec![WebhookSubscriptionEvent::Subscribed { url, events, description }])
            }
            Some(_) if self.status == Status::Ended => Err(WebhookSubscriptionRejection::SubscriptionEnded {}),
            Some(known) if *known == terms => Ok(vec![]),
            Some(_) => Err(WebhookSubscriptionRejection::SubscriptionExists {}),
        }
    }

    /// Changes the terms, from the next delivered event on.
    pub fn change(&self, terms: WebhookTerms) -> Decision<Self> {
        if *self.known()? == terms {
            return Ok(vec![]);
        }
        let WebhookTerms { url, events, description } = terms;
        Ok(vec![WebhookSubscriptionEvent::Changed { url, events, description }])
    }

    /// Pauses delivery. If it is paused already, the first reason is kept.
    pub fn pause(&self, reason: Reason) -> Decision<Self> {
        self.known()?;
        match self.status {
            Status::Paused => Ok(vec![]),
            _ => Ok(vec![WebhookSubscriptionEvent::Paused { reason }]),
        }
    }

    /// Resumes paused delivery.
    pub fn resume(&self) -> Decision<Self> {
        self.known()?;
        match self.status {
            Status::Paused => Ok(vec![WebhookSubscriptionEvent::Resumed {}]),
            _ => Ok(vec![]),
        }
    }

    /// Rotates the signing secret. For `old_valid_for`, the previous secret signs as well; no older secret does.
    pub fn rotate_secret(&self, now: Timestamp, old_valid_for: Seconds) -> Decision<Self> {
        self.known()?;
        let generation = self.generation.saturating_add(1);
        Ok(vec![WebhookSubscriptionEvent::SecretRotated { generation, old_valid_until: now.after(old_valid_for) }])
    }

    /// Records that the secrets are shown.
    pub fn show_secret(&self) -> Decision<Self> {
        self.known()?;
        Ok(vec![WebhookSubscriptionEvent::SecretShown { generation: self.generation }])
    }

    /// Orders that the events from one tenant position to another, both included, are delivered again, beside new
    /// events. Replaces a replay that is in progress.
    pub fn replay(&self, from: i64, to: i64) -> Decision<Self> {
        self.known()?;
        match self.status {
            Status::Paused => Err(WebhookSubscriptionRejection::SubscriptionPaused {}),
            _ => Ok(vec![WebhookSubscriptionEvent::ReplayOrdered { from, to }]),
        }
    }

    /// Ends the subscription for ever.
    pub fn unsubscribe(&self) -> Decision<Self> {
        match self.status {
            Status::Ended => Ok(vec![]),
            _ => self.known().map(|_| vec![WebhookSubscriptionEvent::Unsubscribed {}]),
        }
    }

    /// Terms by which events are delivered now; `None` unless the subscription is active.
    pub fn active_terms(&self) -> Option<&WebhookTerms> {
        self.terms.as_ref().filter(|_| self.status == Status::Active)
    }

    /// True once the subscription was created, also after it has ended.
    pub const fn is_created(&self) -> bool {
        self.terms.is_some()
    }

    /// True if the subscription was created and has not ended.
    pub fn is_open(&self) -> bool {
        self.known().is_ok()
    }

    /// Generations of the secrets that sign at this time, newest first, each with its end if it has one.
    pub fn generations(&self, now: Timestamp) -> Vec<(u32, Option<Timestamp>)> {
        let until = self.old_valid_until.filter(|until| *until > now);
        let old = until.and_then(|until| Some((self.generation.checked_sub(1)?, Some(until))));
        [(self.generation, None)].into_iter().chain(old).collect()
    }

    /// First and last tenant position of the last ordered replay, both included.
    pub const fn replay_range(&self) -> Option<(i64, i64)> {
        self.replay
    }

    /// Terms of the subscription; a rejection if it was never created or has ended.
    fn known(&self) -> Result<&WebhookTerms, WebhookSubscriptionRejection> {
        match self.status {
            Status::Ended => Err(WebhookSubscriptionRejection::SubscriptionEnded {}),
            _ => self.terms.as_ref().ok_or(WebhookSubscriptionRejection::SubscriptionUnknown {}),
        }
    }
}

impl Aggregate for WebhookSubscription {
    const TYPE: &'static str = "WebhookSubscription";
    // The events contain URLs of receivers, and many such URLs contain a secret.
    const PUBLISHED: bool = false;
    type Id = WebhookSubscriptionId;
    type Event = WebhookSubscriptionEvent;
    type Rejection = WebhookSubscriptionRejection;

    fn apply(&mut self, event: &WebhookSubscriptionEvent) {
        match event.clone() {
            WebhookSubscriptionEvent::Subscribed { url, events, description }
            | WebhookSubscriptionEvent::Changed { url, events, description } => {
                self.terms = Some(WebhookTerms { url, events, description });
            }
            WebhookSubscriptionEvent::Paused { .. } => self.status = Status::Paused,
            WebhookSubscriptionEvent::Resumed {} => self.status = Status::Active,
            WebhookSubscriptionEvent::SecretRotated { generation, old_valid_until } => {
                self.generation = generation;
                self.old_valid_until = Some(old_valid_until);
            }
            WebhookSubscriptionEvent::SecretShown { .. } => {}
            WebhookSubscriptionEvent::ReplayOrdered { from, to } => self.replay = Some((from, to)),
            WebhookSubscriptionEvent::Unsubscribed {} => self.status = Status::Ended,
        }
    }
}

#[cfg(test)]
#[path = "webhook_subscription_tests.rs"]
mod tests;
