//! Bounded texts. An accepted text is stored unaltered, except for a SKU, which is brought into its normal form.

use std::fmt;
use std::str::FromStr;

use compact_str::CompactString;

use super::normal_form::composed;
use super::{Invalid, string_value};

/// A text of 1 to `MOST` characters, at least one of them visible. Emoji, Arabic, quotes and line breaks are accepted.
/// NUL and other control characters, a byte order mark and overrides of the text direction are refused, because they
/// break or forge logs, mails and tables.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text<const MOST: usize>(CompactString);

/// A display name or title: up to 200 characters.
pub type Title = Text<200>;
/// A stated reason: up to 500 characters.
pub type Reason = Text<500>;

impl<const MOST: usize> Text<MOST> {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const MOST: usize> FromStr for Text<MOST> {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.chars().count() > MOST {
            return Invalid::because(format!("expected at most {MOST} characters"));
        }
        if let Some(odd) = text.chars().find(|&c| is_forbidden(c)) {
            return Invalid::because(format!("the character U+{:04X} is not allowed", u32::from(odd)));
        }
        if text.chars().all(|c| c.is_whitespace() || is_invisible(c)) {
            return Invalid::because("expected at least one visible character");
        }
        Ok(Self(text.into()))
    }
}

impl<const MOST: usize> fmt::Display for Text<MOST> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<const MOST: usize> serde::Serialize for Text<MOST> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de, const MOST: usize> serde::Deserialize<'de> for Text<MOST> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl<const MOST: usize> schemars::JsonSchema for Text<MOST> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("Text{MOST}").into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "minLength": 1, "maxLength": MOST })
    }
}

/// True for control characters, a byte order mark, overrides of the text direction and non-characters.
pub(super) fn is_forbidden(c: char) -> bool {
    (c.is_control() && c != '\n' && c != '\t')
        || matches!(c, '\u{feff}' | '\u{202d}' | '\u{202e}' | '\u{fffe}' | '\u{ffff}')
}

pub(super) fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2064}' | '\u{2066}'..='\u{2069}' | '\u{202a}'..='\u{202c}' | '\u{ad}')
}

/// Stock keeping unit, the tenant's own product code: 1 to 64 printable characters without blanks, in the normal form
/// NFC.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sku(CompactString);

impl FromStr for Sku {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        // The normal form can be longer than the text, and a stored SKU is parsed again.
        let text = composed(text);
        let fits = (1..=64).contains(&text.chars().count());
        if !fits || text.chars().any(|c| c.is_whitespace() || is_forbidden(c) || is_invisible(c)) {
            return Invalid::because("expected 1 to 64 printable characters without blanks");
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Sku {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

string_value!(Sku, "Sku", { "type": "string", "minLength": 1, "maxLength": 64, "x-normal-form": "NFC" });

/// A name usable as a subdomain: 3 to 63 lower-case letters, digits and inner hyphens (a DNS label, RFC 1123).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slug(CompactString);

impl FromStr for Slug {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let shaped = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !text.starts_with('-')
            && !text.ends_with('-');
        if !shaped || !(3..=63).contains(&text.len()) {
            return Invalid::because("expected 3 to 63 lower-case letters, digits or inner hyphens");
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

string_value!(Slug, "Slug", { "type": "string", "pattern": "^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$" });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_text_is_kept_unaltered() {
        for text in
            ["a", " Zoë's \"Best\" ", "قميص", "👩‍👩‍👧‍👦", "line\nbreak", "{{7*7}}", "=cmd", "../etc", "null", "e\u{301}"]
        {
            assert_eq!(text.parse::<Title>().map(|t| t.to_string()).as_deref(), Ok(text));
        }
    }

    #[test]
    fn control_characters_blank_and_overlong_texts_are_refused() {
        for text in ["", "   ", "\u{200b}", "a\0b", "\u{feff}a", "\u{202e}gpj.exe", "a\rb", "\u{1b}[2J"] {
            assert!(text.parse::<Title>().is_err(), "{text:?}");
        }
        assert!("x".repeat(200).parse::<Title>().is_ok());
        assert!("x".repeat(201).parse::<Title>().is_err());
    }

    #[test]
    fn skus_and_slugs_accept_fewer_characters_than_texts() {
        assert!("CD-4711/XL".parse::<Sku>().is_ok());
        for bad in ["", "a b", &"x".repeat(65)] {
            assert!(bad.parse::<Sku>().is_err(), "{bad:?}");
        }
        // One character that is two in the normal form NFC.
        let longer_in_normal_form = format!("{}\u{958}", "x".repeat(63));
        assert!(longer_in_normal_form.parse::<Sku>().is_err());
        let longest: Sku = format!("{}\u{958}", "x".repeat(62)).parse().expect("a SKU");
        assert!(longest.to_string().parse::<Sku>().is_ok());
        assert!("my-shop".parse::<Slug>().is_ok());
        for bad in ["My-shop", "-a-", "ab", "a.b", "päo"] {
            assert!(bad.parse::<Slug>().is_err(), "{bad:?}");
        }
    }
}
