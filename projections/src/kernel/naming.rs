//! One name, many spellings: `StockLevel`, `stock_level`, `stockLevels`.

/// `StockLevel` → `stock_level`.
pub(super) fn snake(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for (at, letter) in name.char_indices() {
        if letter.is_ascii_uppercase() && at > 0 {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

/// `StockLevel` → `stockLevel`.
pub(super) fn camel(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(letters).collect()
}

/// `stock_level` → `stock_levels`, `points_entry` → `points_entries`.
pub(super) fn plural(name: &str) -> String {
    let vowel_before = |stem: &str| stem.ends_with(['a', 'e', 'i', 'o', 'u']);
    match name.strip_suffix('y') {
        Some(stem) if !vowel_before(stem) => format!("{stem}ies"),
        _ if ["s", "x", "ch", "sh"].iter().any(|end| name.ends_with(end)) => format!("{name}es"),
        _ => format!("{name}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_spelled_for_tables_and_for_readers() {
        assert_eq!((snake("StockLevel").as_str(), camel("StockLevel").as_str()), ("stock_level", "stockLevel"));
        let plurals = ["stock_level", "points_entry", "salesDay", "points_balance", "address"].map(plural);
        assert_eq!(plurals, ["stock_levels", "points_entries", "salesDays", "points_balances", "addresses"]);
    }
}
