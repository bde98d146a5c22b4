//! How names are spelled: Rust's fields with underscores, GraphQL's with humps.

/// `on_hand` → `onHand`, `ReserveStock` → `reserveStock`.
pub(super) fn camel(name: &str) -> String {
    let pascal = pascal(name);
    let mut letters = pascal.chars();
    letters.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(letters).collect()
}

/// `on_hand` → `OnHand`.
pub(super) fn pascal(name: &str) -> String {
    let mut pascal = String::with_capacity(name.len());
    let mut hump = true;
    for letter in name.chars() {
        if letter == '_' {
            hump = true;
        } else if hump {
            pascal.push(letter.to_ascii_uppercase());
            hump = false;
        } else {
            pascal.push(letter);
        }
    }
    pascal
}

/// `on_hand` → `ON_HAND`.
pub(super) fn capitals(name: &str) -> String {
    name.to_ascii_uppercase()
}

/// Whether GraphQL takes it as a name.
pub(super) fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first == b'_' || first.is_ascii_alphabetic())
        && bytes.all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
        && !name.starts_with("__")
        && !matches!(name, "true" | "false" | "null")
}

/// `lines[0].on_hand` → `["lines", "0", "onHand"]`, as user errors name fields.
pub(super) fn path(field: &str) -> Vec<String> {
    let parts = field.split(['.', '[', ']']).filter(|part| !part.is_empty());
    parts.map(camel).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_change_their_spelling_and_nothing_else() {
        assert_eq!([camel("on_hand"), camel("ReserveStock"), camel("at")], ["onHand", "reserveStock", "at"]);
        assert_eq!([pascal("on_hand"), capitals("on_hand")], ["OnHand", "ON_HAND"]);
        assert_eq!(path("lines[0].on_hand"), ["lines", "0", "onHand"]);
        assert!(path("").is_empty());
        assert!(is_name("a_1") && !["", "1a", "a-b", "__a", "true", "ä"].into_iter().any(is_name));
    }
}
