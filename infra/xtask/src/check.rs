//! The checks of CI: formatting, lints, tests, dependencies.

use std::{
    path::Path,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result};

use crate::{capabilities, deny, programs::cargo, workspace::Workspace};

const FMT: &[&str] = &["fmt", "--check"];
const CLIPPY: &[&str] = &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
/// One run reports all failing tests.
const TEST: &[&str] = &["test", "--workspace", "--no-fail-fast"];

const ADVISORIES_NOT_CHECKED: &str =
    "NOT CHECKED: the advisory database at github.com/RustSec cannot be fetched from here";

/// Result of one check, as shown in the summary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed,
    NotRun,
    NotChecked(&'static str),
}

impl Outcome {
    fn text(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "FAILED",
            Self::NotRun => "not run",
            Self::NotChecked(reason) => reason,
        }
    }
}

/// Runs all checks up to the first that fails, and prints a summary.
pub fn all() -> Result<ExitCode> {
    let mut summary = Summary::default();
    for arguments in [FMT, CLIPPY] {
        summary.add("cargo", arguments, || run(cargo(arguments)))?;
    }
    let record = capabilities::new_record()?;
    let mut tests = cargo(TEST);
    tests.env(proofs::RECORD, &record);
    summary.add("cargo", TEST, || run(tests))?;
    summary.add("proofs", &["executed"], || compare_proofs(&record))?;
    summary.add("cargo deny", deny::CHECKS, || run(deny::command(deny::CHECKS)?))?;
    summary.add("cargo deny", deny::ADVISORIES, || match deny::fetch_advisories()? {
        true => run(deny::command(deny::ADVISORIES)?),
        false => Ok(Outcome::NotChecked(ADVISORIES_NOT_CHECKED)),
    })?;
    print!("{}", summary.text());
    Ok(if summary.has_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Outcomes by check.
#[derive(Debug, Default)]
struct Summary(Vec<(String, Outcome)>);

impl Summary {
    /// Runs a check, unless an earlier one has failed.
    fn add(&mut self, program: &str, arguments: &[&str], check: impl FnOnce() -> Result<Outcome>) -> Result<()> {
        let name = format!("{program} {}", arguments.join(" "));
        let outcome = if self.has_failed() {
            Outcome::NotRun
        } else {
            println!("\n== {name}");
            check().with_context(|| format!("{name} cannot be run"))?
        };
        self.0.push((name, outcome));
        Ok(())
    }

    fn has_failed(&self) -> bool {
        self.0.iter().any(|(_, outcome)| *outcome == Outcome::Failed)
    }

    fn text(&self) -> String {
        let unchecked = self.0.iter().filter(|(_, outcome)| matches!(outcome, Outcome::NotChecked(_))).count();
        let result = match (self.has_failed(), unchecked) {
            (true, _) => "FAILED".to_owned(),
            (false, 0) => "passed".to_owned(),
            (false, unchecked) => format!("passed, but for {unchecked} that could not be checked here"),
        };
        let lines = self.0.iter().map(|(name, outcome)| format!("  {name:<60} {}\n", outcome.text()));
        format!("\ncargo xtask test: {result}\n{}", lines.collect::<String>())
    }
}

/// Compares the claims of `docs/capabilities.md` with the proofs that the tests have executed.
fn compare_proofs(record: &Path) -> Result<Outcome> {
    let differences = capabilities::differences(&Workspace::read()?, record)?;
    differences.iter().for_each(|difference| println!("{difference}"));
    Ok(if differences.is_empty() { Outcome::Passed } else { Outcome::Failed })
}

/// Runs a command with its output shown, so that cargo's own summary is seen.
fn run(mut command: Command) -> Result<Outcome> {
    let status = command.status().with_context(|| format!("{command:?} cannot be run"))?;
    Ok(if status.success() { Outcome::Passed } else { Outcome::Failed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_ends_the_run_and_is_named_in_the_summary() -> Result<()> {
        let mut summary = Summary::default();
        summary.add("cargo", &["fmt"], || Ok(Outcome::Failed))?;
        summary.add("cargo", &["test"], || Ok(Outcome::Passed))?;
        assert!(summary.has_failed());
        let text = summary.text();
        assert!(text.contains("cargo xtask test: FAILED") && text.contains("not run"), "{text}");
        Ok(())
    }

    #[test]
    fn advisories_that_cannot_be_fetched_are_no_failure_and_are_named_in_the_summary() -> Result<()> {
        let mut summary = Summary::default();
        summary.add("cargo deny", deny::ADVISORIES, || Ok(Outcome::NotChecked(ADVISORIES_NOT_CHECKED)))?;
        assert!(!summary.has_failed());
        assert!(summary.text().contains("but for 1 that could not be checked"), "{}", summary.text());
        assert!(summary.text().contains("NOT CHECKED: the advisory database"), "{}", summary.text());
        Ok(())
    }
}
