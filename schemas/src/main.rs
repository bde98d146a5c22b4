//! `cargo run -p schemas` writes the contracts. It fails if events written under the committed schemas would become
//! unreadable. The option `--forget StockItem` skips this check for an aggregate whose events are stored nowhere yet.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

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
    let problems = unreadable(&stored, &generated, &skipped)?;
    if !problems.is_empty() {
        return Err(format!("stored events would become unreadable:\n  {}", problems.join("\n  ")));
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

fn unreadable(
    stored: &BTreeMap<String, String>,
    generated: &BTreeMap<String, String>,
    skipped: &[String],
) -> Result<Vec<String>, String> {
    let mut problems = Vec::new();
    for (path, old) in stored.iter().filter(|(path, _)| path.starts_with("events/")) {
        let name = path.rsplit('/').next().and_then(|name| name.strip_suffix(".json")).unwrap_or_default();
        if skipped.iter().any(|aggregate| aggregate == name) {
            continue;
        }
        let Some(new) = generated.get(path) else {
            problems.push(format!("{path}: events of this aggregate are stored and the aggregate is gone"));
            continue;
        };
        let parse = |text: &str| serde_json::from_str(text).map_err(|error| format!("{path}: {error}"));
        let found = schemas::incompatibilities(&parse(old)?, &parse(new)?);
        problems.extend(found.into_iter().map(|problem| format!("{path}: {problem}")));
    }
    Ok(problems)
}
