//! Compatibility of event schemas: stored events must stay readable. A schema may gain optional members and wider
//! bounds; it must not lose members or variants, unless the version of the event has risen.

use serde_json::{Map, Value};

/// One event type in the schema of an aggregate's events.
pub(crate) struct Event<'a> {
    pub(crate) payload: &'a Value,
    pub(crate) description: Option<&'a str>,
    /// Version under which the event is written.
    pub(crate) version: i64,
}

/// Reasons why events written under `old` might not be readable under `new`, one sentence each.
pub fn incompatibilities(old: &Value, new: &Value) -> Vec<String> {
    let mut compare = Compare { old, new, problems: Vec::new() };
    for (name, event) in events(old) {
        match events(new).find(|(other, _)| *other == name) {
            None => compare.problems.push(format!("`{name}` is stored and cannot be removed")),
            Some((_, now)) if now.version < event.version => {
                compare
                    .problems
                    .push(format!("`{name}` was written as version {} and is {} now", event.version, now.version));
            }
            // Upcasters read the older versions; the fossils of the domain prove it.
            Some((_, now)) if now.version > event.version => {}
            Some((_, now)) => compare.node(name, event.payload, now.payload, 0),
        }
    }
    compare.problems
}

/// Event types by name: serde encodes a variant as an object with one member.
pub(crate) fn events(schema: &Value) -> impl Iterator<Item = (&str, Event<'_>)> {
    let variants = schema["oneOf"].as_array().into_iter().flatten();
    variants.flat_map(|variant| {
        let (description, version) = (variant["description"].as_str(), variant["x-version"].as_i64().unwrap_or(1));
        let members = variant["properties"].as_object().into_iter().flatten();
        members.map(move |(name, payload)| (name.as_str(), Event { payload, description, version }))
    })
}

/// Copy of a schema with every reference replaced by its target.
pub(crate) fn resolved(root: &Value, node: &Value) -> Value {
    match node {
        Value::Object(members) => match reference_target(root, node) {
            Some(target) => {
                let mut target = resolved(root, target);
                if let (Some(target), Some(description)) = (target.as_object_mut(), members.get("description")) {
                    target.insert("description".into(), description.clone());
                }
                target
            }
            None => members.iter().map(|(name, value)| (name.clone(), resolved(root, value))).collect(),
        },
        Value::Array(values) => values.iter().map(|value| resolved(root, value)).collect(),
        leaf => leaf.clone(),
    }
}

fn reference_target<'a>(root: &'a Value, node: &Value) -> Option<&'a Value> {
    root["$defs"].get(node["$ref"].as_str()?.strip_prefix("#/$defs/")?)
}

struct Compare<'a> {
    old: &'a Value,
    new: &'a Value,
    problems: Vec<String>,
}

/// Maximum depth of comparison, so that it ends for recursive schemas. No payload is nested deeper.
const DEPTH_MOST: usize = 16;

impl Compare<'_> {
    fn node(&mut self, path: &str, old: &Value, new: &Value, depth: usize) {
        if depth == DEPTH_MOST {
            return;
        }
        let (old, new) = (dereferenced(self.old, old), dereferenced(self.new, new));
        let (was, is) = (types(self.old, old), types(self.new, new));
        if let Some(name) = was.iter().find(|name| !is.contains(name)) {
            self.problems.push(format!("`{path}` was stored as {name} and is {} now", is.join(" or ")));
            return;
        }
        for (bound, narrower) in BOUNDS {
            if narrower(&old[bound], &new[bound]) {
                self.problems.push(format!("`{path}`: `{bound}` is narrower than what is stored"));
            }
        }
        if old["format"] != new["format"] && !new["format"].is_null() {
            self.problems
                .push(format!("`{path}` was stored with the format {} and has {} now", old["format"], new["format"]));
        }
        self.members(path, old, new, depth);
        self.variants(path, old, new, depth);
        if old["items"].is_object() && new["items"].is_object() {
            self.node(&format!("{path}[]"), &old["items"], &new["items"], depth + 1);
        }
    }

    fn members(&mut self, path: &str, old: &Value, new: &Value, depth: usize) {
        let none = Map::new();
        let (was, is) = (old["properties"].as_object(), new["properties"].as_object());
        let (was, is) = (was.unwrap_or(&none), is.unwrap_or(&none));
        for (name, schema) in was {
            match is.get(name) {
                None => self.problems.push(format!("`{path}.{name}` is stored and cannot be removed")),
                Some(now) => self.node(&format!("{path}.{name}"), schema, now, depth + 1),
            }
        }
        for name in required(new).filter(|name| !required(old).any(|old| old == *name)) {
            self.problems.push(format!("`{path}.{name}` is required now and absent in stored events"));
        }
    }

    /// Compares enum constants and variants with data. `dereferenced` has already removed the null option.
    fn variants(&mut self, path: &str, old: &Value, new: &Value, depth: usize) {
        let is = words(new);
        for word in words(old).into_iter().filter(|word| !is.contains(word)) {
            self.problems.push(format!("`{path}`: `{word}` is stored and cannot be removed"));
        }
        for (name, event) in events(old) {
            if let Some((_, now)) = events(new).find(|(other, _)| *other == name) {
                self.node(&format!("{path}.{name}"), event.payload, now.payload, depth + 1);
            }
        }
    }
}

type Narrower = fn(&Value, &Value) -> bool;

/// Schema bounds, each with a test that is true if the new bound rejects values that the old one allowed.
const BOUNDS: [(&str, Narrower); 7] = [
    ("maximum", |old, new| new.as_f64().is_some_and(|new| old.as_f64().is_none_or(|old| new < old))),
    ("minimum", |old, new| new.as_f64().is_some_and(|new| old.as_f64().is_none_or(|old| new > old))),
    ("maxLength", |old, new| new.as_u64().is_some_and(|new| old.as_u64().is_none_or(|old| new < old))),
    ("minLength", |old, new| new.as_u64().is_some_and(|new| old.as_u64().unwrap_or(0) < new)),
    ("maxItems", |old, new| new.as_u64().is_some_and(|new| old.as_u64().is_none_or(|old| new < old))),
    ("minItems", |old, new| new.as_u64().is_some_and(|new| old.as_u64().unwrap_or(0) < new)),
    ("pattern", |old, new| new.is_string() && old != new),
];

pub(crate) fn required(schema: &Value) -> impl Iterator<Item = &str> {
    schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// Schema node after its `$ref` was followed and its null option removed.
pub(crate) fn dereferenced<'a>(root: &'a Value, node: &'a Value) -> &'a Value {
    if let Some(target) = reference_target(root, node) {
        return dereferenced(root, target);
    }
    match node["anyOf"].as_array().map(Vec::as_slice) {
        Some([one, null] | [null, one]) if null["type"] == "null" => dereferenced(root, one),
        _ => node,
    }
}

/// Types that a node allows, without null: a change of `required` is reported separately.
pub(crate) fn types(root: &Value, node: &Value) -> Vec<String> {
    let mut types: Vec<String> = match &node["type"] {
        Value::String(one) => vec![one.clone()],
        Value::Array(several) => several.iter().filter_map(Value::as_str).map(Into::into).collect(),
        _ if !words(node).is_empty() => vec!["string".into()],
        _ => Vec::new(),
    };
    for choice in node["oneOf"].as_array().into_iter().flatten() {
        types.extend(types_of_choice(root, choice));
    }
    types.retain(|name| name != "null");
    types.sort_unstable();
    types.dedup();
    types
}

fn types_of_choice(root: &Value, choice: &Value) -> Vec<String> {
    types(root, dereferenced(root, choice))
}

/// Constants of an enum and names of variants with data.
fn words(node: &Value) -> Vec<&str> {
    let choices = node["oneOf"].as_array().into_iter().flatten();
    let constants = choices.flat_map(|choice| choice["const"].as_str().into_iter().chain(listed(choice)));
    let variants = events(node).map(|(name, _)| name);
    listed(node).chain(constants).chain(variants).collect()
}

fn listed(node: &Value) -> impl Iterator<Item = &str> {
    node["enum"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stored() -> Value {
        json!({
            "oneOf": [
                variant("stock.received", &json!({
                    "units": { "$ref": "#/$defs/Quantity" },
                    "reason": { "anyOf": [{ "$ref": "#/$defs/Reason" }, { "type": "null" }] },
                    "kind": { "oneOf": [{ "const": "new", "type": "string" }, { "const": "used", "type": "string" }] },
                })),
                variant("stock.opened", &json!({})),
            ],
            "$defs": { "Quantity": { "type": "integer", "format": "int64", "minimum": 1 }, "Reason": { "type": "string" } },
        })
    }

    fn variant(name: &str, members: &Value) -> Value {
        let required: Vec<_> = members.as_object().into_iter().flatten().map(|(name, _)| name).collect();
        json!({ "properties": { name: { "type": "object", "properties": members, "required": required } } })
    }

    fn changed(pointer: &str, value: Value) -> Value {
        let mut new = stored();
        *new.pointer_mut(pointer).expect("the pointer exists") = value;
        new
    }

    #[test]
    fn additions_are_compatible() {
        assert!(incompatibilities(&stored(), &stored()).is_empty());
        let mut new = stored();
        new["oneOf"][0]["properties"]["stock.received"]["properties"]["note"] = json!({ "type": "string" });
        new["oneOf"].as_array_mut().expect("a list").push(variant("stock.lost", &json!({})));
        new["$defs"]["Quantity"]["minimum"] = json!(0);
        new["$defs"]["Quantity"]["description"] = json!("Another sentence.");
        assert_eq!(incompatibilities(&stored(), &new), Vec::<String>::new());
    }

    #[test]
    fn event_of_a_higher_version_may_have_another_shape_and_a_lower_version_is_reported() {
        let mut second = stored();
        second["oneOf"][0]["x-version"] = json!(2);
        let mut reshaped = second.clone();
        reshaped["oneOf"][0]["properties"]["stock.received"]["properties"] = json!({});
        assert_eq!(incompatibilities(&stored(), &reshaped), Vec::<String>::new());
        assert_ne!(incompatibilities(&second, &reshaped), Vec::<String>::new());
        let lowered = incompatibilities(&second, &stored());
        assert_eq!(lowered, ["`stock.received` was written as version 2 and is 1 now"]);
    }

    #[test]
    fn losses_are_reported_one_sentence_each() {
        let received = "/oneOf/0/properties/stock.received";
        let report = |pointer: &str, value: Value| incompatibilities(&stored(), &changed(pointer, value)).join("; ");
        assert_eq!(report("/oneOf/1", json!({})), "`stock.opened` is stored and cannot be removed");
        let removed = report(
            &format!("{received}/properties"),
            json!({ "units": { "$ref": "#/$defs/Quantity" }, "kind": { "type": "string", "enum": ["new", "used"] } }),
        );
        assert_eq!(removed, "`stock.received.reason` is stored and cannot be removed");
        assert_eq!(
            report("/$defs/Quantity/type", json!("string")),
            "`stock.received.units` was stored as integer and is string now"
        );
        assert!(report("/$defs/Quantity/minimum", json!(2)).contains("narrower"));
        assert!(report("/$defs/Reason", json!({ "type": "string", "format": "uuid" })).contains("format"));
        assert!(
            report(&format!("{received}/properties/kind/oneOf/1/const"), json!("old")).contains("`used` is stored")
        );
        assert!(
            report(&format!("{received}/required"), json!(["units", "reason", "kind", "note"]))
                .contains("is required now")
        );
        proofs::proven("ES-10 a breaking change of a schema is reported");
    }
}
