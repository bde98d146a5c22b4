//! Laws that hold for every aggregate of the house, and fossils: one sample of every stored event of every version.
//!
//! A fossil is `fossils/<aggregate>/<event name>.v<version>.json`. It is never changed or deleted, because such events
//! are in somebody's log; a new version of an event gets a new file.
//!
//! proves: ES-10

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use domain::kernel::{Aggregate, Visitor, encode};
use serde_json::Value;

#[test]
fn every_aggregate_type_has_one_name() {
    let mut names = BTreeSet::new();
    for kind in kinds() {
        assert!(names.insert(kind.name), "two aggregates are called {}", kind.name);
    }
}

#[test]
fn every_event_name_is_dotted_and_belongs_to_one_aggregate() {
    let mut owners = BTreeMap::new();
    for kind in kinds() {
        for event in kind.events.keys() {
            let words: Vec<_> = event.split('.').collect();
            let plain = |word: &&str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            assert!(words.len() == 2 && words.iter().all(plain), "`{event}` is no event name");
            if let Some(other) = owners.insert(event.clone(), kind.name) {
                panic!("`{event}` belongs to {other} and to {}", kind.name);
            }
        }
    }
}

#[test]
fn every_event_says_what_it_means() {
    for kind in kinds() {
        for (event, schema) in &kind.events {
            assert!(schema["description"].is_string(), "`{event}` has no doc comment");
        }
    }
}

#[test]
fn a_new_stream_survives_its_snapshot() {
    for kind in kinds() {
        (kind.snapshot)();
    }
}

#[test]
fn every_event_ever_stored_still_reads() {
    for kind in kinds() {
        for Fossil { name, version, path } in kind.fossils() {
            let payload = fs::read_to_string(&path).expect("a fossil is a file");
            let read = (kind.read)(&name, version, &payload);
            let again = read.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            // What today's code would not write so was never written so, or belongs to an earlier version.
            let exact = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
            if version == kind.version {
                assert_eq!(exact(&again), exact(&payload), "{}: this is not what is stored", path.display());
            }
        }
    }
}

#[test]
fn every_event_has_a_fossil() {
    for kind in kinds() {
        let kept: BTreeSet<_> = kind.fossils().into_iter().map(|fossil| (fossil.name, fossil.version)).collect();
        for event in kind.events.keys() {
            let version = kind.version;
            assert!(
                kept.contains(&(event.clone(), version)),
                "no fossil {event}.v{version}.json in {:?}",
                kind.folder()
            );
        }
    }
}

/// What the laws need to know about one aggregate.
struct Kind {
    name: &'static str,
    version: i16,
    /// The schema of every event, by its name.
    events: BTreeMap<String, Value>,
    /// A stored event, read and written again.
    read: fn(&str, i16, &str) -> Result<String, String>,
    snapshot: fn(),
}

struct Fossil {
    name: String,
    version: i16,
    path: PathBuf,
}

fn kinds() -> Vec<Kind> {
    struct Kinds(Vec<Kind>);
    impl Visitor for Kinds {
        fn aggregate<A: Aggregate>(&mut self) {
            self.0.push(Kind {
                name: A::TYPE,
                version: A::EVENT_VERSION,
                events: event_schemas::<A>(),
                read: |name, version, payload| {
                    let event = A::read(name, version, payload).map_err(|error| error.to_string())?;
                    encode(&event).map(|named| named.body).map_err(|error| error.to_string())
                },
                snapshot: survives_its_snapshot::<A>,
            });
        }
    }
    let mut kinds = Kinds(vec![]);
    domain::visit(&mut kinds);
    kinds.0
}

/// Serde tags externally: every variant is an object with one property, the event's name.
fn event_schemas<A: Aggregate>() -> BTreeMap<String, Value> {
    let schema = schemars::schema_for!(A::Event).to_value();
    let variants = schema["oneOf"].as_array().expect("an event is an enum").clone();
    let name = |variant: &Value| variant["required"][0].as_str().expect("a variant has fields").to_owned();
    variants.into_iter().map(|variant| (name(&variant), variant)).collect()
}

fn survives_its_snapshot<A: Aggregate>() {
    let state = A::default();
    let stored = serde_json::to_string(&state).expect("a state is JSON");
    let restored: A = serde_json::from_str(&stored).expect("a snapshot reads");
    assert_eq!(format!("{restored:?}"), format!("{state:?}"));
}

impl Kind {
    /// `StockItem` keeps its fossils in `stock_item`.
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
        let (name, version) = parts.unwrap_or_else(|| panic!("{file} is not called <event name>.v<version>.json"));
        let version = version.parse().unwrap_or_else(|_| panic!("{file} has no version"));
        Self { name: name.into(), version, path }
    }
}
