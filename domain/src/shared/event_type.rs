//! Public name of a kind of event, as in the filter of a webhook subscription.

use std::fmt;
use std::str::FromStr;

use compact_str::CompactString;

use super::{Invalid, string_value};
use crate::kernel::event_by_name;

/// A dotted event name such as `order.placed`.
///
/// Parsing also accepts names that this version of the program does not know, because another version may have stored
/// them. Code that takes a name from a caller checks [`EventType::is_known`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventType(CompactString);

impl EventType {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True if an aggregate of this version writes events of this name.
    pub fn is_known(&self) -> bool {
        event_by_name(&self.0).is_some()
    }

    /// True if events of this name are published; false for an unknown name.
    pub fn is_published(&self) -> bool {
        event_by_name(&self.0).is_some_and(|event| !event.is_private)
    }
}

/// Longest name, in bytes.
const BYTES_MOST: usize = 100;

impl FromStr for EventType {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let is_word =
            |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        let is_name = text.split_once('.').is_some_and(|(subject, verb)| is_word(subject) && is_word(verb));
        match is_name && text.len() <= BYTES_MOST {
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
    use crate::kernel::aggregates;

    #[test]
    fn well_formed_name_is_accepted_and_only_existing_events_are_known() {
        let known = |name: &str| name.parse().map(|name: EventType| name.is_known());
        // A later version may have stored a name that this version does not know.
        assert_eq!([known("order.placed"), known("order.misplaced")], [Ok(true), Ok(false)]);
        assert!(
            aggregates().iter().flat_map(|aggregate| &aggregate.events).all(|event| known(&event.name) == Ok(true))
        );
        let published = |name: &str| name.parse().map(|name: EventType| name.is_published());
        assert_eq!(
            [published("order.placed"), published("webhook.paused"), published("order.misplaced")],
            [Ok(true), Ok(false), Ok(false)]
        );
        for odd in ["", ".", "order", "order.", ".placed", "order.*", "Order.placed", "a.b.c", " order.placed"] {
            assert!(odd.parse::<EventType>().is_err(), "{odd:?}");
        }
        assert!(format!("{}.b", "a".repeat(BYTES_MOST)).parse::<EventType>().is_err());
    }
}
