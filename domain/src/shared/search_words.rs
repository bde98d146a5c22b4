//! Words by which a personal text is found: folded, so that case and accents do not matter, and bounded in number and
//! length.

use std::collections::BTreeSet;
use std::fmt;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Number of words of one text that are indexed, and highest number of words of a query.
pub const SEARCH_WORDS_MOST: usize = 12;
/// Length of a word in characters; a longer one is cut.
const LETTERS_MOST: usize = 16;
/// Length of the shortest prefix that finds a word. A shorter word is found as a whole only.
const PREFIX_LEAST: usize = 3;

/// Keyed digest of a word or prefix, by which sealed texts are found. It is neither shown nor serialized: with the key,
/// it confirms a guess of a name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SearchToken(i64);

impl SearchToken {
    /// The token whose digest begins with this number.
    pub fn new(digest: i64) -> Self {
        Self(digest)
    }

    /// The number, for the store.
    pub fn number(self) -> i64 {
        self.0
    }
}

impl fmt::Debug for SearchToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SearchToken(…)")
    }
}

/// The words of a text: lower case, without accents (compatibility decomposition, NFKD), split at every character that is
/// neither a letter nor a digit, and cut at 16 characters. Each once, in the order of the text.
///
/// A name is split at blanks and hyphens, an e-mail address at the dots and the `@` too.
pub fn search_words(text: &str) -> Vec<String> {
    let lower: String = text.chars().flat_map(char::to_lowercase).collect();
    let mut folded = String::with_capacity(lower.len());
    for letter in lower.nfkd().filter(|letter| !is_combining_mark(*letter)).flat_map(char::to_lowercase) {
        match undecomposed(letter) {
            Some(letters) => folded.push_str(letters),
            None => folded.push(letter),
        }
    }
    let mut words = Vec::new();
    for word in folded.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty()) {
        let word: String = word.chars().take(LETTERS_MOST).collect();
        if !words.contains(&word) {
            words.push(word);
        }
    }
    words
}

/// Every text that finds one of the first 12 words of a text: the words, and their prefixes from three characters on.
pub fn search_prefixes(text: &str) -> BTreeSet<String> {
    let mut prefixes = BTreeSet::new();
    for word in search_words(text).into_iter().take(SEARCH_WORDS_MOST) {
        let ends = word.char_indices().map(|(at, _)| at).skip(PREFIX_LEAST);
        prefixes.extend(ends.map(|end| word[..end].to_owned()));
        prefixes.insert(word);
    }
    prefixes
}

/// Spelling without an accent of a letter that Unicode does not decompose.
fn undecomposed(letter: char) -> Option<&'static str> {
    Some(match letter {
        'ß' => "ss",
        'æ' => "ae",
        'œ' => "oe",
        'ø' => "o",
        'ł' => "l",
        'đ' => "d",
        'ı' => "i",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_is_not_shown() {
        assert_eq!(format!("{:?}", SearchToken::new(7_777)), "SearchToken(…)");
    }

    #[test]
    fn case_accents_and_width_do_not_matter() {
        for (text, words) in [
            ("Zoë Müller", vec!["zoe", "muller"]),
            ("ZOE\u{308}  MU\u{308}LLER", vec!["zoe", "muller"]),
            ("Łukasz Sørensen", vec!["lukasz", "sorensen"]),
            ("Weiß WEISS", vec!["weiss"]),
            ("İpek", vec!["ipek"]),
            ("Ａｄａ", vec!["ada"]),
            ("Ελένη", vec!["ελενη"]),
            ("李小龍", vec!["李小龍"]),
        ] {
            assert_eq!(search_words(text), words, "{text}");
        }
    }

    #[test]
    fn texts_are_split_at_the_borders_of_words() {
        assert_eq!(search_words("Anne-Marie O'Neill, Jr."), ["anne", "marie", "o", "neill", "jr"]);
        assert_eq!(search_words("Ada.King+shop@Mail.example.org"), ["ada", "king", "shop", "mail", "example", "org"]);
        assert!(search_words(" \u{301}-@. ").is_empty());
    }

    #[test]
    fn number_and_length_of_words_are_bounded() {
        let many: String = (0..50).map(|number| format!("{number}{} ", "x".repeat(40))).collect();
        assert!(search_words(&many).iter().all(|word| word.chars().count() == 16));
        let prefixes = search_prefixes(&many);
        assert!(prefixes.contains("11xxxxxxxxxxxxxx") && !prefixes.contains("12xxxxxxxxxxxxxx"));
        assert_eq!(prefixes.len(), 12 * 14);
    }

    #[test]
    fn words_are_found_by_prefixes_of_three_letters_or_more() {
        let prefixes = search_prefixes("Zoë Li");
        assert_eq!(prefixes.iter().map(String::as_str).collect::<Vec<_>>(), ["li", "zoe"]);
        let prefixes = search_prefixes("Émile");
        assert_eq!(prefixes.iter().map(String::as_str).collect::<Vec<_>>(), ["emi", "emil", "emile"]);
    }

    #[test]
    fn every_beginning_of_a_word_is_folded_to_one_of_its_prefixes() {
        let prefixes = search_prefixes("Ægidius Brønnøysund-Straßenbäcker");
        for asked in ["aeg", "Ægid", "bronnoy", "BRØNN", "strasse", "straß", "STRASSENBÄ"] {
            let words = search_words(asked);
            assert!(words.len() == 1 && prefixes.contains(&words[0]), "{asked}");
        }
    }
}
