//! Names of files, and marks of unfinished work.

use std::path::Path;

use super::Rule;
use crate::{rust_source::words, workspace::Workspace};

pub(super) const FILE_NAMES: Rule = Rule {
    name: "file-names",
    why: "a file is named after the thing in it; these names fit any content and attract it",
    violations: empty_names,
};

pub(super) const GERUNDS: Rule = Rule {
    name: "gerunds",
    why: "a file is named by a noun for the thing in it (`dispatcher.rs`, `retry.rs`) and not by a gerund",
    violations: gerunds,
};

pub(super) const UNFINISHED: Rule = Rule {
    name: "unfinished",
    why: "code on main is finished; remaining work is filed as an issue",
    violations: unfinished,
};

const EMPTY: &[&str] = &["util", "utils", "helper", "helpers", "common", "manager", "service", "dto", "misc", "impl"];

/// Words that end like a gerund and are nouns, or adjectives of a noun.
const NOUNS: &[&str] = &[
    "billing",
    "earning",
    "forwarding",
    "incoming",
    "missing",
    "outgoing",
    "pricing",
    "rating",
    "ring",
    "string",
    "testing",
];

/// Written in two halves, so that this file does not break its own rule.
const LATER: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
/// ISO 4217's code for "no currency", which is not a mark.
const NO_CURRENCY: &str = concat!("\"XX", "X\"");
const LATER_MACRO: &str = concat!("to", "do!");

fn empty_names(workspace: &Workspace) -> Vec<String> {
    let is_empty = |part: &str| part.split(['_', '-', '.']).any(|word| EMPTY.contains(&word));
    let found = workspace.rust().filter(|(path, _)| path.split('/').any(is_empty));
    found.map(|(path, _)| path.to_owned()).collect()
}

fn gerunds(workspace: &Workspace) -> Vec<String> {
    let is_gerund = |word: &str| word.ends_with("ing") && !NOUNS.contains(&word);
    let named_by_one = |path: &str| {
        let path = Path::new(path.strip_suffix("/mod.rs").unwrap_or(path));
        path.file_stem().is_some_and(|stem| stem.to_string_lossy().split('_').any(is_gerund))
    };
    workspace.rust().map(|(path, _)| path).filter(|path| named_by_one(path)).map(str::to_owned).collect()
}

fn unfinished(workspace: &Workspace) -> Vec<String> {
    let mut violations = vec![];
    for (path, text) in &workspace.files {
        for (number, line) in text.lines().enumerate() {
            if line.contains(LATER_MACRO)
                || words(&line.replace(NO_CURRENCY, "")).any(|(_, word)| LATER.contains(&word))
            {
                violations.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::workspace_of;

    #[test]
    fn empty_names_are_found_in_every_part_of_a_path() {
        let workspace = workspace_of(&[
            ("api/src/order_service.rs", ""),
            ("api/src/common/mod.rs", ""),
            ("api/src/commons.rs", ""),
            ("docs/service.md", ""),
        ]);
        assert_eq!(empty_names(&workspace), ["api/src/common/mod.rs", "api/src/order_service.rs"]);
    }

    #[test]
    fn gerunds_are_found_in_names_of_files_and_modules_and_nouns_are_allowed() {
        let workspace = workspace_of(&[
            ("infra/work/src/carrying_out.rs", ""),
            ("infra/work/src/waiting/mod.rs", ""),
            ("infra/work/src/waiting/queue.rs", ""),
            ("domain/src/pricing.rs", ""),
            ("domain/src/loyalty/earning.rs", ""),
            ("docs/running.md", ""),
        ]);
        assert_eq!(gerunds(&workspace), ["infra/work/src/carrying_out.rs", "infra/work/src/waiting/mod.rs"]);
    }

    #[test]
    fn marks_of_unfinished_work_are_found() {
        let text = format!("fine\n// {}: later\n{}()\n", LATER[0], LATER_MACRO);
        assert_eq!(unfinished(&workspace_of(&[("a.rs", &text)])).len(), 2);
        assert!(unfinished(&workspace_of(&[("a.rs", "TODOS is a list, and a mastodon is an animal")])).is_empty());
    }
}
