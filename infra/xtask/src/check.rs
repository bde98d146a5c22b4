//! What CI runs, and nothing else.

use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::programs::{answers, cargo};

const FMT: &[&str] = &["fmt", "--check"];
const CLIPPY: &[&str] = &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
/// One run tells everything that fails.
const TEST: &[&str] = &["test", "--workspace", "--no-fail-fast"];
const DENY: &[&str] = &["deny", "check"];

/// Runs every check up to the first that fails, and closes with a summary.
pub fn everything() -> Result<ExitCode> {
    let mut summary = vec![];
    let mut passing = true;
    for arguments in [FMT, CLIPPY, TEST, DENY] {
        let outcome = match arguments {
            _ if !passing => "not run",
            DENY if !answers(cargo(&["deny", "--version"])) => {
                "skipped: `cargo install --locked cargo-deny` would install it"
            }
            _ => {
                passing = run(cargo(arguments), arguments)?;
                if passing { "passed" } else { "FAILED" }
            }
        };
        summary.push((format!("cargo {}", arguments.join(" ")), outcome));
    }
    println!("\ncargo xtask test: {}", if passing { "everything that ran passed" } else { "something FAILED" });
    for (what, outcome) in summary {
        println!("  {what:<60} {outcome}");
    }
    Ok(if passing { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Output goes straight through, so that cargo's own closing lines are seen.
fn run(mut command: Command, arguments: &[&str]) -> Result<bool> {
    println!("\n== cargo {}", arguments.join(" "));
    Ok(command.status()?.success())
}
