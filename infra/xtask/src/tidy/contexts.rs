//! Contexts do not know each other.

use super::Rule;
use crate::{
    house::House,
    rust_source::{code_only, names_behind},
};

pub(super) const ISOLATION: Rule = Rule {
    name: "contexts",
    why: "a context never names another context of its own floor; they meet through ids in `domain::shared`, by \
          reading each other's aggregates at the desk, and through events in policies and read models",
    broken: trespasses,
};

const FLOORS: &[&str] = &["domain", "commands", "projections", "api"];

fn trespasses(house: &House) -> Vec<String> {
    let contexts = house.contexts();
    let mut broken = vec![];
    for floor in FLOORS {
        for context in &contexts {
            for (path, text) in house.of_context(floor, context) {
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
    use crate::tidy::house_of;

    #[test]
    fn another_context_of_the_same_floor_may_not_be_named_and_one_of_the_domain_may() {
        let house = house_of(&[
            ("domain/src/shared/mod.rs", ""),
            ("domain/src/orders/mod.rs", "use super::shared; use crate::orders::order;"),
            ("domain/src/loyalty/mod.rs", ""),
            ("domain/src/loyalty/account.rs", "use crate::{kernel::A, orders::Order}; // crate::orders"),
            ("commands/src/loyalty/account.rs", "use domain::orders::Order; use super::super::orders::PlaceOrder;"),
        ]);
        assert_eq!(
            trespasses(&house),
            [
                "domain/src/loyalty/account.rs names `crate::orders`",
                "commands/src/loyalty/account.rs names `crate::orders`",
            ]
        );
    }
}
