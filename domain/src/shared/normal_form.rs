//! Normal form of texts that are compared with others.
//!
//! Unicode has two spellings of an accented letter: `é` is one character, or an `e` with a combining accent. They look
//! the same, and systems convert one into the other without notice. Every comparison in the domain therefore uses
//! Normalization Form C (NFC): ids that are derived from a text, fingerprints, SKUs and e-mail addresses.

use std::borrow::Cow;

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

/// The text in Normalization Form C.
pub fn composed(text: &str) -> Cow<'_, str> {
    if text.is_ascii() || is_nfc_quick(text.chars()) == IsNormalized::Yes {
        return text.into();
    }
    text.nfc().collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::shared::{EarningId, Email, Fingerprint, PersonalField, Sku, StoreId, Text};
    use crate::tenancy::NameClaim;
    use crate::testing::values::parsed;

    const COMPOSED: &str = "caf\u{e9}";
    const DECOMPOSED: &str = "cafe\u{301}";

    #[test]
    fn both_spellings_of_a_letter_have_one_form() {
        assert_eq!(composed(DECOMPOSED), COMPOSED);
        assert!(matches!(composed(COMPOSED), Cow::Borrowed(_)) && matches!(composed("cafe"), Cow::Borrowed(_)));
        // Å as a letter and as the unit ångström.
        assert_eq!(composed("\u{212b}"), composed("A\u{30a}"));
        assert_eq!(composed("\u{1100}\u{1161}"), "\u{ac00}", "Korean syllables");
    }

    #[test]
    fn every_comparison_ignores_the_spelling() {
        let scope = Uuid::from_u128(1);
        let address = |name: &str| parsed::<Email>(&format!("{name}@example.org"));
        assert_eq!(NameClaim::id("sku", scope, DECOMPOSED), NameClaim::id("sku", scope, COMPOSED));
        assert_eq!(NameClaim::id("sku", scope, "CAFE\u{301}"), NameClaim::id("sku", scope, COMPOSED));
        assert_eq!(EarningId::derived(scope, DECOMPOSED), EarningId::derived(scope, COMPOSED));
        assert_eq!(StoreId::derived(scope, DECOMPOSED), StoreId::derived(scope, COMPOSED));
        let reference = parsed::<Text<200>>;
        assert_eq!(Fingerprint::of(&reference(DECOMPOSED)), Fingerprint::of(&reference(COMPOSED)));
        assert_eq!(Fingerprint::of(&(1, [DECOMPOSED])), Fingerprint::of(&(1, [COMPOSED])));
        assert_eq!(parsed::<Sku>(DECOMPOSED), parsed::<Sku>(COMPOSED));
        assert_eq!(address(DECOMPOSED).as_str(), address(COMPOSED).as_str());
        assert_eq!(address("CAFE\u{301}").folded(), address(COMPOSED).folded());
    }

    #[test]
    fn free_text_is_kept_unaltered() {
        assert_eq!(parsed::<Text<200>>(DECOMPOSED).as_str(), DECOMPOSED);
    }
}
