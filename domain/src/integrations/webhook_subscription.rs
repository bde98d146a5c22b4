//! A wish to be told of events at an address outside (INT-10, PM-24).
//!
//! Invariants: what is paused is sent nothing; what has ended stays ended; no secret is ever here, only the number of its
//! generation, from which the keeper of the outer key derives it.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Aggregate, Decision, Rejection, Retry};
use crate::shared::{EventType, Reason, Seconds, TargetUrl, Text, Timestamp, WebhookSubscriptionId};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct WebhookSubscription {
    terms: Option<WebhookTerms>,
    standing: Standing,
    generation: u32,
    /// Until when the secret before this one still signs.
    old_valid_until: Option<Timestamp>,
    /// The range that was last asked for again.
    replay: Option<(i64, i64)>,
}

/// Who is told of what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WebhookTerms {
    pub url: TargetUrl,
    /// Every event where there is none.
    pub events: BTreeSet<EventType>,
    pub description: Option<Text<500>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Standing {
    #[default]
    Active,
    Paused,
    Ended,
}

/// Names and fields are the stored format.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum WebhookSubscriptionEvent {
    /// From the next event on, an address outside is told of these kinds of events, or of all where none is named.
    #[serde(rename = "webhook.subscribed")]
    Subscribed { url: TargetUrl, events: BTreeSet<EventType>, description: Option<Text<500>> },
    /// Another address, or other kinds of events.
    #[serde(rename = "webhook.changed")]
    Changed { url: TargetUrl, events: BTreeSet<EventType>, description: Option<Text<500>> },
    /// Nothing is sent for now; what happens meanwhile waits.
    #[serde(rename = "webhook.paused")]
    Paused { reason: Reason },
    /// It goes on where it stood.
    #[serde(rename = "webhook.resumed")]
    Resumed {},
    /// Another secret signs from now on, and beside it the old one until the given time.
    #[serde(rename = "webhook.secret_rotated")]
    SecretRotated { generation: u32, old_valid_until: Timestamp },
    /// Somebody was shown the secrets. Who, is the actor of the event.
    #[serde(rename = "webhook.secret_shown")]
    SecretShown { generation: u32 },
    /// The events between these positions of the tenant are sent once more, both of them included.
    #[serde(rename = "webhook.replay_ordered")]
    ReplayOrdered { from: i64, to: i64 },
    /// Nothing is sent any more, for ever.
    #[serde(rename = "webhook.unsubscribed")]
    Unsubscribed {},
}

/// Why a subscription could not be made or changed.
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
    /// Begins to tell. Doing so again on the same terms changes nothing.
    pub fn subscribe(&self, terms: WebhookTerms) -> Decision<Self> {
        match &self.terms {
            None => {
                let WebhookTerms { url, events, description } = terms;
                Ok(vec![WebhookSubscriptionEvent::Subscribed { url, events, description }])
            }
            Some(_) if self.standing == Standing::Ended => Err(WebhookSubscriptionRejection::SubscriptionEnded {}),
            Some(known) if *known == terms => Ok(vec![]),
            Some(_) => Err(WebhookSubscriptionRejection::SubscriptionExists {}),
        }
    }

    /// Goes on under other terms, from the next event that is sent on.
    pub fn change(&self, terms: WebhookTerms) -> Decision<Self> {
        if *self.known()? == terms {
            return Ok(vec![]);
        }
        let WebhookTerms { url, events, description } = terms;
        Ok(vec![WebhookSubscriptionEvent::Changed { url, events, description }])
    }

    /// Sends nothing for now. Once paused, the first reason stays.
    pub fn pause(&self, reason: Reason) -> Decision<Self> {
        self.known()?;
        match self.standing {
            Standing::Paused => Ok(vec![]),
            _ => Ok(vec![WebhookSubscriptionEvent::Paused { reason }]),
        }
    }

    pub fn resume(&self) -> Decision<Self> {
        self.known()?;
        match self.standing {
            Standing::Paused => Ok(vec![WebhookSubscriptionEvent::Resumed {}]),
            _ => Ok(vec![]),
        }
    }

    /// Signs with another secret from now on. The old one goes on for so long; one that is older still ends at once.
    pub fn rotate_secret(&self, now: Timestamp, old_valid: Seconds) -> Decision<Self> {
        self.known()?;
        let generation = self.generation.saturating_add(1);
        Ok(vec![WebhookSubscriptionEvent::SecretRotated { generation, old_valid_until: now.after(old_valid) }])
    }

    /// Writes down that somebody is shown the secrets.
    pub fn show_secret(&self) -> Decision<Self> {
        self.known()?;
        Ok(vec![WebhookSubscriptionEvent::SecretShown { generation: self.generation }])
    }

    /// Sends a range once more, beside what is new. A range that is still being sent is given up for it.
    pub fn replay(&self, from: i64, to: i64) -> Decision<Self> {
        self.known()?;
        match self.standing {
            Standing::Paused => Err(WebhookSubscriptionRejection::SubscriptionPaused {}),
            _ => Ok(vec![WebhookSubscriptionEvent::ReplayOrdered { from, to }]),
        }
    }

    /// Ends it for ever.
    pub fn unsubscribe(&self) -> Decision<Self> {
        match self.standing {
            Standing::Ended => Ok(vec![]),
            _ => self.known().map(|_| vec![WebhookSubscriptionEvent::Unsubscribed {}]),
        }
    }

    /// What is to be sent where; nothing while it is paused, and when it has ended.
    pub fn in_force(&self) -> Option<&WebhookTerms> {
        self.terms.as_ref().filter(|_| self.standing == Standing::Active)
    }

    /// Whether it was ever made.
    pub const fn was_made(&self) -> bool {
        self.terms.is_some()
    }

    /// Whether it was made and has not ended.
    pub fn stands(&self) -> bool {
        self.known().is_ok()
    }

    /// The generations of the secrets that sign at this time, the newest first, and until when, where that is known.
    pub fn generations(&self, now: Timestamp) -> Vec<(u32, Option<Timestamp>)> {
        let until = self.old_valid_until.filter(|until| *until > now);
        let old = until.and_then(|until| Some((self.generation.checked_sub(1)?, Some(until))));
        [(self.generation, None)].into_iter().chain(old).collect()
    }

    /// The range that was last asked for again, its ends included.
    pub const fn replayed(&self) -> Option<(i64, i64)> {
        self.replay
    }

    fn known(&self) -> Result<&WebhookTerms, WebhookSubscriptionRejection> {
        match self.standing {
            Standing::Ended => Err(WebhookSubscriptionRejection::SubscriptionEnded {}),
            _ => self.terms.as_ref().ok_or(WebhookSubscriptionRejection::SubscriptionUnknown {}),
        }
    }
}

impl Aggregate for WebhookSubscription {
    const TYPE: &'static str = "WebhookSubscription";
    // The events name addresses of receivers, and many an address contains a secret.
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
            WebhookSubscriptionEvent::Paused { .. } => self.standing = Standing::Paused,
            WebhookSubscriptionEvent::Resumed {} => self.standing = Standing::Active,
            WebhookSubscriptionEvent::SecretRotated { generation, old_valid_until } => {
                self.generation = generation;
                self.old_valid_until = Some(old_valid_until);
            }
            WebhookSubscriptionEvent::SecretShown { .. } => {}
            WebhookSubscriptionEvent::ReplayOrdered { from, to } => self.replay = Some((from, to)),
            WebhookSubscriptionEvent::Unsubscribed {} => self.standing = Standing::Ended,
        }
    }
}

#[cfg(test)]
#[path = "webhook_subscription_tests.rs"]
mod tests;
