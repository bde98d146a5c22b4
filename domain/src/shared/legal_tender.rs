//! Legal tender: currencies in which a tenant can sell. Stored amounts may be in any [`Currency`] that ISO 4217 lists.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{Currency, Invalid};

/// Currency that is legal tender somewhere today: neither a fund, a metal, a unit of account or a code for tests nor a
/// currency that was replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Currency", into = "Currency")]
pub struct LegalTender(Currency);

impl LegalTender {
    pub const fn currency(self) -> Currency {
        self.0
    }
}

impl TryFrom<Currency> for LegalTender {
    type Error = Invalid;

    fn try_from(currency: Currency) -> Result<Self, Invalid> {
        match currency.is_legal_tender() {
            true => Ok(Self(currency)),
            false => Invalid::because("expected a currency that is legal tender today, such as USD"),
        }
    }
}

impl From<LegalTender> for Currency {
    fn from(tender: LegalTender) -> Self {
        tender.0
    }
}

impl FromStr for LegalTender {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        text.parse::<Currency>()?.try_into()
    }
}

impl fmt::Display for LegalTender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl JsonSchema for LegalTender {
    fn schema_name() -> Cow<'static, str> {
        "LegalTender".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let codes: Vec<_> = Currency::all()
            .filter(|currency| currency.is_legal_tender())
            .map(|currency| currency.to_string())
            .collect();
        json_schema!({ "type": "string", "pattern": format!("^({})$", codes.join("|")) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_currencies_that_people_pay_with_are_legal_tender() {
        for bad in
            ["XXX", "XTS", "XAU", "XAG", "XDR", "XSU", "HRK", "BGN", "CUC", "SLL", "ZWL", "CLF", "USN", "BOV", "usd"]
        {
            assert!(bad.parse::<LegalTender>().is_err(), "{bad}");
        }
        for good in ["USD", "EUR", "JPY", "KWD", "XOF", "XAF", "XPF", "XCD", "XCG", "SLE", "ZWG", "VES", "VED", "CHF"] {
            assert!(good.parse::<LegalTender>().is_ok(), "{good}");
        }
        // Tenants that sell in such a currency already keep it.
        assert!("HRK".parse::<Currency>().is_ok());
    }

    #[test]
    fn schema_lists_the_codes() {
        let schema = schemars::schema_for!(LegalTender);
        let pattern = schema.as_value()["pattern"].as_str().expect("a pattern");
        assert!(pattern.starts_with("^(AED|AFN|") && pattern.ends_with("|ZWG)$"), "{pattern}");
        assert!(!pattern.contains("XXX") && pattern.matches('|').count() > 140, "{pattern}");
    }
}
