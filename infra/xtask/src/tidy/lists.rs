//! Completeness of the lists through which aggregates, commands, policies and read models are registered.

use super::Rule;
use crate::{rust_source::implementors, workspace::Workspace};

pub(super) const COMPLETE: Rule = Rule {
    name: "lists",
    why: "an item that is missing in the list of its context's mod.rs compiles but is unreachable: it has no route, \
          table or schema",
    violations: unlisted,
};

pub(super) const VISITED: Rule = Rule {
    name: "contexts-listed",
    why: "a context that its layer's lib.rs does not visit compiles but is unreachable",
    violations: not_visited,
};

/// Layer, trait, and the visitor's method that lists its implementors.
const LISTED: &[(&str, &str, &str)] = &[
    ("domain", "Aggregate", "aggregate"),
    ("commands", "Command", "command"),
    ("commands", "Policy", "policy"),
    ("projections", "ReadModel", "read_model"),
];

fn unlisted(workspace: &Workspace) -> Vec<String> {
    let mut broken = vec![];
    for (layer, implemented, method) in LISTED {
        for context in workspace.contexts() {
            let list = format!("{layer}/src/{context}/mod.rs");
            let listed = workspace.code.get(&list).map(String::as_str).unwrap_or_default();
            for (path, _) in workspace.of_context(layer, context) {
                for name in implementors(&workspace.code[path], implemented) {
                    if !is_listed(listed, method, name) {
                        broken.push(format!("{path}: `each.{method}::<{name}>();` is missing in {list}"));
                    }
                }
            }
        }
    }
    broken
}

fn is_listed(code: &str, method: &str, name: &str) -> bool {
    let call = format!("each.{method}::<");
    let mut calls = code.match_indices(&call).map(|(at, _)| &code[at + call.len()..]);
    calls.any(|rest| rest.split('>').next().and_then(|path| path.rsplit("::").next()) == Some(name))
}

fn not_visited(workspace: &Workspace) -> Vec<String> {
    let mut broken = vec![];
    for layer in ["domain", "commands", "projections"] {
        let lib = format!("{layer}/src/lib.rs");
        let code = workspace.code.get(&lib).map(String::as_str).unwrap_or_default();
        let folders =
            workspace.contexts().into_iter().filter(|context| workspace.of_context(layer, context).next().is_some());
        let missing = folders.filter(|context| !code.contains(&format!("{context}::visit(each)")));
        broken.extend(missing.map(|context| format!("`{context}::visit(each);` is missing in {lib}")));
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::workspace_of;

    #[test]
    fn an_unlisted_command_is_found_and_one_in_test_code_is_ignored() {
        let workspace = workspace_of(&[
            ("domain/src/orders/mod.rs", "each.aggregate::<order::Order>();"),
            ("domain/src/orders/order.rs", "impl Aggregate for Order {}"),
            ("commands/src/orders/mod.rs", "each.command::<PlaceOrder>();"),
            (
                "commands/src/orders/order.rs",
                "impl Command for PlaceOrder {}\nimpl Command for CancelOrder {}\n\
                 #[cfg(test)]\nmod tests { impl Command for Fake {} }",
            ),
        ]);
        assert_eq!(
            unlisted(&workspace),
            ["commands/src/orders/order.rs: `each.command::<CancelOrder>();` is missing in commands/src/orders/mod.rs"]
        );
    }

    #[test]
    fn a_context_that_is_not_visited_is_found_in_the_layers_where_it_exists() {
        let workspace = workspace_of(&[
            ("domain/src/lib.rs", "orders::visit(each);"),
            ("domain/src/orders/mod.rs", ""),
            ("commands/src/lib.rs", ""),
            ("commands/src/orders/mod.rs", ""),
        ]);
        assert_eq!(not_visited(&workspace), ["`orders::visit(each);` is missing in commands/src/lib.rs"]);
    }
}
