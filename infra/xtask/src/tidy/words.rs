//! Words that say nothing, and words that say "later".

use super::Rule;
use crate::{house::House, rust_source::words};

pub(super) const FILE_NAMES: Rule = Rule {
    name: "file-names",
    why: "a file is named after the thing in it; these names say nothing and attract everything",
    broken: empty_names,
};

pub(super) const UNFINISHED: Rule =
    Rule { name: "unfinished", why: "what is on main is finished; what is left to do is an issue", broken: unfinished };

const EMPTY: &[&str] = &["util", "utils", "helper", "helpers", "common", "manager", "service", "dto", "misc", "impl"];

/// In two halves each, so that this file does not break its own rule.
const LATER: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
/// ISO 4217's code for "no currency", which is no mark.
const NO_CURRENCY: &str = concat!("\"XX", "X\"");
const LATER_MACRO: &str = concat!("to", "do!");

fn empty_names(house: &House) -> Vec<String> {
    let says_nothing = |part: &str| part.split(['_', '-', '.']).any(|word| EMPTY.contains(&word));
    let found = house.rust().filter(|(path, _)| path.split('/').any(says_nothing));
    found.map(|(path, _)| path.to_owned()).collect()
}

fn unfinished(house: &House) -> Vec<String> {
    let mut broken = vec![];
    for (path, text) in &house.files {
        for (number, line) in text.lines().enumerate() {
            if line.contains(LATER_MACRO)
                || words(&line.replace(NO_CURRENCY, "")).any(|(_, word)| LATER.contains(&word))
            {
                broken.push(format!("{path}:{}: {}", number + 1, line.trim()));
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
    fn names_that_say_nothing_are_found_in_every_part_of_a_path() {
        let house = house_of(&[
            ("api/src/order_service.rs", ""),
            ("api/src/common/mod.rs", ""),
            ("api/src/commons.rs", ""),
            ("docs/service.md", ""),
        ]);
        assert_eq!(empty_names(&house), ["api/src/common/mod.rs", "api/src/order_service.rs"]);
    }

    #[test]
    fn what_is_put_off_is_found() {
        let text = format!("fine\n// {}: later\n{}()\n", LATER[0], LATER_MACRO);
        assert_eq!(unfinished(&house_of(&[("a.rs", &text)])).len(), 2);
        assert!(unfinished(&house_of(&[("a.rs", "TODOS is a list, and a mastodon is an animal")])).is_empty());
    }
}
