//! Spelling of names: `snake_case` in Rust and JSON, `camelCase` in GraphQL.

use heck::{ToLowerCamelCase, ToPascalCase, ToShoutySnakeCase};

/// `on_hand` → `onHand`, `ReserveStock` → `reserveStock`.
pub(super) fn camel(name: &str) -> String {
    name.to_lower_camel_case()
}

/// `on_hand` → `OnHand`.
pub(super) fn pascal(name: &str) -> String {
    name.to_pascal_case()
}

/// `on_hand` → `ON_HAND`.
pub(super) fn capitals(name: &str) -> String {
    name.to_shouty_snake_case()
}

/// Checks that a text is a valid GraphQL name: letters, digits and underscores, no leading digit, nothing reserved.
pub(super) fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first == b'_' || first.is_ascii_alphabetic())
        && bytes.all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
        && !name.starts_with("__")
        && !matches!(name, "true" | "false" | "null")
}

/// The path of a field as user errors carry it: `lines[0].on_hand` → `["lines", "0", "onHand"]`.
///
/// A part that is not a valid name, such as a map key chosen by the caller, stays as it is.
pub(super) fn path(field: &str) -> Vec<String> {
    let parts = field.split(['.', '[', ']']).filter(|part| !part.is_empty());
    parts.map(|part| if is_name(part) { camel(part) } else { part.to_owned() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_respelled_and_map_keys_are_kept() {
        assert_eq!([camel("on_hand"), camel("ReserveStock"), camel("at")], ["onHand", "reserveStock", "at"]);
        assert_eq!([pascal("on_hand"), capitals("on_hand")], ["OnHand", "ON_HAND"]);
        assert_eq!(path("lines[0].on_hand"), ["lines", "0", "onHand"]);
        assert_eq!(path("tags.first-aid"), ["tags", "first-aid"]);
        assert!(path("").is_empty());
        assert!(is_name("a_1") && !["", "1a", "a-b", "__a", "true", "ä"].into_iter().any(is_name));
    }
}
