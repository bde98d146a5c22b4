//! Personal data: sealed (encrypted) when the API has parsed a command, before the scribe gets it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use super::Invalid;
use super::normal_form::composed;
use super::text::{is_forbidden, is_invisible};

/// A personal field: plaintext only between parsing and sealing a command, ciphertext afterwards.
///
/// The same text of the same person and field yields the same ciphertext, so that a repeated command is recognised
/// (ADR 0002). `Debug` shows neither form, and plaintext cannot be serialized, so that it cannot reach the log.
#[derive(Clone, PartialEq, Eq)]
pub enum Personal<T> {
    /// Plaintext, as the caller sent it.
    Open(T),
    /// Ciphertext, in all code after the sealing of the command.
    Sealed(Sealed),
}

/// One opaque string: the ciphertext, which names the person whose key encrypted it, and the blind index if the field
/// has one.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Sealed(String);

/// A kind of personal field.
pub trait PersonalField: FromStr<Err = Invalid> + Clone + PartialEq {
    /// Field name in the associated data: a ciphertext that is moved to another field cannot be decrypted.
    const FIELD: &'static str;

    fn as_str(&self) -> &str;

    /// Normal form from which the blind index is computed; `None` if the field is neither searched nor unique.
    fn folded(&self) -> Option<String> {
        None
    }
}

/// Encrypts plaintext with the key of one person.
pub trait Sealer {
    fn seal(&mut self, person: Uuid, field: &str, text: &str, folded: Option<&str>) -> Result<Sealed, SealError>;

    /// True if this sealer made the ciphertext. A command whose sealing stopped at a missing key can then be sealed
    /// again.
    fn has_sealed(&self, _sealed: &Sealed) -> bool {
        false
    }
}

/// Error of sealing a field.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    #[error("`{0}` was sent sealed; send it as plain text")]
    AlreadySealed(&'static str),
    #[error("the key store cannot be reached")]
    KeyStoreUnavailable,
}

impl<T: PersonalField> Personal<T> {
    /// Seals the field in place for one person.
    pub fn seal(&mut self, person: Uuid, sealer: &mut dyn Sealer) -> Result<(), SealError> {
        match self {
            Self::Sealed(sealed) if sealer.has_sealed(sealed) => Ok(()),
            Self::Sealed(_) => Err(SealError::AlreadySealed(T::FIELD)),
            Self::Open(value) => {
                *self = Self::Sealed(sealer.seal(person, T::FIELD, value.as_str(), value.folded().as_deref())?);
                Ok(())
            }
        }
    }

    /// Keyed index of the folded value: equal for equal values of one tenant, meaningless without the key.
    pub fn blind_index(&self) -> Option<&str> {
        match self {
            Self::Open(_) => None,
            Self::Sealed(sealed) => sealed.blind_index(),
        }
    }
}

impl Sealed {
    const PREFIX: &'static str = "sealed.v1.";

    /// Joins ciphertext and blind index, both in URL-safe base64 without padding.
    pub fn new(ciphertext: &str, blind_index: Option<&str>) -> Self {
        Self(format!("{}{ciphertext}.{}", Self::PREFIX, blind_index.unwrap_or("")))
    }

    /// Parses a sealed string; `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let (ciphertext, index) = text.strip_prefix(Self::PREFIX)?.split_once('.')?;
        let is_base64 = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        (!ciphertext.is_empty() && is_base64(ciphertext) && is_base64(index)).then(|| Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn ciphertext(&self) -> &str {
        self.parts().0
    }

    pub fn blind_index(&self) -> Option<&str> {
        Some(self.parts().1).filter(|index| !index.is_empty())
    }

    fn parts(&self) -> (&str, &str) {
        self.0.strip_prefix(Self::PREFIX).and_then(|rest| rest.split_once('.')).unwrap_or(("", ""))
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed(…)")
    }
}

impl<T> fmt::Debug for Personal<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Personal(…)")
    }
}

impl<T> Serialize for Personal<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Open(_) => Err(serde::ser::Error::custom("a personal field was not sealed")),
            Self::Sealed(sealed) => serializer.serialize_str(&sealed.0),
        }
    }
}

impl<'de, T: PersonalField> Deserialize<'de> for Personal<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        match Sealed::parse(&text) {
            Some(sealed) => Ok(Self::Sealed(sealed)),
            None => text.parse().map(Self::Open).map_err(serde::de::Error::custom),
        }
    }
}

impl<T: PersonalField> schemars::JsonSchema for Personal<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("Personal_{}", T::FIELD).into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "x-personal": T::FIELD })
    }
}

macro_rules! personal_fields {
    ($($(#[$doc:meta])* $name:ident, $valid:expr, $kept:expr, $text:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq)]
        pub struct $name(String);

        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                let valid: fn(&str) -> bool = $valid;
                let kept: fn(&str) -> std::borrow::Cow<'_, str> = $kept;
                // The kept text is checked, because the normal form can be longer than the input.
                let kept = kept(text);
                if valid(&kept) { Ok(Self(kept.into_owned())) } else { Invalid::because($text) }
            }
        }
    )*};
}

personal_fields! {
    /// An e-mail address, as its owner writes it, in the normal form NFC.
    Email, is_email, composed, "expected an e-mail address such as ada@example.org";
    /// The name of a person: 1 to 200 characters in any script.
    PersonName, |text| text.parse::<super::Title>().is_ok(), |text| text.into(), "expected 1 to 200 visible characters";
    /// A telephone number in international form.
    Phone, is_phone, |text| text.into(), "expected an international number such as +4930123456";
}

impl PersonalField for Email {
    const FIELD: &'static str = "email";

    fn as_str(&self) -> &str {
        &self.0
    }

    /// Lower case: no large mail provider distinguishes case.
    fn folded(&self) -> Option<String> {
        Some(composed(&self.0.to_lowercase()).into_owned())
    }
}

impl PersonalField for PersonName {
    const FIELD: &'static str = "name";

    fn as_str(&self) -> &str {
        &self.0
    }
}

impl PersonalField for Phone {
    const FIELD: &'static str = "phone";

    fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_email(text: &str) -> bool {
    // Invisible characters make two different addresses look the same.
    let invisible = |c: char| c.is_whitespace() || c.is_control() || is_forbidden(c) || is_invisible(c);
    let odd = |c: char| invisible(c) || matches!(c, '"' | '<' | '>' | ',' | ';' | '(' | ')' | '\\');
    let Some((mailbox, host)) = text.split_once('@') else { return false };
    text.len() <= 254
        && !text.chars().any(odd)
        && !mailbox.is_empty()
        && !host.contains('@')
        && host.contains('.')
        && host.split('.').all(|label| !label.is_empty())
}

fn is_phone(text: &str) -> bool {
    text.strip_prefix('+')
        .is_some_and(|digits| (6..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plaintext_is_neither_shown_nor_serialized() {
        let open: Personal<Email> = serde_json::from_str("\"Ada@Example.org\"").expect("an address");
        assert_eq!(format!("{open:?}"), "Personal(…)");
        assert!(serde_json::to_string(&open).is_err());
    }

    #[test]
    fn sealed_field_cannot_be_sealed_again_and_keeps_its_index() {
        struct FakeSealer;
        impl Sealer for FakeSealer {
            fn seal(&mut self, _: Uuid, _: &str, _: &str, folded: Option<&str>) -> Result<Sealed, SealError> {
                Ok(Sealed::new("cipher", folded.map(|_| "index")))
            }
        }
        let mut email: Personal<Email> = serde_json::from_str("\"ada@example.org\"").expect("an address");
        email.seal(Uuid::from_u128(1), &mut FakeSealer).expect("sealed");
        assert_eq!(email.blind_index(), Some("index"));
        assert!(matches!(email.seal(Uuid::from_u128(1), &mut FakeSealer), Err(SealError::AlreadySealed("email"))));
        let text = serde_json::to_string(&email).expect("sealed");
        assert_eq!(serde_json::from_str::<Personal<Email>>(&text).expect("sealed"), email);
    }

    #[test]
    fn malformed_email_address_or_phone_number_is_refused() {
        for bad in
            ["", "ada", "ada@", "@x.org", "a@b", "a b@x.org", "a@x..org", "a@x.org\r\nBcc: b@x.org", "a\u{200b}@x.org"]
        {
            assert!(bad.parse::<Email>().is_err(), "{bad:?}");
        }
        assert!("+4930123456".parse::<Phone>().is_ok());
        assert!("030 123456".parse::<Phone>().is_err());
    }
}
