//! Rating of a review.

use serde::{Deserialize, Serialize};

use crate::shared::Invalid;

/// One to five stars.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct Stars(u8);

impl Stars {
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl TryFrom<i64> for Stars {
    type Error = Invalid;

    fn try_from(number: i64) -> Result<Self, Invalid> {
        match u8::try_from(number) {
            Ok(stars @ 1..=5) => Ok(Self(stars)),
            _ => Err(Invalid("expected 1 to 5 stars".into())),
        }
    }
}

impl From<Stars> for i64 {
    fn from(stars: Stars) -> Self {
        stars.0.into()
    }
}

impl schemars::JsonSchema for Stars {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Stars".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "integer", "minimum": 1, "maximum": 5 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_to_five_stars_are_accepted() {
        for number in -1..=300_i64 {
            assert_eq!(Stars::try_from(number).is_ok(), (1..=5).contains(&number), "{number}");
        }
    }
}
