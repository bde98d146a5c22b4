//! Parse errors in the words of JSON, for callers who do not know our Rust types.

/// Rust types as serde names them, and their names for callers.
const TYPE_NAMES: [(&str, &str); 12] = [
    ("a borrowed string", "a text"),
    ("a string", "a text"),
    ("a sequence", "a list"),
    ("a map", "an object"),
    ("i16", "a whole number"),
    ("i32", "a whole number"),
    ("i64", "a whole number"),
    ("u8", "a whole number from 0 on"),
    ("u16", "a whole number from 0 on"),
    ("u32", "a whole number from 0 on"),
    ("u64", "a whole number from 0 on"),
    ("usize", "a whole number from 0 on"),
];

/// Serde's message without line and column, because the path of the field is given, and without names of Rust types.
pub(super) fn plain(message: &str) -> String {
    let message = message.rsplit_once(" at line ").map_or(message, |(message, _)| message);
    let Some((found, expected)) = message.rsplit_once("expected ") else { return message.to_owned() };
    let known = TYPE_NAMES.iter().find(|(name, _)| *name == expected).map(|(_, words)| *words);
    let words = match expected.split_once(' ') {
        _ if known.is_some() => known.unwrap_or_default(),
        Some(("struct" | "tuple" | "variant", _)) => "an object",
        Some(("enum", _)) => "one of the names in the schema",
        _ => expected,
    };
    format!("{found}expected {words}")
}

/// The missing or unknown field that a message names. It belongs to the object at the path of the error.
pub(super) fn named_field(message: &str) -> Option<&str> {
    let rest = message.strip_prefix("missing field `").or_else(|| message.strip_prefix("unknown field `"))?;
    rest.split_once('`').map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rust_types_are_named_as_json_types() {
        for (message, expected) in [
            (
                "invalid type: string \"1\", expected i64 at line 1 column 9",
                "invalid type: string \"1\", expected a whole number",
            ),
            ("invalid type: integer `1`, expected struct Money", "invalid type: integer `1`, expected an object"),
            ("invalid type: integer `1`, expected a string", "invalid type: integer `1`, expected a text"),
            ("the amount is too large", "the amount is too large"),
        ] {
            assert_eq!(plain(message), expected);
        }
    }

    #[test]
    fn the_name_of_a_missing_field_is_extracted() {
        assert_eq!(named_field("missing field `order` at line 1 column 2"), Some("order"));
        assert_eq!(named_field("invalid type: null, expected i64"), None);
    }
}
