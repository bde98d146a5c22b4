//! Value types shared by all contexts. Each one validates on parsing, so that a verb gets valid values only.

mod code;
mod count;
mod event_type;
mod fingerprint;
mod holds;
mod ids;
mod input_schema;
mod legal_tender;
mod media_url;
mod money;
mod normal_form;
mod permission;
mod personal;
mod price_breakdown;
mod search_words;
mod target;
mod text;
mod time;

pub use code::Code;
pub use count::{Points, PositivePoints, PriceAdjustment, Quantity, UnitChange, Units};
pub use event_type::EventType;
pub use fingerprint::Fingerprint;
pub use holds::{Hold, Holder, Holds};
pub use ids::*;
pub use input_schema::input_schema;
pub use legal_tender::LegalTender;
pub use media_url::MediaUrl;
pub use money::{Currency, Money, Price};
pub use normal_form::composed;
pub use permission::{Permission, Role};
pub use personal::{Email, PersonName, Personal, PersonalField, Phone, SealError, Sealed, Sealer};
pub use price_breakdown::{Discount, Fee, PointsPayment, PriceBreakdown, PriceError, Rounding, divide};
pub use search_words::{SEARCH_WORDS_MOST, SearchToken, search_prefixes, search_words};
pub use target::{TargetHost, TargetUrl};
pub use text::{Reason, Sku, Slug, Text, Title};
pub use time::{Date, Seconds, Timestamp, Zone};

/// Error of an invalid value. The text is shown to the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

impl Invalid {
    pub(crate) fn because<T>(text: impl Into<String>) -> Result<T, Self> {
        Err(Self(text.into()))
    }
}

/// Implements serde and JSON Schema for a value that is a string in JSON, through `Display` and `FromStr`.
macro_rules! string_value {
    ($name:ty, $title:expr, $schema:tt) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $title.into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!($schema)
            }
        }
    };
}
pub(crate) use string_value;
