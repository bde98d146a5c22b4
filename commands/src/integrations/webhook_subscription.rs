//! A wish to be told of events at an address outside.

use std::collections::BTreeSet;

use domain::integrations::{WebhookRoster, WebhookSubscription, WebhookTerms};
use domain::shared::{EventType, Permission, Reason, Seconds, TargetUrl, Text, WebhookSubscriptionId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Command, Context, Desk, Hint, Misuse, Refusal, Subject};

/// How long a secret still signs beside the one that takes its place.
const OLD_SECRET_VALID: Seconds = Seconds(24 * 60 * 60);

/// Have events sent to an address of yours from now on, in their order and signed as Standard Webhooks 1.0 says.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Subscribe {
    /// Made by the caller, so that sending it again makes no second subscription.
    pub subscription: WebhookSubscriptionId,
    /// Begins with `https://` and is reachable from the internet.
    pub url: TargetUrl,
    /// The names of the events that are wanted; all of them where none is named.
    pub events: Vec<EventType>,
    /// What it is for.
    pub description: Option<Text<500>>,
}

impl Command for Subscribe {
    const NEEDS: Permission = Permission::ManageWebhooks;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<WebhookSubscription>(self.subscription);
    }

    fn target(&self) -> Option<&TargetUrl> {
        Some(&self.url)
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        desk.fetch(|hint| {
            hint.stream::<WebhookRoster>(context.tenant).stream::<WebhookSubscription>(self.subscription);
        })?;
        let terms = terms(&self.url, &self.events, self.description.as_ref())?;
        desk.decide::<WebhookSubscription>(self.subscription, |subscription| subscription.subscribe(terms))?;
        desk.decide::<WebhookRoster>(context.tenant, |roster| roster.add(self.subscription))
    }
}

/// Have other events sent, or to another address. What waits to be sent again is tried at once.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeSubscription {
    pub subscription: WebhookSubscriptionId,
    pub url: TargetUrl,
    /// The names of the events that are wanted; all of them where none is named.
    pub events: Vec<EventType>,
    /// What it is for. What is left out is removed.
    pub description: Option<Text<500>>,
}

impl Command for ChangeSubscription {
    const NEEDS: Permission = Permission::ManageWebhooks;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<WebhookSubscription>(self.subscription);
    }

    fn target(&self) -> Option<&TargetUrl> {
        Some(&self.url)
    }

    fn decide(&self, desk: &mut Desk, _: &Context) -> Result<(), Refusal> {
        let terms = terms(&self.url, &self.events, self.description.as_ref())?;
        desk.decide::<WebhookSubscription>(self.subscription, |subscription| subscription.change(terms))
    }
}

/// Only what can ever be told may be wanted.
fn terms(url: &TargetUrl, events: &[EventType], description: Option<&Text<500>>) -> Result<WebhookTerms, Refusal> {
    for (place, event) in events.iter().enumerate() {
        let misuse = |text: &str| Err(Refusal::Misuse(Misuse::new("INVALID_FIELD", format!("events[{place}]"), text)));
        if !event.is_known() {
            return misuse("expected the name of an event, such as order.placed");
        }
        if event.as_str().starts_with("webhook") {
            return misuse("what happens to subscriptions is not delivered");
        }
    }
    let events: BTreeSet<_> = events.iter().cloned().collect();
    Ok(WebhookTerms { url: url.clone(), events, description: description.cloned() })
}

/// Send nothing to an address for now. What happens meanwhile waits until the subscription is resumed.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PauseSubscription {
    pub subscription: WebhookSubscriptionId,
    pub reason: Reason,
}

impl Command for PauseSubscription {
    const NEEDS: Permission = Permission::ManageWebhooks;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<WebhookSubscription>(self.subscription);
    }

    fn decide(&self, desk: &mut Desk, _: &Context) -> Result<(), Refusal> {
        desk.decide::<WebhookSubscription>(self.subscription, |subscription| subscription.pause(self.reason.clone()))
    }
}

/// Go on sending from the first event that was not delivered.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResumeSubscription {
    pub subscription: WebhookSubscriptionId,
}

impl Command for ResumeSubscription {
    const NEEDS: Permission = Permission::ManageWebhooks;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<WebhookSubscription>(self.subscription);
    }

    fn decide(&self, desk: &mut Desk, _: &Context) -> Result<(), Refusal> {
        desk.decide::<WebhookSubscription>(self.subscription, WebhookSubscription::resume)
    }
}

/// Sign with another secret from now on.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateSecret {
    pub subscription: WebhookSubscriptionId,
    /// Whether the old secret ends at once, because somebody has it who should not; otherwise both sign for a day.
    pub at_once: bool,
}

impl Command for RotateSecret {
    const NEEDS: Permission = Permission::ManageWebhooks;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<WebhookSubscription>(self.subscription);
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        let old_valid = if self.at_once { Seconds(0) } else { OLD_SECRET_VALID };
        desk.decide::<WebhookSubscription>(self.subscription, |subscription| {
            subscription.rotate_secret(context.now, old_valid)
        })
    }
}

/// Write down that somebody is shown the secrets of a subscription. `GET /v1/webhooks/{id}/secret` sends it and then
/// shows them; on its own it shows nothing.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShowSecret {
    pub subscription: WebhookSubscriptionId,
}

impl Command for ShowSecret {
    const NEEDS: Permission = Permission::ManageWebhooks;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<WebhookSubscription>(self.subscription);
    }

    fn decide(&self, desk: &mut Desk, _: &Context) -> Result<(), Refusal> {
        desk.decide::<WebhookSubscription>(self.subscription, WebhookSubscription::show_secret)
    }
}

/// Send the events of a range once more, in their order and under the ids they had, beside what is new.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayEvents {
    pub subscription: WebhookSubscriptionId,
    /// The position of the first event, as its delivery and receipts tell it.
    #[schemars(range(min = 1))]
    pub from: i64,
    /// The position of the last event. Nothing beyond this command itself is sent again.
    #[schemars(range(min = 1))]
    pub to: i64,
}

impl Command for ReplayEvents {
    const NEEDS: Permission = Permission::ManageWebhooks;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<WebhookSubscription>(self.subscription);
    }

    fn decide(&self, desk: &mut Desk, _: &Context) -> Result<(), Refusal> {
        for (field, position) in [("from", self.from), ("to", self.to)] {
            if position < 1 {
                return Err(Refusal::Misuse(Misuse::new("INVALID_FIELD", field, "positions begin at 1")));
            }
        }
        if self.to < self.from {
            return Err(Refusal::Misuse(Misuse::new("INVALID_FIELD", "to", "the range ends before it begins")));
        }
        desk.decide::<WebhookSubscription>(self.subscription, |subscription| subscription.replay(self.from, self.to))
    }
}

/// Send nothing to an address any more, for ever.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Unsubscribe {
    pub subscription: WebhookSubscriptionId,
}

impl Command for Unsubscribe {
    const NEEDS: Permission = Permission::ManageWebhooks;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<WebhookSubscription>(self.subscription);
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        desk.fetch(|hint| {
            hint.stream::<WebhookRoster>(context.tenant).stream::<WebhookSubscription>(self.subscription);
        })?;
        desk.decide::<WebhookSubscription>(self.subscription, WebhookSubscription::unsubscribe)?;
        desk.decide::<WebhookRoster>(context.tenant, |roster| roster.remove(self.subscription))
    }
}
