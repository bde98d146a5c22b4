//! Texts about payment methods that cannot contain a card number.

use std::fmt;
use std::str::FromStr;

use compact_str::CompactString;

use crate::shared::{Invalid, string_value};

/// Token of a payment provider, or its name: 1 to 200 visible ASCII characters. A text with a card number is refused, so
/// that none reaches the log or a table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TokenText(CompactString);

/// The last four digits of a card or an account.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LastDigits(CompactString);

impl FromStr for TokenText {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.is_empty() || text.len() > 200 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Invalid("expected 1 to 200 visible ASCII characters without blanks".into()));
        }
        if has_card_number(text) {
            return Err(Invalid("expected a token of the payment provider, not a card number".into()));
        }
        Ok(Self(text.into()))
    }
}

impl FromStr for LastDigits {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text.len() == 4 && text.bytes().all(|byte| byte.is_ascii_digit()) {
            true => Ok(Self(text.into())),
            false => Err(Invalid("expected the last four digits".into())),
        }
    }
}

/// True if 13 to 19 consecutive digits, apart from punctuation between them, have the check digit of a card number.
fn has_card_number(text: &str) -> bool {
    let mut run: Vec<u32> = Vec::new();
    for letter in text.chars().chain(['x']) {
        match letter.to_digit(10) {
            Some(digit) => run.push(digit),
            None if letter.is_ascii_punctuation() && letter != '_' => {}
            None => {
                if (13..=19).any(|length| run.windows(length).any(has_check_digit)) {
                    return true;
                }
                run.clear();
            }
        }
    }
    false
}

/// Luhn's check: every second digit from the right counts twice, and the sum of all digits is a multiple of ten.
fn has_check_digit(digits: &[u32]) -> bool {
    let weighted = digits.iter().rev().zip([1, 2].into_iter().cycle()).map(|(digit, factor): (&u32, u32)| {
        let product = digit.saturating_mul(factor);
        if product > 9 { product.saturating_sub(9) } else { product }
    });
    weighted.sum::<u32>().checked_rem(10) == Some(0) && digits.iter().any(|digit| *digit != 0)
}

impl fmt::Display for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for LastDigits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

string_value!(TokenText, "TokenText", { "type": "string", "maxLength": 200, "pattern": "^[!-~]+$" });
string_value!(LastDigits, "LastDigits", { "type": "string", "maxLength": 4, "pattern": "^[0-9]{4}$" });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn card_numbers_are_refused_in_any_spelling() {
        for bad in [
            "4111111111111111",
            "4111-1111-1111-1111",
            "4111.1111.1111.1111",
            "tok4111111111111111",
            "tok_378282246310005x",
            "94111111111111111",
            "",
            "two words",
        ] {
            assert!(bad.parse::<TokenText>().is_err(), "{bad}");
        }
        for good in ["tok_1Nv0Fx2eZvKYlo2C", "pm_4111111111110000", "4111", "0000000000000000", "stripe"] {
            assert!(good.parse::<TokenText>().is_ok(), "{good}");
        }
        assert!("1111".parse::<LastDigits>().is_ok() && "11111".parse::<LastDigits>().is_err());
        assert!("111a".parse::<LastDigits>().is_err());
    }
}
