//! The rules of the house that no compiler knows.

mod contexts;
mod floors;
mod lists;
mod papers;
mod sizes;
mod words;

use std::process::ExitCode;

use anyhow::Result;

use crate::house::House;

/// One rule. `why` is the sentence that a failure shows.
#[derive(Debug)]
pub struct Rule {
    pub name: &'static str,
    pub why: &'static str,
    pub broken: fn(&House) -> Vec<String>,
}

pub const RULES: &[Rule] = &[
    floors::EDGES,
    floors::OUTSIDE_CRATES,
    contexts::ISOLATION,
    lists::COMPLETE,
    lists::VISITED,
    sizes::FUNCTIONS,
    sizes::FILES,
    words::FILE_NAMES,
    words::UNFINISHED,
    papers::ARCHITECTURE,
    papers::KNOWN_CAPABILITIES,
    papers::CAPABILITIES_PAGE,
];

/// Prints what is broken and why it matters.
pub fn report(house: &House) -> Result<ExitCode> {
    let failures: Vec<String> = RULES.iter().filter_map(|rule| rule.failure(house)).collect();
    if failures.is_empty() {
        println!("tidy: all {} rules hold", RULES.len());
        return Ok(ExitCode::SUCCESS);
    }
    println!("{}", failures.join("\n\n"));
    Ok(ExitCode::FAILURE)
}

impl Rule {
    /// What breaks this rule, as text for people.
    pub fn failure(&self, house: &House) -> Option<String> {
        let broken = (self.broken)(house);
        (!broken.is_empty()).then(|| format!("{}: {}\n  - {}", self.name, self.why, broken.join("\n  - ")))
    }
}

/// A house made of a few files, for the tests of the rules.
#[cfg(test)]
fn house_of(files: &[(&str, &str)]) -> House {
    let files = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
    House { files, ..House::default() }
}
