//! Plural of an identifier. Case conversion comes from the crate `heck`.

/// English plural of an identifier in any case: `stock_level` → `stock_levels`, `points_entry` → `points_entries`.
pub fn plural(name: &str) -> String {
    let ends_with_vowel = |stem: &str| stem.ends_with(['a', 'e', 'i', 'o', 'u']);
    match name.strip_suffix('y') {
        Some(stem) if !ends_with_vowel(stem) => format!("{stem}ies"),
        _ if ["s", "x", "ch", "sh"].iter().any(|end| name.ends_with(end)) => format!("{name}es"),
        _ => format!("{name}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plurals_follow_english_endings() {
        let plurals = ["stock_level", "points_entry", "salesDay", "points_balance", "address"].map(plural);
        assert_eq!(plurals, ["stock_levels", "points_entries", "salesDays", "points_balances", "addresses"]);
    }
}
