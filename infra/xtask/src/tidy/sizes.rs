//! Nothing grows past what a person takes in at once.

use super::Rule;
use crate::{
    house::House,
    rust_source::{code_only, functions, without_tests},
};

pub(super) const FUNCTIONS: Rule = Rule {
    name: "function-length",
    why: "a function of more than 70 lines does more than one thing; give the second thing a name",
    broken: long_functions,
};

pub(super) const FILES: Rule = Rule {
    name: "file-length",
    why: "a file of more than 500 lines holds more than one subject; give the second subject a file",
    broken: long_files,
};

const FUNCTION_LINES_MOST: usize = 70;
const FILE_LINES_MOST: usize = 500;

fn long_functions(house: &House) -> Vec<String> {
    let mut broken = vec![];
    for (path, text) in house.rust().filter(|(path, _)| !path.contains("/tests/")) {
        let code = without_tests(&code_only(text));
        let long = functions(&code).into_iter().filter(|function| function.lines > FUNCTION_LINES_MOST);
        broken.extend(long.map(|function| format!("{path}: `{}` has {} lines", function.name, function.lines)));
    }
    broken
}

fn long_files(house: &House) -> Vec<String> {
    let lengths = house.rust().map(|(path, text)| (path, text.lines().count()));
    let long = lengths.filter(|(_, lines)| *lines > FILE_LINES_MOST);
    long.map(|(path, lines)| format!("{path} has {lines} lines")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::house_of;

    #[test]
    fn seventy_lines_are_fine_and_one_more_is_not() {
        let function = |name: &str, lines: usize| format!("fn {name}() {{\n{}}}\n", "    x();\n".repeat(lines));
        let text = format!("{}{}", function("fine", 70), function("long", 71));
        assert_eq!(long_functions(&house_of(&[("api/src/http.rs", &text)])), ["api/src/http.rs: `long` has 71 lines"]);
    }

    #[test]
    fn five_hundred_lines_are_fine_and_one_more_is_not() {
        let house = house_of(&[("a.rs", &"\n".repeat(500)), ("b.rs", &"\n".repeat(501)), ("c.md", &"\n".repeat(900))]);
        assert_eq!(long_files(&house), ["b.rs has 501 lines"]);
    }
}
