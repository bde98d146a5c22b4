//! Papers that speak of the code, and must go on speaking of it.

use super::Rule;
use crate::{capabilities, house::House, rust_source::words};

pub(super) const ARCHITECTURE: Rule = Rule {
    name: "architecture",
    why: "ARCHITECTURE.md is the map for newcomers, and a context that is not on it cannot be found",
    broken: not_on_the_map,
};

pub(super) const KNOWN_CAPABILITIES: Rule = Rule {
    name: "known-capabilities",
    why: "a scenario can only prove what was promised; ids are never made up or renamed",
    broken: capabilities::unknown,
};

pub(super) const CAPABILITIES_PAGE: Rule = Rule {
    name: "capabilities-page",
    why: "docs/capabilities.md is written from the scenarios, so that it cannot boast; `cargo xtask gen` writes it",
    broken: stale_page,
};

fn not_on_the_map(house: &House) -> Vec<String> {
    let Some(map) = house.files.get("ARCHITECTURE.md") else { return vec!["ARCHITECTURE.md is missing".to_owned()] };
    let missing = house.contexts().into_iter().filter(|context| !words(map).any(|(_, word)| word == *context));
    missing.map(|context| format!("ARCHITECTURE.md does not mention `{context}`")).collect()
}

fn stale_page(house: &House) -> Vec<String> {
    match house.files.get(capabilities::PAGE) {
        Some(page) if *page == capabilities::page(house) => vec![],
        _ => vec![format!("{} is not what the scenarios say", capabilities::PAGE)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::house_of;

    #[test]
    fn a_context_that_is_not_on_the_map_is_found() {
        let house = house_of(&[
            ("ARCHITECTURE.md", "Here is `orders`."),
            ("domain/src/orders/mod.rs", ""),
            ("domain/src/loyalty/mod.rs", ""),
        ]);
        assert_eq!(not_on_the_map(&house), ["ARCHITECTURE.md does not mention `loyalty`"]);
    }

    #[test]
    fn an_edited_page_is_found() {
        let house = house_of(&[("docs/capability-ids.txt", "INV-01\n")]);
        let page = capabilities::page(&house);
        let with = |page: &str| house_of(&[("docs/capability-ids.txt", "INV-01\n"), ("docs/capabilities.md", page)]);
        assert!(stale_page(&with(&page)).is_empty());
        assert_eq!(stale_page(&with(&page.replace("0 of 1", "1 of 1"))).len(), 1);
    }
}
