//! Contract tests: the committed contracts match the code, stored events stay readable, and published ones keep what was
//! promised.

use std::path::Path;

use serde_json::Value;

fn home() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn committed_contracts_match_the_generated_ones() {
    let generated = schemas::generate().expect("the catalogues are consistent");
    let stored = schemas::read(home()).expect("the contract files can be read");
    let drifted = schemas::differences(&stored, &generated);
    assert!(drifted.is_empty(), "run `cargo xtask gen` and review the changes in:\n{}", drifted.join("\n"));
}

#[test]
fn every_stored_event_stays_readable() {
    let problems = problems("events/", schemas::incompatibilities);
    assert!(problems.is_empty(), "stored events would become unreadable:\n{}", problems.join("\n"));
    proofs::proven("ES-10 a change that makes stored events unreadable fails the tests");
}

#[test]
fn every_published_event_keeps_what_was_promised() {
    let problems = problems("published/", schemas::broken_promises);
    assert!(problems.is_empty(), "readers of published events would be surprised:\n{}", problems.join("\n"));
}

/// Differences between the committed and the generated contracts of a folder.
fn problems(folder: &str, compare: fn(&Value, &Value) -> Vec<String>) -> Vec<String> {
    let generated = schemas::generate().expect("the catalogues are consistent");
    let stored = schemas::read(home()).expect("the contract files can be read");
    let mut problems = Vec::new();
    for (path, old) in stored.iter().filter(|(path, _)| path.starts_with(folder)) {
        let parse = |text: &str| serde_json::from_str(text).expect("JSON");
        match generated.get(path) {
            Some(new) => {
                let found = compare(&parse(old), &parse(new));
                problems.extend(found.into_iter().map(|problem| format!("{path}: {problem}")));
            }
            None => problems.push(format!("{path}: this contract is gone, and its events exist")),
        }
    }
    problems
}

#[test]
fn published_contracts_have_public_shapes_and_neither_private_events_nor_personal_fields() {
    let generated = schemas::generate().expect("the catalogues are consistent");
    let published: Vec<_> = generated.iter().filter(|(path, _)| path.starts_with("published/")).collect();
    assert!(published.iter().all(|(_, text)| !text.contains("x-personal")));
    let read = |path: &str| serde_json::from_str::<Value>(&generated[path]).expect("JSON");
    let placed = &read("published/orders/Order.json")["oneOf"][0]["properties"]["order.placed"]["properties"];
    assert!(placed["discount"].is_object() && placed["price"].is_null());
    assert!(!generated["published/inventory/StockItem.json"].contains("stock.allotment_drawn"));
    for aggregate in ["tenancy/NameClaim", "loyalty/Earning", "integrations/WebhookSubscription"] {
        assert!(!generated.contains_key(&format!("published/{aggregate}.json")), "{aggregate}");
    }
    let messages = &read("asyncapi.json")["components"]["messages"];
    assert!(messages["stock.reserved"].is_object() && messages["stock.allotment_drawn"].is_null());
}

#[test]
fn generation_is_deterministic() {
    assert_eq!(schemas::generate(), schemas::generate());
}

#[test]
fn every_aggregate_command_and_read_model_is_published() {
    let generated = schemas::generate().expect("the catalogues are consistent");
    for path in [
        "events/inventory/StockItem.json",
        "rejections/inventory/StockItem.json",
        "commands/inventory/ReserveStock.json",
        "read-models/inventory/StockLevel.json",
        "graphql/schema.graphql",
        "openapi.json",
        "asyncapi.json",
    ] {
        assert!(generated.contains_key(path), "{path} is missing");
    }
    assert!(generated["asyncapi.json"].contains("\"stock.reserved\""));
}
