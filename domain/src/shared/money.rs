//! Money: whole minor units of one ISO 4217 currency. Never a float.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Invalid, Quantity, string_value};

/// Largest amount in minor units: below 2^53, up to which JavaScript represents integers exactly. Arithmetic beyond it
/// returns `None`.
const MOST: i64 = 1_000_000_000_000_000;

/// A currency that ISO 4217 lists or listed. See [`LegalTender`](super::LegalTender) for those in which a tenant can sell.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Currency(iso_currency::Currency);

impl Currency {
    /// Number of decimal digits of the minor unit: 2 for USD, 0 for JPY, 3 for KWD; 2 if ISO 4217 defines none.
    pub fn digits(self) -> u32 {
        self.0.exponent().map_or(2, u32::from)
    }

    /// True if the currency is legal tender somewhere today.
    pub fn is_legal_tender(self) -> bool {
        // Funds, metals, units of account, codes for tests and replaced currencies have a flag. The bolívar has two codes;
        // the flag of this one says that it was replaced, but both are in use.
        self.0 == iso_currency::Currency::VES || self.0.flags().is_empty()
    }

    /// All currencies, by code.
    pub fn all() -> impl Iterator<Item = Self> {
        let letters = || 'A'..='Z';
        let codes = letters().flat_map(move |a| letters().map(move |b| [a, b]));
        let codes = codes.flat_map(move |[a, b]| letters().map(move |c| String::from_iter([a, b, c])));
        codes.filter_map(|code| code.parse().ok())
    }
}

impl FromStr for Currency {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match iso_currency::Currency::from_code(text) {
            Some(known) => Ok(Self(known)),
            None => Invalid::because("expected an ISO 4217 code such as USD"),
        }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.code())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.code())
    }
}

string_value!(Currency, "Currency", { "type": "string", "pattern": "^[A-Z]{3}$" });

/// An amount in minor units (cents for USD) of one currency.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "RawMoney", deny_unknown_fields)]
pub struct Money {
    /// Minor units; 1177 is 11.77 USD.
    pub minor: i64,
    pub currency: Currency,
}

impl Money {
    pub const fn zero(currency: Currency) -> Self {
        Self { minor: 0, currency }
    }

    /// Sum; `None` if the currencies differ or the bound is exceeded.
    pub fn plus(self, other: Self) -> Option<Self> {
        let minor = self.minor.checked_add(other.minor).filter(|sum| sum.unsigned_abs() <= MOST.unsigned_abs())?;
        (self.currency == other.currency).then_some(Self { minor, ..self })
    }

    /// Difference; `None` if the currencies differ or the bound is exceeded.
    pub fn minus(self, other: Self) -> Option<Self> {
        self.plus(Self { minor: other.minor.checked_neg()?, ..other })
    }

    /// Product; `None` if the bound is exceeded.
    pub fn times(self, factor: i64) -> Option<Self> {
        let minor = self.minor.checked_mul(factor).filter(|product| product.unsigned_abs() <= MOST.unsigned_abs())?;
        Some(Self { minor, ..self })
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.minor < 0 { "-" } else { "" };
        let digits = self.currency.digits();
        match 10_u64.checked_pow(digits) {
            Some(unit) if digits > 0 => {
                let minor = self.minor.unsigned_abs();
                let (whole, part) = (minor.div_euclid(unit), minor.rem_euclid(unit));
                write!(f, "{sign}{whole}.{part:0width$} {}", self.currency, width = digits as usize)
            }
            _ => write!(f, "{} {}", self.minor, self.currency),
        }
    }
}

impl fmt::Debug for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An amount in minor units (cents for USD) of one currency.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Money")]
struct RawMoney {
    /// Minor units; 1177 is 11.77 USD.
    minor: i64,
    currency: Currency,
}

impl TryFrom<RawMoney> for Money {
    type Error = Invalid;

    fn try_from(raw: RawMoney) -> Result<Self, Invalid> {
        if raw.minor.unsigned_abs() > MOST.unsigned_abs() {
            return Invalid::because("expected minor units from -10^15 to 10^15");
        }
        Ok(Self { minor: raw.minor, currency: raw.currency })
    }
}

/// An amount that is never negative, such as a price or a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Money", into = "Money")]
pub struct Price(Money);

impl Price {
    pub const fn zero(currency: Currency) -> Self {
        Self(Money::zero(currency))
    }

    /// Sum; `None` if the currencies differ or the bound is exceeded.
    pub fn plus(self, other: Self) -> Option<Self> {
        self.0.plus(other.0).map(Self)
    }

    /// Difference; `None` if the currencies differ or `other` is larger.
    pub fn minus(self, other: Self) -> Option<Self> {
        self.0.minus(other.0).and_then(|left| Self::try_from(left).ok())
    }

    /// Price of a number of units; `None` if the bound is exceeded.
    pub fn times(self, quantity: Quantity) -> Option<Self> {
        self.0.times(quantity.get()).map(Self)
    }

    pub const fn money(self) -> Money {
        self.0
    }

    pub const fn minor(self) -> i64 {
        self.0.minor
    }

    pub const fn currency(self) -> Currency {
        self.0.currency
    }
}

impl TryFrom<Money> for Price {
    type Error = Invalid;

    fn try_from(money: Money) -> Result<Self, Invalid> {
        if money.minor < 0 {
            return Invalid::because("expected an amount that is not negative");
        }
        Ok(Self(money))
    }
}

impl From<Price> for Money {
    fn from(price: Price) -> Self {
        price.0
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::values::{eur, money, parsed, price, quantity};

    #[test]
    fn amounts_add_within_one_currency_and_within_bounds() {
        assert_eq!(money(1177).plus(money(23)), Some(money(1200)));
        assert_eq!(money(1).minus(money(2)), Some(money(-1)));
        assert_eq!(money(1).plus(Money::zero(eur())), None);
        assert_eq!(money(MOST).plus(money(1)), None);
        assert_eq!(money(1_000_000_000).times(1_000_000_000), None);
    }

    #[test]
    fn price_is_never_negative() {
        assert_eq!(price(3).minus(price(3)), Some(Price::zero(price(3).currency())));
        assert_eq!(price(3).minus(price(4)), None);
        assert_eq!(price(3).times(quantity(2)), Some(price(6)));
    }

    #[test]
    fn amounts_are_shown_with_the_digits_of_their_currency() {
        assert_eq!(money(-1177).to_string(), "-11.77 USD");
        assert_eq!(Money { minor: 500, currency: parsed("JPY") }.to_string(), "500 JPY");
        assert_eq!(Money { minor: 5, currency: parsed("KWD") }.to_string(), "0.005 KWD");
    }

    #[test]
    fn malformed_amount_is_refused() {
        for bad in [
            r#"{"minor":1.5,"currency":"USD"}"#,
            r#"{"minor":"1","currency":"USD"}"#,
            r#"{"minor":1,"currency":"usd"}"#,
            r#"{"minor":1,"currency":"ZZZ"}"#,
            r#"{"minor":1}"#,
            r#"{"minor":1,"currency":"USD","x":1}"#,
            r#"{"minor":10000000000000001,"currency":"USD"}"#,
        ] {
            assert!(serde_json::from_str::<Money>(bad).is_err(), "{bad}");
        }
        assert!(serde_json::from_str::<Price>(r#"{"minor":-1,"currency":"USD"}"#).is_err());
    }
}
