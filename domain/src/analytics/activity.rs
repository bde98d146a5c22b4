//! Activity: something that a customer or a member of the team did or saw, such as a view of a product, a share of a post
//! or a click on a nudge (ANA-09, SOC-05). It is a fact: it changes no state, and read models count it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ActivityKind;
use crate::kernel::{Aggregate, Fact, NoRejection};
use crate::shared::{ActivityId, CustomerId, Date, Text};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Activity {}

/// Stored format: names and fields of events are never renamed or removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum ActivityEvent {
    /// A customer or a member did or saw something; `on` is the business day of the tenant's first store.
    #[serde(rename = "activity.tracked")]
    Tracked { kind: ActivityKind, subject: Option<Text<100>>, customer: Option<CustomerId>, on: Date },
}

impl Aggregate for Activity {
    const TYPE: &'static str = "Activity";
    type Id = ActivityId;
    type Event = ActivityEvent;
    type Rejection = NoRejection;

    fn apply(&mut self, _: &ActivityEvent) {}
}

impl Fact for Activity {}
