//! Published contracts, generated from the catalogues of aggregates, commands and read models, and the checks that
//! stored events stay readable and that published ones keep what was promised.
//!
//! **Here:** JSON Schemas, the GraphQL schema, OpenAPI and AsyncAPI, all written by `cargo xtask gen` and committed.
//! **Never here:** contracts written by hand. **To add one:** add the command, event or read model, then run
//! `cargo xtask gen`.

mod asyncapi;
mod compatibility;
mod contracts;
mod published;
mod published_compatibility;
mod stored;

use std::collections::BTreeMap;

use serde_json::Value;

pub use compatibility::incompatibilities;
pub use published_compatibility::broken_promises;
pub use stored::{differences, read, write};

/// Generates all contracts: text by path below `schemas/`.
///
/// Fails only if the catalogues are inconsistent, which the tests of the API rule out.
pub fn generate() -> Result<BTreeMap<String, String>, String> {
    let mut files = BTreeMap::new();
    for (path, contract) in contracts::all() {
        files.insert(path, pretty(&contract));
    }
    files.insert("asyncapi.json".into(), pretty(&asyncapi::document()));
    files.insert("openapi.json".into(), pretty(&api::openapi::document(&commands::kernel::Commands::all())));
    files.insert("graphql/schema.graphql".into(), api::graphql::sdl().map_err(|error| error.to_string())?);
    Ok(files)
}

/// Formats JSON deterministically: sorted members, indent of two spaces, one final line break.
fn pretty(value: &Value) -> String {
    format!("{:#}\n", sorted(value))
}

/// Sorts object members by name, recursively.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let members: BTreeMap<_, _> = members.iter().collect();
            members.into_iter().map(|(name, value)| (name.clone(), sorted(value))).collect()
        }
        Value::Array(values) => values.iter().map(sorted).collect(),
        leaf => leaf.clone(),
    }
}
