//! Codes that people read and type, such as a referral code.

use std::fmt;
use std::str::FromStr;

use compact_str::CompactString;
use uuid::Uuid;

use super::{Invalid, string_value};

/// Ten capital letters and digits, without those that look alike (0 and O, 1, I and L, U and V). Lower case is accepted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(CompactString);

const LETTERS: &[u8] = b"23456789ABCDEFGHJKMNPQRSTVWXYZ";
const LENGTH: usize = 10;

impl Code {
    /// Derives a code from a scope, such as the id of a customer, and a key. It cannot be guessed without the scope.
    pub fn derived(scope: Uuid, key: &str) -> Self {
        let digest = Uuid::new_v5(&scope, key.as_bytes());
        let letters = LETTERS.iter().copied().cycle();
        let letter = |byte: &u8| letters.clone().nth(usize::from(*byte)).map(char::from);
        Self(digest.as_bytes().iter().take(LENGTH).filter_map(letter).collect())
    }
}

impl FromStr for Code {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let code = text.to_ascii_uppercase();
        let is_letter = |byte: u8| LETTERS.contains(&byte);
        if code.len() != LENGTH || !code.bytes().all(is_letter) {
            return Invalid::because("expected a code of 10 letters and digits such as 7K2MPQ9XRT");
        }
        Ok(Self(code.into()))
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

string_value!(Code, "Code", { "type": "string", "maxLength": 10, "pattern": "^[2-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{10}$" });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_code_is_a_valid_one_and_depends_on_scope_and_key() {
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        for number in 0..1_000_u128 {
            let code = Code::derived(Uuid::from_u128(number), "referral");
            assert_eq!(code.to_string().parse::<Code>(), Ok(code.clone()));
            assert_eq!(code.to_string().to_lowercase().parse::<Code>(), Ok(code));
        }
        assert_eq!(Code::derived(one, "referral"), Code::derived(one, "referral"));
        assert_ne!(Code::derived(one, "referral"), Code::derived(other, "referral"));
        assert_ne!(Code::derived(one, "referral"), Code::derived(one, "reward"));
        for bad in ["", "7K2MPQ9XR", "7K2MPQ9XRTT", "7K2MPQ9XR0", "7K2MPQ9XRÖ"] {
            assert!(bad.parse::<Code>().is_err(), "{bad}");
        }
    }
}
