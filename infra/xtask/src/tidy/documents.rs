//! Documents that have to agree with the code.

use super::Rule;
use crate::{capabilities, rust_source::words, workspace::Workspace};

pub(super) const ARCHITECTURE: Rule = Rule {
    name: "architecture",
    why: "ARCHITECTURE.md is the map for newcomers; a context that it does not mention cannot be found",
    violations: unmentioned_contexts,
};

pub(super) const KNOWN_CAPABILITIES: Rule = Rule {
    name: "known-capabilities",
    why: "a step of a scenario or a test proves a named clause of a listed capability; ids are neither invented nor \
          renamed",
    violations: capabilities::unknown,
};

pub(super) const CAPABILITIES_PAGE: Rule = Rule {
    name: "capabilities-page",
    why: "docs/capabilities.md is generated from the claims of steps and tests, so that it has proven claims only; \
          `cargo xtask gen` writes it",
    violations: stale_page,
};

fn unmentioned_contexts(workspace: &Workspace) -> Vec<String> {
    let Some(map) = workspace.files.get("ARCHITECTURE.md") else {
        return vec!["ARCHITECTURE.md is missing".to_owned()];
    };
    let missing = workspace.contexts().into_iter().filter(|context| !words(map).any(|(_, word)| word == *context));
    missing.map(|context| format!("ARCHITECTURE.md does not mention `{context}`")).collect()
}

fn stale_page(workspace: &Workspace) -> Vec<String> {
    match workspace.files.get(capabilities::PAGE) {
        Some(page) if *page == capabilities::page(workspace) => vec![],
        _ => vec![format!("{} differs from the claims", capabilities::PAGE)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::workspace_of;

    #[test]
    fn a_context_that_is_not_mentioned_is_found() {
        let workspace = workspace_of(&[
            ("ARCHITECTURE.md", "Here is `orders`."),
            ("domain/src/orders/mod.rs", ""),
            ("domain/src/loyalty/mod.rs", ""),
        ]);
        assert_eq!(unmentioned_contexts(&workspace), ["ARCHITECTURE.md does not mention `loyalty`"]);
    }

    #[test]
    fn a_page_that_was_edited_by_hand_is_found() {
        let workspace = workspace_of(&[("docs/capability-ids.txt", "INV-01\n")]);
        let page = capabilities::page(&workspace);
        let with =
            |page: &str| workspace_of(&[("docs/capability-ids.txt", "INV-01\n"), ("docs/capabilities.md", page)]);
        assert!(stale_page(&with(&page)).is_empty());
        assert_eq!(stale_page(&with(&page.replace("0 of 1", "1 of 1"))).len(), 1);
    }
}
