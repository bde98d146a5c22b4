//! External crates that must not be linked into the product.

use std::collections::{BTreeMap, BTreeSet};

use super::{Rule, layers::PRODUCT};
use crate::workspace::Workspace;

pub(super) const GRAPH: Rule = Rule {
    name: "product",
    why: "tables, progress bars and the stores for comparison belong to the lab and not to the product; Cargo.lock is \
          searched from the normal dependencies of `cartulary`",
    violations: unwanted,
};

const UNWANTED: &[&str] = &["comfy-table", "indicatif", "cqrs-es", "postgres-es"];

/// Dependencies of each package of Cargo.lock. Several versions of a package are merged.
type Lock<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

fn unwanted(workspace: &Workspace) -> Vec<String> {
    let lock = workspace.files.get("Cargo.lock").map(|text| read_lock(text)).unwrap_or_default();
    let mut used_by: BTreeMap<&str, &str> = BTreeMap::new();
    let mut open = vec![PRODUCT];
    while let Some(name) = open.pop() {
        // Cargo.lock does not separate dev-dependencies of our own crates, so those are taken from the manifests.
        let ours = workspace.crates.iter().find(|ours| ours.name == name);
        let uses: Vec<&str> = match ours {
            Some(ours) => ours.uses.iter().map(String::as_str).collect(),
            None => lock.get(name).into_iter().flatten().copied().collect(),
        };
        for used in uses {
            if used != PRODUCT && !used_by.contains_key(used) {
                used_by.insert(used, name);
                open.push(used);
            }
        }
    }
    let found = UNWANTED.iter().filter(|name| used_by.contains_key(**name));
    found.map(|name| format!("{PRODUCT} uses {name}: {}", chain(&used_by, name))).collect()
}

/// Path of dependencies from the product to a crate.
fn chain(used_by: &BTreeMap<&str, &str>, name: &str) -> String {
    let mut names = vec![name];
    while let Some(user) = used_by.get(names[names.len() - 1]) {
        names.push(user);
    }
    names.reverse();
    names.join(" -> ")
}

fn read_lock(text: &str) -> Lock<'_> {
    let mut lock = Lock::new();
    for package in text.split("[[package]]").skip(1) {
        let name = package.lines().find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
        let Some(name) = name else { continue };
        let list = package.split_once("dependencies = [").map_or("", |(_, rest)| rest.split(']').next().unwrap_or(""));
        let used = list.lines().filter_map(|line| line.trim().strip_prefix('"')?.split([' ', '"']).next());
        lock.entry(name).or_default().extend(used);
    }
    lock
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::crate_of;

    const LOCK: &str = r#"
version = 4

[[package]]
name = "cartulary"
dependencies = [
 "indicatif",
 "views",
]

[[package]]
name = "tables"
version = "1.0.0"
dependencies = [
 "comfy-table 8.0.1",
]

[[package]]
name = "comfy-table"
version = "8.0.1"
"#;

    fn workspace(uses_of_views: &[&str]) -> Workspace {
        let crates = vec![crate_of("cartulary", &["views"]), crate_of("views", uses_of_views)];
        Workspace::new([("Cargo.lock".to_owned(), LOCK.to_owned())].into(), crates)
    }

    #[test]
    fn an_unwanted_crate_is_found_through_others_and_dev_dependencies_are_ignored() {
        let expected = ["cartulary uses comfy-table: cartulary -> views -> tables -> comfy-table"];
        assert_eq!(unwanted(&workspace(&["tables"])), expected);
        assert!(unwanted(&workspace(&["serde"])).is_empty());
    }
}
