//! Bounded whole numbers: units and points.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Invalid;

/// Largest number of units or points in one field. The sum of nine million fields then stays below 2^53, up to which
/// JavaScript represents integers exactly.
const MOST: i64 = 1_000_000_000;

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident: $least:expr, $text:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "i64", into = "i64")]
        pub struct $name(i64);

        impl $name {
            /// Largest value.
            pub const MOST: Self = Self(MOST);

            pub const fn get(self) -> i64 {
                self.0
            }
        }

        impl TryFrom<i64> for $name {
            type Error = Invalid;

            fn try_from(number: i64) -> Result<Self, Invalid> {
                if ($least..=MOST).contains(&number) { Ok(Self(number)) } else { Invalid::because($text) }
            }
        }

        impl From<$name> for i64 {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "integer", "minimum": $least, "maximum": MOST })
            }
        }
    )*};
}

counts! {
    /// A number of units, zero included.
    Units: 0, "expected a whole number from 0 to 1000000000";
    /// A number of units that are ordered, received or reserved: at least one.
    Quantity: 1, "expected a whole number from 1 to 1000000000";
    /// Change of a number of units; negative for a decrease.
    UnitChange: -MOST, "expected a whole number from -1000000000 to 1000000000";
    /// Change of a price in minor units of its currency; negative for a lower price.
    PriceAdjustment: -MOST, "expected a whole number from -1000000000 to 1000000000";
    /// Change of a number of loyalty points; negative for a decrease.
    Points: -MOST, "expected a whole number from -1000000000 to 1000000000";
    /// A number of loyalty points that are earned or spent: at least one.
    PositivePoints: 1, "expected a whole number from 1 to 1000000000";
}

impl From<Quantity> for Units {
    fn from(quantity: Quantity) -> Self {
        Self(quantity.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_outside_its_bounds_is_refused() {
        assert!(Units::try_from(-1).is_err());
        assert!(Units::try_from(0).is_ok());
        assert!(Quantity::try_from(0).is_err());
        assert!(Quantity::try_from(MOST).is_ok());
        assert!(Points::try_from(MOST + 1).is_err());
        for text in ["\"1\"", "1.0", "1e3", "-0.0", "1e400", "9223372036854775808", "null"] {
            assert!(serde_json::from_str::<Quantity>(text).is_err(), "{text}");
        }
    }
}
