//! Map of the crates in ARCHITECTURE.md, generated from the manifests.

use std::fs;

use anyhow::{Context, Result};

use super::{
    Rule,
    layers::{ALLOWED, is_ours},
};
use crate::workspace::{self, Crate, Workspace};

pub(super) const CRATE_MAP: Rule = Rule {
    name: "crate-map",
    why: "the table of crates in ARCHITECTURE.md equals the manifests; `cargo xtask gen` writes it",
    violations: stale_map,
};

const PAGE: &str = "ARCHITECTURE.md";
const BEGIN: &str = "<!-- crates: begin -->";
const END: &str = "<!-- crates: end -->";

/// Writes the map between its markers.
pub fn write(workspace: &Workspace) -> Result<()> {
    let page = workspace.files.get(PAGE).with_context(|| format!("{PAGE} is missing"))?;
    let (before, _, after) = split(page)
        .with_context(|| format!("{PAGE} has no lines `{BEGIN}` and `{END}`, between which the map belongs"))?;
    fs::write(workspace::root().join(PAGE), format!("{before}{}{after}", map(workspace)))?;
    println!("wrote the map of the crates in {PAGE}");
    Ok(())
}

fn stale_map(workspace: &Workspace) -> Vec<String> {
    let expected = map(workspace);
    let found = workspace.files.get(PAGE).and_then(|page| split(page)).map(|(_, map, _)| map);
    if found == Some(expected.as_str()) {
        return vec![];
    }
    vec![format!("between `{BEGIN}` and `{END}`, {PAGE} should have{expected}")]
}

/// Text before the map, the map, and text after it. The markers belong to the outer parts.
fn split(page: &str) -> Option<(&str, &str, &str)> {
    let begin = page.find(BEGIN)? + BEGIN.len();
    let end = begin + page[begin..].find(END)?;
    Some((&page[..begin], &page[begin..end], &page[end..]))
}

/// The map: one row per crate, from the lowest layer to the highest.
fn map(workspace: &Workspace) -> String {
    let layer = |name: &str| ALLOWED.iter().position(|(ours, _)| *ours == name);
    let mut crates: Vec<&Crate> = workspace.crates.iter().collect();
    crates.sort_by_key(|found| (layer(&found.name).unwrap_or(usize::MAX), &found.name));
    let rows = crates.into_iter().map(|Crate { name, description, uses }| {
        let mut uses: Vec<&str> = uses.iter().map(String::as_str).filter(|used| is_ours(used)).collect();
        uses.sort_by_key(|used| layer(used));
        let uses: Vec<String> = uses.into_iter().map(|used| format!("`{used}`")).collect();
        format!("| `{name}` | {description} | {} |\n", uses.join(", "))
    });
    format!("\n\n| crate | subject | uses |\n|---|---|---|\n{}\n", rows.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::crate_of;

    fn workspace(page: &str) -> Workspace {
        let crates = vec![crate_of("views", &["vault", "sqlx", "domain"]), crate_of("domain", &[])];
        Workspace::new([(PAGE.to_owned(), page.to_owned())].into(), crates)
    }

    #[test]
    fn the_map_lists_crates_by_layer_with_their_subjects_and_edges() {
        let expected = "\n\n| crate | subject | uses |\n|---|---|---|\n| `domain` | Subject of domain. |  |\n\
                        | `views` | Subject of views. | `domain`, `vault` |\n\n";
        assert_eq!(map(&workspace("")), expected);
    }

    #[test]
    fn a_map_that_differs_or_is_missing_is_reported_with_the_expected_text() {
        let page = format!("# Map\n{BEGIN}{}{END}\nMore.\n", map(&workspace("")));
        assert!(stale_map(&workspace(&page)).is_empty());
        for page in [page.replace("`vault`", "`edge`"), "# Map\n".to_owned()] {
            let violations = stale_map(&workspace(&page));
            assert!(violations[0].contains("| `views` | Subject of views. | `domain`, `vault` |"), "{violations:?}");
        }
    }
}
