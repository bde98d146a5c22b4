//! Address of a picture or film, which browsers load and the engine never calls.

use std::fmt;
use std::str::FromStr;

use super::{Invalid, TargetUrl, string_value};

/// An `https` URL as [`TargetUrl`] reads it. Its host is not checked, because nothing inside a network can be reached with
/// it: only the browser of a reader loads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaUrl(TargetUrl);

impl FromStr for MediaUrl {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let url: TargetUrl = text.parse()?;
        match url.is_encrypted() {
            true => Ok(Self(url)),
            false => Invalid::because("expected an address that begins with https://"),
        }
    }
}

impl fmt::Display for MediaUrl {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(to)
    }
}

string_value!(MediaUrl, "MediaUrl", { "type": "string", "format": "uri", "maxLength": 2_000 });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_encrypted_addresses_are_accepted() {
        let url: MediaUrl = "https://media.example.org/a.jpg?w=1".parse().expect("an address");
        assert_eq!(url.to_string(), "https://media.example.org/a.jpg?w=1");
        for bad in
            ["http://media.example.org/a.jpg", "javascript:alert(1)", "//media.example.org", "https://a@b.example/"]
        {
            assert!(bad.parse::<MediaUrl>().is_err(), "{bad}");
        }
    }
}
