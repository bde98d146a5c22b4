//! Names of types that are declared more than once.

use std::collections::{BTreeMap, BTreeSet};

use super::Rule;
use crate::{rust_source::visible_types, workspace::Workspace};

pub(super) const DUPLICATES: Rule = Rule {
    name: "type-names",
    why: "a type that several modules of a crate can see has a name of its own there, so that it is found by its name",
    violations: duplicates,
};

/// Names of which each module may have its own, because they are always written with the module: `orders::Event`.
const PER_MODULE: &[&str] = &["Event", "Rejection", "Settings", "Config", "Error", "Limits"];

fn duplicates(workspace: &Workspace) -> Vec<String> {
    let mut files: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for (folder, file, code) in workspace.sources() {
        for name in visible_types(code).into_iter().filter(|name| !PER_MODULE.contains(name)) {
            files.entry((folder, name)).or_default().insert(file);
        }
    }
    let repeated = files.into_iter().filter(|(_, files)| files.len() > 1);
    let message = |((folder, name), files): ((&str, &str), BTreeSet<&str>)| {
        format!("{folder}: `{name}` in {}", files.into_iter().collect::<Vec<_>>().join(", "))
    };
    repeated.map(message).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::workspace_of;

    #[test]
    fn a_type_name_in_two_modules_of_one_crate_is_found() {
        let workspace = workspace_of(&[
            ("infra/work/src/a.rs", "pub struct Found;\npub(crate) enum Event {}\nstruct Own;\npub struct InTest;"),
            ("infra/work/src/b/mod.rs", "pub(crate) type Found = u8;\npub enum Event {}\npub struct Own;"),
            ("infra/work/src/c.rs", "pub(super) struct Found;\n#[cfg(test)]\nmod tests { pub struct InTest; }"),
            ("infra/work/tests/main/d.rs", "pub struct Found;"),
            ("infra/edge/src/a.rs", "pub struct Found;"),
        ]);
        assert_eq!(duplicates(&workspace), ["infra/work: `Found` in a.rs, b/mod.rs"]);
    }
}
