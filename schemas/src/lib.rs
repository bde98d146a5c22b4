//! The published contracts, generated from the catalogues, and the rule that stored events stay readable.
//!
//! **Here:** JSON Schemas, GraphQL's schema, OpenAPI, AsyncAPI, all written by `cargo xtask gen` and committed.
//! **Never here:** anything written by hand. **To add one:** nothing; add the command, event or read model.

mod asyncapi;
mod compatibility;
mod contracts;
mod stored;

use std::collections::BTreeMap;

use serde_json::Value;

pub use compatibility::flaws;
pub use stored::{differences, read, write};

/// Every contract: its path below `schemas/` and its text.
///
/// Fails only where the catalogues do not fit together, which tests of the API rule out.
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

/// The same bytes on every machine: members sorted, two blanks, one line break at the end.
fn pretty(value: &Value) -> String {
    format!("{:#}\n", sorted(value))
}

/// Whatever order the members were made in.
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
