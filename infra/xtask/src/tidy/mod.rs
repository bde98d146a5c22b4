//! Rules of the workspace that the compiler does not check.

mod circles;
mod contexts;
mod crate_map;
mod documents;
mod layers;
mod lists;
mod names;
mod paths;
mod product;
mod prose;
mod sizes;
mod types;

use std::process::ExitCode;

use anyhow::Result;
pub use crate_map::write as write_crate_map;

use crate::workspace::Workspace;

/// One rule.
#[derive(Debug)]
pub struct Rule {
    pub name: &'static str,
    /// Reason for the rule, printed with its violations.
    pub why: &'static str,
    pub violations: fn(&Workspace) -> Vec<String>,
}

pub const RULES: &[Rule] = &[
    layers::EDGES,
    layers::EXTERNAL_CRATES,
    product::GRAPH,
    circles::CIRCLES,
    contexts::ISOLATION,
    lists::COMPLETE,
    lists::VISITED,
    sizes::FUNCTIONS,
    sizes::FILES,
    names::FILE_NAMES,
    names::GERUNDS,
    names::UNFINISHED,
    types::DUPLICATES,
    prose::DOC_COMMENTS,
    prose::DOCUMENTS,
    paths::PATHS,
    documents::ARCHITECTURE,
    documents::KNOWN_CAPABILITIES,
    documents::CAPABILITIES_PAGE,
    crate_map::CRATE_MAP,
];

/// Prints all violations with the reasons of their rules.
pub fn report(workspace: &Workspace) -> Result<ExitCode> {
    let failures: Vec<String> = RULES.iter().filter_map(|rule| rule.failure(workspace)).collect();
    if failures.is_empty() {
        println!("tidy: all {} rules hold", RULES.len());
        return Ok(ExitCode::SUCCESS);
    }
    println!("{}", failures.join("\n\n"));
    Ok(ExitCode::FAILURE)
}

impl Rule {
    /// Violations of this rule as text; `None` if there are none.
    pub fn failure(&self, workspace: &Workspace) -> Option<String> {
        let violations = (self.violations)(workspace);
        (!violations.is_empty()).then(|| format!("{}: {}\n  - {}", self.name, self.why, violations.join("\n  - ")))
    }
}

/// A workspace of a few files, for tests of the rules.
#[cfg(test)]
pub(crate) fn workspace_of(files: &[(&str, &str)]) -> Workspace {
    let files = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
    Workspace::new(files, vec![])
}

/// A crate that uses others, for tests of the rules.
#[cfg(test)]
pub(crate) fn crate_of(name: &str, uses: &[&str]) -> crate::workspace::Crate {
    let uses = uses.iter().map(|used| (*used).to_owned()).collect();
    crate::workspace::Crate { name: name.to_owned(), description: format!("Subject of {name}."), uses }
}
