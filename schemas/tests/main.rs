//! Contract tests: the committed contracts match the code, and stored events stay readable.

use std::path::Path;

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
    let generated = schemas::generate().expect("the catalogues are consistent");
    let stored = schemas::read(home()).expect("the contract files can be read");
    let mut problems = Vec::new();
    for (path, old) in stored.iter().filter(|(path, _)| path.starts_with("events/")) {
        let parse = |text: &str| serde_json::from_str(text).expect("JSON");
        match generated.get(path) {
            Some(new) => {
                let found = schemas::incompatibilities(&parse(old), &parse(new));
                problems.extend(found.into_iter().map(|problem| format!("{path}: {problem}")));
            }
            None => problems.push(format!("{path}: events of this aggregate are stored and the aggregate is gone")),
        }
    }
    assert!(problems.is_empty(), "stored events would become unreadable:\n{}", problems.join("\n"));
    proofs::proven("ES-10 a change that makes stored events unreadable fails the tests");
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
