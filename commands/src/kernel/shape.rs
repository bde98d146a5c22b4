//! Shape check: refuses lists and objects where the published schema allows none. Serde alone accepts a list for a
//! struct and an object for an enum without fields.

use schemars::Schema;
use serde_json::Value;

use super::Misuse;

/// Refuses lists and objects where the schema expects something else.
pub(super) fn check(schema: &Schema, body: &str) -> Result<(), Misuse> {
    // Fast path: the only object in this body is the command itself.
    if !body.contains('[') && body.matches('{').nth(1).is_none() {
        return Ok(());
    }
    let value: Value =
        serde_json::from_str(body).map_err(|error| Misuse::new("INVALID_JSON", "", error.to_string()))?;
    match misplaced(schema.as_value(), schema.as_value(), &value, String::new()) {
        None => Ok(()),
        Some(field) => {
            Err(Misuse::new("INVALID_FIELD", field, "expected the shape that the schema of the command describes"))
        }
    }
}

/// The path of the first list or object in a place where the schema does not allow it.
fn misplaced(root: &Value, node: &Value, value: &Value, path: String) -> Option<String> {
    let node = resolve(root, node);
    let choices = ["anyOf", "oneOf"].iter().find_map(|word| node[*word].as_array());
    if let Some(choices) = choices {
        let tried: Vec<_> = choices.iter().map(|choice| misplaced(root, choice, value, path.clone())).collect();
        // The branch that fails at the longest path is the one that the caller most likely meant.
        let all_fail = tried.iter().all(Option::is_some);
        return tried.into_iter().flatten().max_by_key(String::len).filter(|_| all_fail);
    }
    match value {
        Value::Array(_) if !allows(node, "array") => Some(path),
        Value::Object(_) if !allows(node, "object") => Some(path),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(index, item)| misplaced(root, &node["items"], item, format!("{path}[{index}]"))),
        Value::Object(fields) => fields.iter().find_map(|(name, field)| {
            let inner = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            misplaced(root, &node["properties"][name], field, inner)
        }),
        _ => None,
    }
}

fn resolve<'s>(root: &'s Value, node: &'s Value) -> &'s Value {
    let target = node["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
    target.and_then(|pointer| root.pointer(pointer)).unwrap_or(node)
}

/// True if a schema without choices allows a value of this type.
fn allows(node: &Value, wanted: &str) -> bool {
    match &node["type"] {
        Value::String(only) => only == wanted,
        Value::Array(some) => some.iter().any(|one| one == wanted),
        _ => node.get("const").is_none() && node.get("enum").is_none(),
    }
}

#[cfg(test)]
mod tests {
    use crate::kernel::Commands;

    fn refused(name: &str, body: &str) -> String {
        let commands = Commands::all();
        let parsed = commands.get(name).expect("a command").parse(body);
        parsed.err().map(|misuse| misuse.field).expect("refused")
    }

    #[test]
    fn a_list_in_place_of_an_object_and_an_object_in_place_of_a_name_are_refused() {
        let id = "0190a5b2-7c3d-7e4f-8a9b-0c1d2e3f4a5b";
        let price = format!(r#"{{"product":"{id}","price":[900,"USD"]}}"#);
        assert_eq!(refused("ChangePrice", &price), "price");
        let lines = format!(r#"{{"order":"{id}","customer":"{id}","store":"{id}","lines":[["{id}",1]]}}"#);
        assert_eq!(refused("PlaceOrder", &lines), "lines[0]");
        let kind = format!(r#"{{"customer":"{id}","kind":{{"review":null}},"source":"x","points":1}}"#);
        assert_eq!(refused("EarnPoints", &kind), "kind");
    }

    #[test]
    fn a_body_that_matches_the_schema_is_accepted() {
        let id = "0190a5b2-7c3d-7e4f-8a9b-0c1d2e3f4a5b";
        let commands = Commands::all();
        let lines = format!(
            r#"{{"order":"{id}","customer":"{id}","store":"{id}","lines":[{{"product":"{id}","quantity":1}}]}}"#
        );
        assert!(commands.get("PlaceOrder").expect("a command").parse(&lines).is_ok());
        let rules = r#"{"purchase":{"points":1,"per_minor":100},"signup":null}"#;
        assert!(commands.get("SetEarningRules").expect("a command").parse(rules).is_ok());
    }
}
