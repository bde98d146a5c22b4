//! Compatibility of published events: what a reader was promised stays true. A public shape may gain members and values
//! of an enum; members that were there stay, with their types, and are never null or absent where they were not. Any other
//! change needs a higher version of the public shape.

use serde_json::{Map, Value};

use crate::compatibility::{dereferenced, events, required, types};

/// Reasons why a reader of events published under `old` might not understand those under `new`, one sentence each.
pub fn broken_promises(old: &Value, new: &Value) -> Vec<String> {
    let mut compare = Compare { old, new, problems: Vec::new() };
    for (name, event) in events(old) {
        match events(new).find(|(other, _)| *other == name) {
            None => compare.problems.push(format!("`{name}` is published and cannot be removed")),
            Some((_, now)) if now.version < event.version => {
                let text = format!("`{name}` was published as version {} and is {} now", event.version, now.version);
                compare.problems.push(text);
            }
            Some((_, now)) if now.version > event.version => {}
            Some((_, now)) => compare.node(name, event.payload, now.payload, 0),
        }
    }
    compare.problems
}

struct Compare<'a> {
    old: &'a Value,
    new: &'a Value,
    problems: Vec<String>,
}

/// Maximum depth of comparison; no payload is nested deeper.
const DEPTH_MOST: usize = 16;

impl Compare<'_> {
    fn node(&mut self, path: &str, old: &Value, new: &Value, depth: usize) {
        if depth == DEPTH_MOST {
            return;
        }
        if allows_null(new) && !allows_null(old) {
            self.problems.push(format!("`{path}` was never null and can be now"));
        }
        let (old, new) = (dereferenced(self.old, old), dereferenced(self.new, new));
        let (was, is) = (types(self.old, old), types(self.new, new));
        if let Some(name) = is.iter().find(|name| !was.contains(name)) {
            self.problems.push(format!("`{path}` was published as {} and can be {name} now", was.join(" or ")));
            return;
        }
        if old["format"] != new["format"] && !old["format"].is_null() {
            self.problems.push(format!(
                "`{path}` was published with the format {} and has {} now",
                old["format"], new["format"]
            ));
        }
        self.members(path, old, new, depth);
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
                None => self.problems.push(format!("`{path}.{name}` is published and cannot be removed")),
                Some(now) => self.node(&format!("{path}.{name}"), schema, now, depth + 1),
            }
        }
        for name in required(old).filter(|name| is.contains_key(*name) && !required(new).any(|new| new == *name)) {
            self.problems.push(format!("`{path}.{name}` was always there and can be absent now"));
        }
    }
}

fn allows_null(node: &Value) -> bool {
    let is_null = |kind: &Value| kind == "null";
    is_null(&node["type"])
        || node["type"].as_array().is_some_and(|kinds| kinds.iter().any(is_null))
        || node["anyOf"].as_array().is_some_and(|choices| choices.iter().any(|choice| is_null(&choice["type"])))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> Value {
        json!({ "oneOf": [{
            "required": ["order.placed"],
            "x-version": 1,
            "properties": { "order.placed": {
                "type": "object",
                "required": ["total", "lines"],
                "properties": {
                    "total": { "type": "integer" },
                    "note": { "type": ["string", "null"] },
                    "lines": { "type": "array", "items": {
                        "type": "object",
                        "required": ["kind"],
                        "properties": { "kind": { "type": "string", "enum": ["new"] } },
                    } },
                },
            } },
        }] })
    }

    /// The only problem after a change at this path.
    fn problem(path: &str, value: Value) -> Option<String> {
        let (old, mut new) = (schema(), schema());
        *new.pointer_mut(path).expect("a node") = value;
        let mut problems = broken_promises(&old, &new);
        assert!(problems.len() <= 1, "{problems:?}");
        problems.pop()
    }

    #[test]
    fn shape_may_gain_members_and_values() {
        let payload = "/oneOf/0/properties/order.placed";
        let kinds = format!("{payload}/properties/lines/items/properties/kind/enum");
        assert_eq!(problem(&kinds, json!(["new", "used"])), None);
        assert_eq!(problem(&format!("{payload}/required"), json!(["total", "lines", "note"])), None);
        assert_eq!(problem(&format!("{payload}/properties/note"), json!({ "type": "string" })), None);
    }

    #[test]
    fn promise_that_a_reader_relies_on_cannot_be_broken() {
        let payload = "/oneOf/0/properties/order.placed";
        for (path, value, reason) in [
            ("/oneOf", json!([]), "`order.placed` is published and cannot be removed"),
            (
                &*format!("{payload}/required"),
                json!(["lines"]),
                "`order.placed.total` was always there and can be absent now",
            ),
            (&*format!("{payload}/properties/total/type"), json!("string"), "can be string now"),
            (&*format!("{payload}/properties/total/type"), json!(["integer", "null"]), "was never null and can be now"),
            (&*format!("{payload}/properties/lines/items"), json!({ "type": "object", "properties": {} }), "kind"),
        ] {
            let found = problem(path, value).unwrap_or_default();
            assert!(found.contains(reason), "{found}");
        }
    }

    #[test]
    fn higher_version_may_differ_and_a_lower_one_is_refused() {
        let mut higher = schema();
        higher["oneOf"][0]["x-version"] = json!(2);
        higher["oneOf"][0]["properties"]["order.placed"] = json!({ "type": "object" });
        assert_eq!(broken_promises(&schema(), &higher), Vec::<String>::new());
        assert_eq!(broken_promises(&higher, &schema()).len(), 1);
    }
}
