//! The public names of events, as those write them who want to be told.

use std::fmt;
use std::str::FromStr;

use super::{Invalid, string_value};
use crate::kernel::event_names;

/// The dotted name of an event that there is, such as `order.placed`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventType(String);

impl EventType {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EventType {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match event_names().contains(text) {
            true => Ok(Self(text.into())),
            false => Invalid::because("expected the name of an event, such as order.placed"),
        }
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

string_value!(EventType, "EventType", { "type": "string", "pattern": "^[a-z_]+\\.[a-z_]+$", "maxLength": 100 });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_events_that_there_are_can_be_wanted() {
        assert!("order.placed".parse::<EventType>().is_ok());
        for odd in ["", "order", "order.*", "Order.placed", "order.misplaced", " order.placed"] {
            assert!(odd.parse::<EventType>().is_err(), "{odd:?}");
        }
    }
}
