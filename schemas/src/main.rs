//! `cargo run -p schemas` writes the contracts. It refuses to forget how to read a stored event, unless it is told
//! which aggregate's events are stored nowhere yet: `cargo run -p schemas -- --forget StockItem`.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            let _ = writeln!(io::stderr(), "schemas: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let forgotten = forgotten()?;
    let generated = schemas::generate()?;
    let stored = schemas::read(home).map_err(|error| error.to_string())?;
    let flaws = unreadable(&stored, &generated, &forgotten)?;
    if !flaws.is_empty() {
        return Err(format!("stored events would become unreadable:\n  {}", flaws.join("\n  ")));
    }
    let touched = schemas::write(home, &generated).map_err(|error| error.to_string())?;
    let mut out = io::stdout();
    for name in &touched {
        writeln!(out, "{name}").map_err(|error| error.to_string())?;
    }
    writeln!(out, "{} contracts, {} changed", generated.len(), touched.len()).map_err(|error| error.to_string())
}

/// The aggregates whose events may change as they like.
fn forgotten() -> Result<Vec<String>, String> {
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
    forgotten: &[String],
) -> Result<Vec<String>, String> {
    let mut flaws = Vec::new();
    for (path, old) in stored.iter().filter(|(path, _)| path.starts_with("events/")) {
        let name = path.rsplit('/').next().and_then(|name| name.strip_suffix(".json")).unwrap_or_default();
        if forgotten.iter().any(|forgotten| forgotten == name) {
            continue;
        }
        let Some(new) = generated.get(path) else {
            flaws.push(format!("{path}: its events are stored and it is no aggregate any more"));
            continue;
        };
        let parse = |text: &str| serde_json::from_str(text).map_err(|error| format!("{path}: {error}"));
        flaws.extend(schemas::flaws(&parse(old)?, &parse(new)?).into_iter().map(|flaw| format!("{path}: {flaw}")));
    }
    Ok(flaws)
}
