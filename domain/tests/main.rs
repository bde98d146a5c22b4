//! Tests of every aggregate, and fossils: one stored sample of every version of every event.
//!
//! A fossil is `fossils/<aggregate>/<event name>.v<version>.json`. It is never changed or deleted, because such events
//! may be in the log of an installation; a new version of an event gets a new file.

use std::any::type_name;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use domain::kernel::{Aggregate, Visitor, encode};
use serde_json::Value;

#[test]
fn names_of_aggregates_are_unique() {
    let mut names = BTreeSet::new();
    for aggregate in descriptors() {
        assert!(names.insert(aggregate.name), "two aggregates have the name {}", aggregate.name);
    }
}

#[test]
fn every_event_name_is_dotted_and_belongs_to_one_aggregate() {
    let mut owners = BTreeMap::new();
    for aggregate in descriptors() {
        for event in aggregate.events.keys() {
            let words: Vec<_> = event.split('.').collect();
            let is_word = |word: &&str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            assert!(words.len() == 2 && words.iter().all(is_word), "`{event}` is not a dotted lower-case event name");
            if let Some(other) = owners.insert(event.clone(), aggregate.name) {
                panic!("`{event}` belongs to {other} and to {}", aggregate.name);
            }
        }
    }
}

#[test]
fn every_event_has_a_doc_comment() {
    for aggregate in descriptors() {
        for (event, schema) in &aggregate.events {
            assert!(schema["description"].is_string(), "`{event}` has no doc comment");
        }
    }
}

#[test]
fn empty_state_survives_its_snapshot() {
    for aggregate in descriptors() {
        (aggregate.snapshot)();
    }
}

#[test]
fn every_rejection_of_every_aggregate_is_expected_by_a_test() {
    let domain = Path::new(env!("CARGO_MANIFEST_DIR"));
    // A rejection that only a command raises is expected by a test of the commands.
    let code = test_code(&domain.join("src")) + &test_code(&domain.join("../commands/tests"));
    let mut missing = vec![];
    for aggregate in descriptors() {
        let expected = |rejection: &String| {
            let variant = format!("{}::{} ", aggregate.rejection_type, variant_of(rejection));
            code.contains(&variant) || code.contains(&format!("\"{rejection}\""))
        };
        let untested = aggregate.rejections.iter().filter(|rejection| !expected(rejection));
        missing.extend(untested.map(|rejection| format!("{} {rejection}", aggregate.name)));
    }
    assert!(missing.is_empty(), "rejections that no test of the domain expects: {missing:?}");
    proofs::proven("ES-02 each rejection of each aggregate is expected, without an event, by a test of the domain");
}

#[test]
fn every_fossil_decodes() {
    for aggregate in descriptors() {
        for Fossil { name, version, path } in aggregate.fossils() {
            let payload = fs::read_to_string(&path).expect("a fossil is a file");
            let read = (aggregate.read)(&name, version, &payload);
            let again = read.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            // A fossil of the current version must be exactly what the current code writes.
            let json = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
            if version == (aggregate.version)(&name) {
                assert_eq!(
                    json(&again),
                    json(&payload),
                    "{}: the current code writes this event differently",
                    path.display()
                );
            }
        }
    }
    proofs::proven("ES-10 a stored sample of every version of every event still loads");
}

#[test]
fn every_version_of_every_event_has_a_fossil() {
    for aggregate in descriptors() {
        let fossils: BTreeSet<_> =
            aggregate.fossils().into_iter().map(|fossil| (fossil.name, fossil.version)).collect();
        for event in aggregate.events.keys() {
            for version in 1..=(aggregate.version)(event) {
                assert!(
                    fossils.contains(&(event.clone(), version)),
                    "add the fossil {event}.v{version}.json in {:?}",
                    aggregate.folder()
                );
            }
        }
    }
}

/// Data and functions of one aggregate type that the tests need.
struct Descriptor {
    name: &'static str,
    /// Current version of an event of this name.
    version: fn(&str) -> i16,
    /// JSON Schema of every event, by name.
    events: BTreeMap<String, Value>,
    /// Name of the Rust type of the rejections.
    rejection_type: &'static str,
    /// Codes of the rejections.
    rejections: BTreeSet<String>,
    /// Decodes a stored event and encodes it again.
    read: fn(&str, i16, &str) -> Result<String, String>,
    snapshot: fn(),
}

struct Fossil {
    name: String,
    version: i16,
    path: PathBuf,
}

fn descriptors() -> Vec<Descriptor> {
    struct Descriptors(Vec<Descriptor>);
    impl Visitor for Descriptors {
        fn aggregate<A: Aggregate>(&mut self) {
            self.0.push(Descriptor {
                name: A::TYPE,
                version: A::event_version,
                events: event_schemas::<A>(),
                rejection_type: type_name::<A::Rejection>().rsplit("::").next().unwrap_or_default(),
                rejections: rejection_codes::<A>(),
                read: |name, version, payload| {
                    let event = A::read(name, version, payload).map_err(|error| error.to_string())?;
                    encode(&event).map(|encoded| encoded.body).map_err(|error| error.to_string())
                },
                snapshot: survives_its_snapshot::<A>,
            });
        }
    }
    let mut descriptors = Descriptors(vec![]);
    domain::visit(&mut descriptors);
    descriptors.0
}

/// Serde tags externally: every variant is an object with one property, the event's name.
fn event_schemas<A: Aggregate>() -> BTreeMap<String, Value> {
    let schema = schemars::schema_for!(A::Event).to_value();
    let variants = schema["oneOf"].as_array().expect("an event is an enum").clone();
    let name = |variant: &Value| variant["required"][0].as_str().expect("a variant has fields").to_owned();
    variants.into_iter().map(|variant| (name(&variant), variant)).collect()
}

fn rejection_codes<A: Aggregate>() -> BTreeSet<String> {
    let schema = schemars::schema_for!(A::Rejection).to_value();
    let variants = schema["oneOf"].as_array().into_iter().flatten();
    variants.map(|variant| variant["required"][0].as_str().expect("a rejection has fields").to_owned()).collect()
}

/// Test code of the domain, with the names of all rejections that it expects.
fn test_code(folder: &Path) -> String {
    let mut code = String::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("a file").path();
        let name = path.to_string_lossy().into_owned();
        if path.is_dir() {
            code.push_str(&test_code(&path));
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(&path).expect("a source file");
            let tests = if name.ends_with("_tests.rs") || name.contains("/tests/") {
                Some(&*text)
            } else {
                text.split_once("#[cfg(test)]").map(|(_, tests)| tests)
            };
            code.push_str(tests.unwrap_or_default());
        }
    }
    code
}

/// `TooManyReservations` for `TOO_MANY_RESERVATIONS`.
fn variant_of(code: &str) -> String {
    let word = |word: &str| word[..1].to_owned() + &word[1..].to_lowercase();
    code.split('_').map(word).collect()
}

fn survives_its_snapshot<A: Aggregate>() {
    let state = A::default();
    let stored = serde_json::to_string(&state).expect("a state is JSON");
    let restored: A = serde_json::from_str(&stored).expect("a snapshot decodes");
    assert_eq!(format!("{restored:?}"), format!("{state:?}"));
}

impl Descriptor {
    /// Folder of the fossils: `stock_item` for `StockItem`.
    fn folder(&self) -> PathBuf {
        let mut folder = String::new();
        for letter in self.name.chars() {
            if letter.is_ascii_uppercase() && !folder.is_empty() {
                folder.push('_');
            }
            folder.push(letter.to_ascii_lowercase());
        }
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fossils").join(folder)
    }

    fn fossils(&self) -> Vec<Fossil> {
        let Ok(files) = fs::read_dir(self.folder()) else { return vec![] };
        files.map(|file| Fossil::at(file.expect("a file").path())).collect()
    }
}

impl Fossil {
    fn at(path: PathBuf) -> Self {
        let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let parts = file.strip_suffix(".json").and_then(|stem| stem.rsplit_once(".v"));
        let (name, version) = parts.unwrap_or_else(|| panic!("{file} must be named <event name>.v<version>.json"));
        let version = version.parse().unwrap_or_else(|_| panic!("{file} must have a version number"));
        Self { name: name.into(), version, path }
    }
}
