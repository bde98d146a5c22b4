//! Factor of the points of a tier (VIP-05).

use serde::{Deserialize, Serialize};

use crate::shared::{Invalid, PositivePoints};

/// A factor in percent, from 100 to 1000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct Multiplier(u16);

impl Multiplier {
    pub const ONE: Self = Self(100);

    /// Multiplies points, rounded down.
    pub fn of(self, points: PositivePoints) -> PositivePoints {
        let product = points.get().saturating_mul(self.0.into()) / 100;
        PositivePoints::try_from(product).unwrap_or(PositivePoints::MOST)
    }
}

impl TryFrom<i64> for Multiplier {
    type Error = Invalid;

    fn try_from(percent: i64) -> Result<Self, Invalid> {
        match u16::try_from(percent) {
            Ok(percent @ 100..=1000) => Ok(Self(percent)),
            _ => Err(Invalid("expected 100 to 1000 percent".into())),
        }
    }
}

impl From<Multiplier> for i64 {
    fn from(multiplier: Multiplier) -> Self {
        multiplier.0.into()
    }
}

impl schemars::JsonSchema for Multiplier {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Multiplier".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "integer", "minimum": 100, "maximum": 1000 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::values::points;

    #[test]
    fn points_are_multiplied_and_rounded_down() {
        let multiplier = |percent| Multiplier::try_from(percent).expect("a multiplier");
        assert_eq!(multiplier(150).of(points(57)), points(85));
        assert_eq!(Multiplier::ONE.of(points(57)), points(57));
        assert_eq!(multiplier(1000).of(PositivePoints::MOST), PositivePoints::MOST);
        assert!(Multiplier::try_from(99).is_err() && Multiplier::try_from(1001).is_err());
    }
}
