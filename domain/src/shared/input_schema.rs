//! Schemas of the inputs of commands, as narrow as the parsers of this module.
//!
//! The value types publish the schemas of stored events, which stay as they are when a parser changes. For an input, the
//! schema also says which texts and numbers the parser accepts, so that a client can check them before it sends them.
//! Patterns are regular expressions that ECMAScript, Python and Rust read alike, without look-around.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::{Currency, Zone};
use crate::kernel::aggregates;

/// Characters that texts may have: all but control characters, byte order marks and overrides of the text direction.
const ALLOWED: &str = r"[^\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202d\u202e\ufeff\ufffe\uffff]";
/// Those of them that are neither blank nor invisible, without the brackets around.
const UNSEEN: &str = r"\u0000-\u0020\u007f-\u00a0\u00ad\u1680\u2000-\u200f\u2028-\u202f\u205f-\u2064\u2066-\u2069\u3000\ufeff\ufffe\uffff";

const UUID: &str = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$";
/// The nil UUID and the highest one.
const UNUSABLE_UUID: &str = "^(0[0-]*|[fF][fF-]*)$";
const PHONE: &str = r"^\+[0-9]{6,15}$";
/// A few years less than the parser accepts, so that every offset is within its range.
const INSTANT: &str = "^(190[1-9]|19[1-9][0-9]|20[0-9]{2}|21[0-8][0-9]|219[0-8])-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])\
                       T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$";
const DAY: &str = "^(19|20|21)[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$";
/// The host has lower-case labels, or is an address in decimal numbers or in brackets.
const TARGET: &str = "^https?://(([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\.)*[a-z]([a-z0-9-]{0,61}[a-z0-9])?\
                      |(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(\\.(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])){3}\
                      |\\[[0-9a-fA-F:.]+\\])\
                      (:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?\
                      ([/?]([a-zA-Z0-9._~!$&'()*+,;=:@/?-]|%[0-9a-fA-F]{2})*)?$";

/// Highest number of minor units in an amount.
const MINOR_MOST: i64 = 1_000_000_000_000_000;

static LISTS: LazyLock<Lists> = LazyLock::new(|| {
    let letters = || (b'A'..=b'Z').map(char::from);
    let codes =
        letters().flat_map(|a| letters().flat_map(move |b| letters().map(move |c| String::from_iter([a, b, c]))));
    let mut zones: Vec<_> = jiff::tz::db().available().map(|name| name.as_str().to_owned()).collect();
    zones.retain(|name| name.parse::<Zone>().is_ok());
    zones.sort_unstable();
    let events = aggregates().iter().flat_map(|aggregate| &aggregate.events).filter(|event| !event.is_private);
    let mut events: Vec<_> = events.map(|event| event.name.clone()).collect();
    events.sort_unstable();
    Lists { currencies: codes.filter(|code| code.parse::<Currency>().is_ok()).collect(), zones, events }
});

/// Texts of which the parsers accept a fixed set.
struct Lists {
    currencies: Vec<String>,
    zones: Vec<String>,
    events: Vec<String>,
}

/// The schema of an input, with the constraints of the parsers.
pub fn input_schema(schema: &Value) -> Value {
    let mut schema = schema.clone();
    narrow(None, &mut schema);
    schema
}

/// Adds constraints to a node and to all below it. `name` is its name under `$defs`.
fn narrow(name: Option<&str>, node: &mut Value) {
    match node {
        Value::Object(members) => {
            let constraints = constraints(name, members);
            for (word, constraint) in constraints.as_object().into_iter().flatten() {
                members.entry(word).or_insert_with(|| constraint.clone());
            }
            if let Some(most) = name.and_then(minor_bounds)
                && let Some(minor) = members.get_mut("properties").and_then(|fields| fields.get_mut("minor"))
            {
                minor["minimum"] = most.0.into();
                minor["maximum"] = most.1.into();
            }
            for (word, member) in members {
                match member {
                    Value::Object(definitions) if word == "$defs" => {
                        definitions.iter_mut().for_each(|(name, definition)| narrow(Some(name), definition));
                    }
                    member => narrow(None, member),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| narrow(None, item)),
        _ => {}
    }
}

fn minor_bounds(name: &str) -> Option<(i64, i64)> {
    match name {
        "Price" => Some((0, MINOR_MOST)),
        "Money" => Some((MINOR_MOST.checked_neg()?, MINOR_MOST)),
        _ => None,
    }
}

fn constraints(name: Option<&str>, node: &Map<String, Value>) -> Value {
    let word = |name: &str| node.get(name).and_then(Value::as_str);
    match (name, word("x-personal"), word("format")) {
        (Some("Currency"), ..) => json!({ "enum": LISTS.currencies }),
        (Some("Zone"), ..) => json!({ "enum": LISTS.zones }),
        (Some("EventType"), ..) => json!({ "enum": LISTS.events }),
        (Some("Sku"), ..) => json!({ "pattern": format!("^[^{UNSEEN}]*$") }),
        (Some("TargetUrl"), ..) => json!({
            "pattern": TARGET,
            "description": "A URL whose host is reachable from the internet.",
        }),
        (Some("MediaUrl"), ..) => json!({ "pattern": TARGET.replacen("https?", "https", 1) }),
        (_, Some("email"), _) => json!({ "pattern": email(), "maxLength": 254 }),
        (_, Some("phone"), _) => json!({ "pattern": PHONE }),
        (_, Some("name"), _) => json!({ "pattern": text(), "minLength": 1, "maxLength": 200 }),
        (.., Some("uuid")) => json!({ "pattern": UUID, "not": { "pattern": UNUSABLE_UUID } }),
        (.., Some("date-time")) => json!({ "pattern": INSTANT }),
        (.., Some("date")) => json!({ "pattern": DAY }),
        (.., Some("int64")) => json!({ "minimum": i64::MIN, "maximum": i64::MAX }),
        (.., Some("uint32")) => json!({ "minimum": 0, "maximum": u32::MAX }),
        _ if is_text(node) => json!({ "pattern": text() }),
        _ => Value::Null,
    }
}

/// True for the schema of a bounded text. Its type may be a list with null.
fn is_text(node: &Map<String, Value>) -> bool {
    let is_string = match node.get("type") {
        Some(Value::String(kind)) => kind == "string",
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == "string"),
        _ => false,
    };
    is_string && node.contains_key("minLength") && node.contains_key("maxLength")
}

fn text() -> String {
    format!("^{ALLOWED}*[^{UNSEEN}]{ALLOWED}*$")
}

fn email() -> String {
    let mailbox = format!(r#"[^{UNSEEN}"<>,;()\\@]"#);
    let label = format!(r#"[^{UNSEEN}"<>,;()\\@.]"#);
    format!(r"^{mailbox}+@{label}+(\.{label}+)+$")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constraints_are_added_to_definitions_and_to_fields() {
        let narrowed = input_schema(&json!({
            "$defs": {
                "Currency": { "type": "string" },
                "Price": { "type": "object", "properties": { "minor": { "type": "integer", "format": "int64" } } },
            },
            "properties": {
                "reason": { "type": ["string", "null"], "minLength": 1, "maxLength": 500 },
                "at": { "type": "integer", "format": "int64", "minimum": 5 },
                "type": { "type": "boolean" },
            },
        }));
        let currencies = narrowed["$defs"]["Currency"]["enum"].as_array().expect("a list");
        assert!(currencies.contains(&json!("USD")) && !currencies.contains(&json!("ZZZ")));
        let minor = &narrowed["$defs"]["Price"]["properties"]["minor"];
        assert_eq!((&minor["minimum"], &minor["maximum"]), (&json!(0), &json!(MINOR_MOST)));
        assert!(narrowed["properties"]["reason"]["pattern"].is_string());
        let at = &narrowed["properties"]["at"];
        assert_eq!((&at["minimum"], &at["maximum"]), (&json!(5), &json!(i64::MAX)), "own bounds are kept");
        assert_eq!(narrowed["properties"]["type"], json!({ "type": "boolean" }));
    }

    #[test]
    fn lists_are_those_of_the_parsers() {
        assert!(LISTS.zones.iter().any(|zone| zone == "Europe/Berlin") && LISTS.zones.len() > 300);
        assert!(LISTS.events.iter().any(|event| event == "order.placed"));
        assert!(LISTS.events.iter().all(|event| !event.starts_with("webhook.")));
        assert!(LISTS.currencies.len() > 100);
    }
}
