//! Limits on the length of functions and files.

use super::Rule;
use crate::{rust_source::functions, workspace::Workspace};

pub(super) const FUNCTIONS: Rule = Rule {
    name: "function-length",
    why: "a function of more than 70 lines does more than one thing; move the second thing into a function of its own",
    violations: long_functions,
};

pub(super) const FILES: Rule = Rule {
    name: "file-length",
    why: "a file of more than 500 lines has more than one subject; move the second subject into a file of its own",
    violations: long_files,
};

const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 500;

fn long_functions(workspace: &Workspace) -> Vec<String> {
    let mut broken = vec![];
    for (path, code) in workspace.code.iter().filter(|(path, _)| !path.contains("/tests/")) {
        let long = functions(code).into_iter().filter(|function| function.lines > FUNCTION_LINES_MAX);
        broken.extend(long.map(|function| format!("{path}: `{}` has {} lines", function.name, function.lines)));
    }
    broken
}

fn long_files(workspace: &Workspace) -> Vec<String> {
    let lengths = workspace.rust().map(|(path, text)| (path, text.lines().count()));
    let long = lengths.filter(|(_, lines)| *lines > FILE_LINES_MAX);
    long.map(|(path, lines)| format!("{path} has {lines} lines")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::workspace_of;

    #[test]
    fn seventy_lines_are_allowed_and_one_more_is_not() {
        let function = |name: &str, lines: usize| format!("fn {name}() {{\n{}}}\n", "    x();\n".repeat(lines));
        let text = format!("{}{}", function("fine", 70), function("long", 71));
        assert_eq!(
            long_functions(&workspace_of(&[("api/src/http.rs", &text)])),
            ["api/src/http.rs: `long` has 71 lines"]
        );
    }

    #[test]
    fn five_hundred_lines_are_allowed_and_one_more_is_not() {
        let workspace =
            workspace_of(&[("a.rs", &"\n".repeat(500)), ("b.rs", &"\n".repeat(501)), ("c.md", &"\n".repeat(900))]);
        assert_eq!(long_files(&workspace), ["b.rs has 501 lines"]);
    }
}
