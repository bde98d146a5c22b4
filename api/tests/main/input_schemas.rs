//! Schemas of inputs and parsers: they accept the same values.

use commands::kernel::{CommandDescriptor, Commands};
use proptest::strategy::{Strategy, ValueTree};
use proptest::string::string_regex;
use proptest::test_runner::TestRunner;
use regex::Regex;
use serde_json::Value;

use crate::bad_fields::Field;
use crate::bad_values::{BadValue, Family, Fate};

/// Fields with values that parse and are refused by the decision: events that do not exist, and positions before the first.
const CHECKED_LATER: [&str; 4] =
    ["ChangeSubscription.events[0]", "Subscribe.events[0]", "ReplayEvents.from", "ReplayEvents.to"];
/// Texts that are generated for each pattern.
const TEXTS: usize = 48;

/// The schema of a field, by a path such as `lines[0].quantity`.
fn leaf<'a>(root: &'a Value, path: &str) -> &'a Value {
    let steps = path.split(['.', '[']).filter(|step| !step.is_empty());
    let node = steps.fold(root, |node, step| match step.strip_suffix(']') {
        Some(_) => &resolved(root, node)["items"],
        None => &resolved(root, node)["properties"][step],
    });
    resolved(root, node)
}

/// The schema behind a reference, or the alternative that is not null.
fn resolved<'a>(root: &'a Value, node: &'a Value) -> &'a Value {
    if let Some(path) = node["$ref"].as_str() {
        return resolved(root, root.pointer(path.trim_start_matches('#')).expect("a definition"));
    }
    match node["anyOf"].as_array() {
        Some(choices) => resolved(root, choices.iter().find(|one| one["type"] != "null").expect("an alternative")),
        None => node,
    }
}

/// True if a schema without references accepts a value. Knows the words that our schemas have.
fn accepts(schema: &Value, value: &Value) -> bool {
    let kinds = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        kind => kind.as_str().into_iter().collect::<Vec<_>>(),
    };
    let is_kind = |kind: &&str| match *kind {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("a leaf of type {other}"),
    };
    let listed = |word: &str| schema[word].as_array().is_none_or(|values| values.contains(value));
    let choices = schema["oneOf"].as_array();
    let chosen = choices.is_none_or(|choices| choices.iter().any(|choice| is_choice(choice, value)));
    let bound = |word: &str, fits: fn(i64, i64) -> bool| match (value.as_i64(), schema[word].as_i64()) {
        (Some(value), Some(bound)) => fits(value, bound),
        _ => true,
    };
    (kinds.is_empty() || kinds.iter().any(is_kind))
        && listed("enum")
        && chosen
        && bound("minimum", |value, least| value >= least)
        && bound("maximum", |value, most| value <= most)
        && (!value.is_u64() || value.is_i64())
        && value.as_str().is_none_or(|text| accepts_text(schema, text))
}

fn is_choice(choice: &Value, value: &Value) -> bool {
    choice["const"] == *value || choice["enum"].as_array().is_some_and(|values| values.contains(value))
}

fn accepts_text(schema: &Value, text: &str) -> bool {
    let length = u64::try_from(text.chars().count()).expect("a length");
    let matches = |pattern: &Value| pattern.as_str().map(|pattern| Regex::new(pattern).expect(pattern).is_match(text));
    schema["minLength"].as_u64().is_none_or(|least| length >= least)
        && schema["maxLength"].as_u64().is_none_or(|most| length <= most)
        && matches(&schema["pattern"]).unwrap_or(true)
        && !matches(&schema["not"]["pattern"]).unwrap_or(false)
        && (!schema["format"].as_str().is_some_and(|format| format.starts_with("date")) || is_day(text))
}

/// True if the day at the start of the text exists, as the formats `date` and `date-time` require.
fn is_day(text: &str) -> bool {
    text.get(..10).is_some_and(|day| day.parse::<domain::shared::Date>().is_ok())
}

/// Limits that no schema can state: punycode, IPv6 and 253 bytes in a host, the bytes of an e-mail address, and the check
/// digit of a card number.
fn is_beyond_schemas(family: &Family, value: &Value) -> bool {
    let text = value.as_str().unwrap_or_default();
    match family {
        Family::Target | Family::MediaUrl => text.contains("xn--") || text.contains('[') || text.len() > 253,
        Family::Email => text.len() > 254,
        Family::Token => text.bytes().filter(u8::is_ascii_digit).count() >= 13,
        _ => false,
    }
}

fn fields(commands: &Commands) -> impl Iterator<Item = (&CommandDescriptor, Value, Field)> {
    let fields = |kind: &CommandDescriptor| {
        Field::all(kind).into_iter().map(|field| (kind.input_schema(), field)).collect::<Vec<_>>()
    };
    commands.iter().flat_map(move |kind| fields(kind).into_iter().map(move |(schema, field)| (kind, schema, field)))
}

/// True if the parser accepts the body with this value in the field.
fn parses(kind: &CommandDescriptor, field: &Field, json: &str) -> bool {
    let value = BadValue { json: json.into(), fate: Fate::Taken };
    kind.parse(&field.with(&value)).is_ok()
}

#[test]
fn schema_and_parser_accept_the_same_of_the_listed_values() {
    let commands = Commands::all();
    let (mut wrong, mut count) = (vec![], 0);
    for (kind, schema, field) in fields(&commands) {
        let schema = leaf(&schema, &field.path);
        for BadValue { json, .. } in field.values() {
            // Some values are no JSON; a null is judged by the object around it.
            let Some(value) = serde_json::from_str::<Value>(&json).ok().filter(|value| !value.is_null()) else {
                continue;
            };
            let (published, parsed) = (accepts(schema, &value), parses(kind, &field, &json));
            let is_checked_later = parsed && CHECKED_LATER.contains(&format!("{}.{}", kind.name, field.path).as_str());
            if published != parsed && !is_checked_later && !is_beyond_schemas(&field.family, &value) {
                wrong.push(format!("{}.{} = {json}: schema {published}, parser {parsed}", kind.name, field.path));
            }
            count += 1;
        }
    }
    assert!(count > 3_000, "only {count} values");
    assert!(wrong.is_empty(), "{} of {count}\n{}", wrong.len(), wrong[..wrong.len().min(40)].join("\n"));
}

#[test]
fn parser_accepts_every_text_that_a_pattern_of_the_schema_generates() {
    let commands = Commands::all();
    let mut runner = TestRunner::deterministic();
    let (mut wrong, mut patterns) = (vec![], 0);
    for (kind, schema, field) in fields(&commands) {
        let schema = leaf(&schema, &field.path);
        for item in schema["enum"].as_array().into_iter().flatten() {
            if !parses(kind, &field, &item.to_string()) {
                wrong.push(format!("{}.{} = {item}", kind.name, field.path));
            }
        }
        let Some(pattern) = schema["pattern"].as_str() else { continue };
        patterns += 1;
        let inner = pattern.strip_prefix('^').and_then(|pattern| pattern.strip_suffix('$')).expect(pattern);
        let texts = string_regex(inner).expect(pattern);
        for _ in 0..TEXTS {
            let value = Value::from(texts.new_tree(&mut runner).expect("a text").current());
            let beyond = is_beyond_schemas(&field.family, &value) || !accepts(schema, &value);
            if !beyond && !parses(kind, &field, &value.to_string()) {
                wrong.push(format!("{}.{} = {value}", kind.name, field.path));
            }
        }
    }
    assert!(patterns > 50, "only {patterns} patterns");
    assert!(wrong.is_empty(), "{} texts\n{}", wrong.len(), wrong[..wrong.len().min(40)].join("\n"));
}
