//! What is published is what the code says, and what was stored stays readable.
//!
//! proves: ES-10

use std::path::Path;

fn home() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_committed_contracts_are_the_generated_ones() {
    let generated = schemas::generate().expect("the catalogues fit together");
    let stored = schemas::read(home()).expect("readable");
    let drifted = schemas::differences(&stored, &generated);
    assert!(drifted.is_empty(), "run `cargo xtask gen` and look at what changed in:\n{}", drifted.join("\n"));
}

#[test]
fn every_stored_event_stays_readable() {
    let generated = schemas::generate().expect("the catalogues fit together");
    let stored = schemas::read(home()).expect("readable");
    let mut flaws = Vec::new();
    for (path, old) in stored.iter().filter(|(path, _)| path.starts_with("events/")) {
        let parse = |text: &str| serde_json::from_str(text).expect("JSON");
        match generated.get(path) {
            Some(new) => {
                flaws.extend(schemas::flaws(&parse(old), &parse(new)).into_iter().map(|flaw| format!("{path}: {flaw}")))
            }
            None => flaws.push(format!("{path}: its events are stored and it is no aggregate any more")),
        }
    }
    assert!(flaws.is_empty(), "stored events would become unreadable:\n{}", flaws.join("\n"));
}

#[test]
fn generating_twice_gives_the_same_bytes() {
    assert_eq!(schemas::generate(), schemas::generate());
}

#[test]
fn every_aggregate_command_and_read_model_is_published() {
    let generated = schemas::generate().expect("the catalogues fit together");
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
