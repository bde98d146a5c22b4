//! Nothing is written and then forgotten in its list.

use super::Rule;
use crate::{
    house::House,
    rust_source::{code_only, implementors, without_tests},
};

pub(super) const COMPLETE: Rule = Rule {
    name: "lists",
    why: "what is not listed in its context's mod.rs is compiled and never reached: it has no route, no table, no \
          schema",
    broken: forgotten,
};

pub(super) const VISITED: Rule = Rule {
    name: "contexts-listed",
    why: "a context that its floor's lib.rs does not visit is compiled and never reached",
    broken: not_visited,
};

/// Floor, trait, and the visitor's method that lists it.
const LISTED: &[(&str, &str, &str)] = &[
    ("domain", "Aggregate", "aggregate"),
    ("commands", "Command", "command"),
    ("commands", "Policy", "policy"),
    ("projections", "ReadModel", "read_model"),
];

fn forgotten(house: &House) -> Vec<String> {
    let mut broken = vec![];
    for (floor, implemented, method) in LISTED {
        for context in house.contexts() {
            let list = format!("{floor}/src/{context}/mod.rs");
            let listed = house.files.get(&list).map(|text| code_only(text)).unwrap_or_default();
            for (path, text) in house.of_context(floor, context) {
                let code = without_tests(&code_only(text));
                for name in implementors(&code, implemented) {
                    if !is_listed(&listed, method, name) {
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

fn not_visited(house: &House) -> Vec<String> {
    let mut broken = vec![];
    for floor in ["domain", "commands", "projections"] {
        let lib = format!("{floor}/src/lib.rs");
        let code = house.files.get(&lib).map(|text| code_only(text)).unwrap_or_default();
        let folders = house.contexts().into_iter().filter(|context| house.of_context(floor, context).next().is_some());
        let missing = folders.filter(|context| !code.contains(&format!("{context}::visit(each)")));
        broken.extend(missing.map(|context| format!("`{context}::visit(each);` is missing in {lib}")));
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::house_of;

    #[test]
    fn a_command_that_is_not_listed_is_found_and_one_for_tests_is_not_missed() {
        let house = house_of(&[
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
            forgotten(&house),
            ["commands/src/orders/order.rs: `each.command::<CancelOrder>();` is missing in commands/src/orders/mod.rs"]
        );
    }

    #[test]
    fn a_context_that_is_not_visited_is_found_on_the_floors_where_it_exists() {
        let house = house_of(&[
            ("domain/src/lib.rs", "orders::visit(each);"),
            ("domain/src/orders/mod.rs", ""),
            ("commands/src/lib.rs", ""),
            ("commands/src/orders/mod.rs", ""),
        ]);
        assert_eq!(not_visited(&house), ["`orders::visit(each);` is missing in commands/src/lib.rs"]);
    }
}
