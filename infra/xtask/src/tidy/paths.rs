//! Paths of source files that documents name.

use super::Rule;
use crate::workspace::Workspace;

pub(super) const PATHS: Rule = Rule {
    name: "document-paths",
    why: "a path in README, ARCHITECTURE, GLOSSARY or docs/ leads to a file or folder; ADRs are exempt, because they \
          describe the past",
    violations: dead_paths,
};

const DOCUMENTS: &[&str] = &["README.md", "ARCHITECTURE.md", "GLOSSARY.md"];
/// First parts of the paths that are checked.
const ROOTS: &[&str] = &["domain", "commands", "projections", "api", "replay", "infra", "schemas", "docs"];

fn dead_paths(workspace: &Workspace) -> Vec<String> {
    let is_document = |path: &str| {
        let is_page = path.starts_with("docs/") && path.ends_with(".md") && !path.starts_with("docs/adr/");
        DOCUMENTS.contains(&path) || is_page
    };
    let mut dead = vec![];
    for (document, text) in workspace.files.iter().filter(|(path, _)| is_document(path)) {
        for (number, line) in text.lines().enumerate() {
            // Every second part between backticks is inline code.
            let named = line.split('`').skip(1).step_by(2);
            let missing = named.filter(|path| is_path(path) && !exists(workspace, path));
            dead.extend(missing.map(|path| format!("{document}:{}: `{path}` does not exist", number + 1)));
        }
    }
    dead
}

/// A path from the root, or the name of a Rust file. Paths with a placeholder such as `<context>` are not checked, nor are
/// JSON files, which the workspace does not read.
fn is_path(code: &str) -> bool {
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || "/_.-".contains(letter);
    let is_plain = code.chars().all(is_letter) && !code.ends_with(".json");
    let first = code.split('/').next().unwrap_or_default();
    is_plain && ((code.contains('/') && ROOTS.contains(&first)) || (code.ends_with(".rs") && !code.contains('/')))
}

fn exists(workspace: &Workspace, path: &str) -> bool {
    let folder = format!("{}/", path.trim_end_matches('/'));
    let file_name = format!("/{path}");
    workspace.files.keys().any(|file| file == path || file.starts_with(&folder) || file.ends_with(&file_name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::workspace_of;

    #[test]
    fn a_path_that_leads_nowhere_is_found() {
        let page = "`infra/log/src/tail.rs`, `tail.rs`, `infra/log/`, `api/src/<context>.rs`, `application/json`\n\
                    `infra/log/src/gone.rs` and `gone.rs` and `infra/gone/`\n";
        let workspace =
            workspace_of(&[("ARCHITECTURE.md", page), ("docs/adr/1.md", "`gone.rs`"), ("infra/log/src/tail.rs", "")]);
        let expected = ["infra/log/src/gone.rs", "gone.rs", "infra/gone/"];
        assert_eq!(dead_paths(&workspace), expected.map(|path| format!("ARCHITECTURE.md:2: `{path}` does not exist")));
    }
}
