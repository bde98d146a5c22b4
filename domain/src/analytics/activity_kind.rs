//! Kind of an activity.

use std::fmt;
use std::str::FromStr;

use compact_str::CompactString;

use crate::shared::{Invalid, string_value};

/// Name of a kind of activity, chosen by the client: 1 to 50 lower-case letters, digits and underscores, such as
/// `product_viewed`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActivityKind(CompactString);

impl FromStr for ActivityKind {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        let begins = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
        if !begins || text.len() > 50 || !text.bytes().all(allowed) {
            return Invalid::because("expected 1 to 50 lower-case letters, digits or underscores, a letter first");
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for ActivityKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

string_value!(ActivityKind, "ActivityKind", { "type": "string", "maxLength": 50, "pattern": "^[a-z][a-z0-9_]{0,49}$" });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_is_a_short_name_in_lower_case() {
        for good in ["a", "product_viewed", "step_2"] {
            assert!(good.parse::<ActivityKind>().is_ok(), "{good}");
        }
        for bad in ["", "_a", "2nd", "Product", "a-b", "a b", "\u{e4}", &"a".repeat(51)] {
            assert!(bad.parse::<ActivityKind>().is_err(), "{bad:?}");
        }
    }
}
