//! Parse errors in the words of JSON, for callers who do not know our Rust types.

/// Values as serde names them where it found them, and their names for callers.
const FOUND: [(&str, &str); 8] = [
    ("invalid type: map,", "invalid type: an object,"),
    ("invalid type: sequence,", "invalid type: a list,"),
    ("invalid type: unit value,", "invalid type: null,"),
    ("invalid type: Option value,", "invalid type: null,"),
    ("invalid type: floating point `", "invalid type: number `"),
    ("invalid value: floating point `", "invalid value: number `"),
    ("invalid type: byte array,", "invalid type: text,"),
    ("unknown variant `", "unknown name `"),
];

/// Types as serde names them where it expects them, and their names for callers.
const EXPECTED: [(&str, &str); 12] = [
    ("a borrowed string", "a text"),
    ("a string", "a text"),
    ("string", "a text"),
    ("a character", "a text of one character"),
    ("a boolean", "true or false"),
    ("a sequence", "a list"),
    ("a map", "an object"),
    ("map", "an object"),
    ("unit", "null"),
    ("option", "a value or null"),
    ("f32", "a number"),
    ("f64", "a number"),
];

/// Serde's message without line and column, because the path of the field is given, and without names of Rust types.
pub fn plain_words(message: &str) -> String {
    let message = message.rsplit_once(" at line ").map_or(message, |(message, _)| message);
    let known = FOUND.iter().find_map(|(found, words)| Some(format!("{words}{}", message.strip_prefix(found)?)));
    let message = known.unwrap_or_else(|| message.to_owned());
    let Some((found, expected)) = message.rsplit_once("expected ") else { return message };
    match words(expected) {
        Some(words) => format!("{found}expected {words}"),
        None => message,
    }
}

/// The words for a type that serde expects; `None` if its own words name no type.
fn words(expected: &str) -> Option<&'static str> {
    if let Some((_, words)) = EXPECTED.iter().find(|(name, _)| *name == expected) {
        return Some(words);
    }
    if let Some(number) = expected.strip_prefix("a nonzero ") {
        return whole_number(number).map(|signed| match signed {
            true => "a whole number other than 0",
            false => "a whole number from 1 on",
        });
    }
    if let Some(signed) = whole_number(expected) {
        return Some(if signed { "a whole number" } else { "a whole number from 0 on" });
    }
    // `struct Money with 2 elements`, `internally tagged enum RawMessage`, `tuple of 2 elements`.
    match expected.split(' ').find(|word| matches!(*word, "struct" | "enum" | "variant" | "tuple")) {
        Some("enum") if expected.contains("tagged") => Some("an object"),
        Some("enum") => Some("one of the names in the schema"),
        Some("tuple") => Some("a list"),
        Some(_) => Some("an object"),
        None => None,
    }
}

/// True for the name of a signed integer type, false for that of an unsigned one.
fn whole_number(name: &str) -> Option<bool> {
    let bits = name.strip_prefix(['i', 'u'])?;
    matches!(bits, "8" | "16" | "32" | "64" | "128" | "size").then(|| name.starts_with('i'))
}

/// The missing or unknown field that a message names. It belongs to the object at the path of the error.
pub(super) fn named_field(message: &str) -> Option<&str> {
    let rest = message.strip_prefix("missing field `").or_else(|| message.strip_prefix("unknown field `"))?;
    rest.split_once('`').map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use std::num::{NonZeroI16, NonZeroU32};

    use serde::Deserialize;
    use serde::de::DeserializeOwned;

    use super::*;

    /// A type of each kind that serde describes in its messages.
    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only errors are used")]
    struct Line(u8, u8);

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only errors are used")]
    enum Kind {
        Plain,
        Data { units: u8 },
    }

    #[derive(Debug, Deserialize)]
    #[serde(tag = "type")]
    #[expect(dead_code, reason = "only errors are used")]
    enum Message {
        Ping { id: String },
    }

    fn message<T: DeserializeOwned + std::fmt::Debug>(json: &str) -> String {
        plain_words(&serde_json::from_str::<T>(json).expect_err(json).to_string())
    }

    #[test]
    fn rust_types_are_named_as_json_types() {
        for (message, expected) in [
            (message::<NonZeroU32>("0"), "invalid value: integer `0`, expected a whole number from 1 on"),
            (message::<NonZeroI16>("0"), "invalid value: integer `0`, expected a whole number other than 0"),
            (message::<u32>("-1"), "invalid value: integer `-1`, expected a whole number from 0 on"),
            (message::<i64>("\"1\""), "invalid type: string \"1\", expected a whole number"),
            (message::<i64>("1.5"), "invalid type: number `1.5`, expected a whole number"),
            (message::<String>("1"), "invalid type: integer `1`, expected a text"),
            (message::<String>("[]"), "invalid type: a list, expected a text"),
            (message::<bool>("{}"), "invalid type: an object, expected true or false"),
            (message::<Vec<u8>>("null"), "invalid type: null, expected a list"),
            (message::<Line>("1"), "invalid type: integer `1`, expected a list"),
            (message::<(u8, u8)>("1"), "invalid type: integer `1`, expected a list"),
            (message::<Kind>("\"Odd\""), "unknown name `Odd`, expected `Plain` or `Data`"),
            (message::<Message>("1"), "invalid type: integer `1`, expected an object"),
            (
                plain_words("invalid type: integer `1`, expected struct Money"),
                "invalid type: integer `1`, expected an object",
            ),
            (plain_words("the amount is too large"), "the amount is too large"),
            (plain_words("expected a whole number from 1 to 5"), "expected a whole number from 1 to 5"),
        ] {
            assert_eq!(message, expected);
        }
    }

    #[test]
    fn the_name_of_a_missing_field_is_extracted() {
        assert_eq!(named_field("missing field `order` at line 1 column 2"), Some("order"));
        assert_eq!(named_field("invalid type: null, expected i64"), None);
    }
}
