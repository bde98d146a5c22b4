//! `cargo run -p schemas` writes the contracts. It fails if events written under the committed schemas would become
//! unreadable, or if readers of published events would meet a shape that they were not promised. The option
//! `--forget StockItem` skips these checks for an aggregate whose events are stored and published nowhere yet.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use serde_json::Value;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            let _ = writeln!(io::stderr(), "schemas: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let skipped = skipped()?;
    let generated = schemas::generate()?;
    let stored = schemas::read(home).map_err(|error| error.to_string())?;
    for (folder, compare, text) in GATES {
        let problems = problems(folder, compare, &stored, &generated, &skipped)?;
        if !problems.is_empty() {
            return Err(format!("{text}:\n  {}", problems.join("\n  ")));
        }
    }
    let written = schemas::write(home, &generated).map_err(|error| error.to_string())?;
    let mut out = io::stdout();
    for name in &written {
        writeln!(out, "{name}").map_err(|error| error.to_string())?;
    }
    writeln!(out, "{} contracts, {} changed", generated.len(), written.len()).map_err(|error| error.to_string())
}

/// Aggregates named by `--forget`: their events may change incompatibly.
fn skipped() -> Result<Vec<String>, String> {
    let mut arguments = std::env::args().skip(1);
    let mut names = Vec::new();
    while let Some(argument) = arguments.next() {
        match (argument.as_str(), arguments.next()) {
            ("--forget", Some(name)) => names.push(name),
            _ => return Err("usage: schemas [--forget Aggregate]…".into()),
        }
    }
    Ok(names)
}

/// A folder of contracts, the comparison of an old with a new one, and what a difference means.
type Gate = (&'static str, fn(&Value, &Value) -> Vec<String>, &'static str);

const GATES: [Gate; 2] = [
    ("events/", schemas::incompatibilities, "stored events would become unreadable"),
    ("published/", schemas::broken_promises, "published events would break what their readers were promised"),
];

fn problems(
    folder: &str,
    compare: fn(&Value, &Value) -> Vec<String>,
    stored: &BTreeMap<String, String>,
    generated: &BTreeMap<String, String>,
    skipped: &[String],
) -> Result<Vec<String>, String> {
    let mut problems = Vec::new();
    for (path, old) in stored.iter().filter(|(path, _)| path.starts_with(folder)) {
        let name = path.rsplit('/').next().and_then(|name| name.strip_suffix(".json")).unwrap_or_default();
        if skipped.iter().any(|aggregate| aggregate == name) {
            continue;
        }
        let Some(new) = generated.get(path) else {
            problems.push(format!("{path}: this contract is gone, and its events exist"));
            continue;
        };
        let parse = |text: &str| serde_json::from_str(text).map_err(|error| format!("{path}: {error}"));
        let found = compare(&parse(old)?, &parse(new)?);
        problems.extend(found.into_iter().map(|problem| format!("{path}: {problem}")));
    }
    Ok(problems)
}
