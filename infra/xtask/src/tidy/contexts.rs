//! Isolation of the bounded contexts within a layer.

use super::Rule;
use crate::{
    rust_source::{code_only, names_behind},
    workspace::Workspace,
};

pub(super) const ISOLATION: Rule = Rule {
    name: "contexts",
    why: "a context never names another context of its own layer; contexts meet through ids in `domain::shared`, by \
          reading each other's aggregates at the desk, and through events in policies and read models",
    violations: foreign_contexts,
};

const LAYERS: &[&str] = &["domain", "commands", "projections", "api"];

fn foreign_contexts(workspace: &Workspace) -> Vec<String> {
    let contexts = workspace.contexts();
    let mut broken = vec![];
    for layer in LAYERS {
        for context in &contexts {
            for (path, text) in workspace.of_context(layer, context) {
                let code = code_only(text);
                let up = if path.ends_with("/mod.rs") || path.ends_with(&format!("src/{context}.rs")) {
                    "super::"
                } else {
                    "super::super::"
                };
                let named = [names_behind(&code, "crate::"), names_behind(&code, up)].concat();
                let others = named.into_iter().filter(|name| name != context && contexts.contains(name));
                broken.extend(others.map(|other| format!("{path} names `crate::{other}`")));
            }
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::workspace_of;

    #[test]
    fn another_context_of_the_same_layer_may_not_be_named_and_one_of_the_domain_may() {
        let workspace = workspace_of(&[
            ("domain/src/shared/mod.rs", ""),
            ("domain/src/orders/mod.rs", "use super::shared; use crate::orders::order;"),
            ("domain/src/loyalty/mod.rs", ""),
            ("domain/src/loyalty/account.rs", "use crate::{kernel::A, orders::Order}; // crate::orders"),
            ("commands/src/loyalty/account.rs", "use domain::orders::Order; use super::super::orders::PlaceOrder;"),
        ]);
        assert_eq!(
            foreign_contexts(&workspace),
            [
                "domain/src/loyalty/account.rs names `crate::orders`",
                "commands/src/loyalty/account.rs names `crate::orders`",
            ]
        );
    }
}
