//! Partial parsing of Rust source, as far as the rules need it.

use std::collections::BTreeSet;

/// The text with comments and literals replaced by blanks. Line numbers stay the same.
pub(crate) fn code_only(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < letters.len() {
        let end = literal_end(&letters, at).unwrap_or(at);
        if end == at {
            code.push(letters[at]);
            at += 1;
        } else {
            code.extend(letters[at..end].iter().map(|letter| if *letter == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    code
}

/// End of the comment or literal that begins at `at`.
fn literal_end(letters: &[char], at: usize) -> Option<usize> {
    let next = |offset: usize| letters.get(at + offset).copied().unwrap_or('\0');
    let after_word = at > 0 && is_word(letters[at - 1]);
    match (letters[at], next(1)) {
        ('/', '/') => Some((at..letters.len()).find(|&end| letters[end] == '\n').unwrap_or(letters.len())),
        ('/', '*') => Some(comment_end(letters, at)),
        ('"', _) => Some(quote_end(letters, at + 1, '"')),
        ('r', '"' | '#') if !after_word || letters[at - 1] == 'b' => raw_end(letters, at),
        ('\'', '\\') => Some(quote_end(letters, at + 1, '\'')),
        ('\'', _) if next(2) == '\'' => Some(at + 3),
        _ => None,
    }
}

fn comment_end(letters: &[char], start: usize) -> usize {
    let mut depth = 0;
    let mut at = start;
    while at + 1 < letters.len() {
        match (letters[at], letters[at + 1]) {
            ('/', '*') => depth += 1,
            ('*', '/') => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    letters.len()
}

fn quote_end(letters: &[char], start: usize, quote: char) -> usize {
    let mut at = start;
    while at < letters.len() && letters[at] != quote {
        at += if letters[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(letters.len())
}

fn raw_end(letters: &[char], start: usize) -> Option<usize> {
    let hashes = letters[start + 1..].iter().take_while(|letter| **letter == '#').count();
    let open = start + 1 + hashes;
    if letters.get(open) != Some(&'"') {
        return None;
    }
    let closing: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    let body = &letters[open + 1..];
    let found = body.windows(closing.len()).position(|window| window == closing);
    Some(found.map_or(letters.len(), |offset| open + 1 + offset + closing.len()))
}

/// Code without items that are compiled for tests only. Line numbers stay the same.
pub(crate) fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut kept = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(start) = rest.find(MARK) {
        kept.push_str(&rest[..start]);
        let item = &rest[start..];
        let end = match item.find(['{', ';']) {
            Some(open) if item[open..].starts_with('{') => block_end(item, open),
            Some(semicolon) => semicolon + 1,
            None => item.len(),
        };
        kept.extend(item[..end].chars().filter(|letter| *letter == '\n'));
        rest = &item[end..];
    }
    kept.push_str(rest);
    kept
}

/// Position after the brace that closes the one at `open`.
fn block_end(code: &str, open: usize) -> usize {
    let mut depth = 0;
    for (at, letter) in code[open..].char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return open + at + 1;
        }
    }
    code.len()
}

pub(crate) struct Function<'a> {
    pub(crate) name: &'a str,
    /// Lines of the body, without blank lines and comments.
    pub(crate) lines: usize,
}

/// Functions with a body, in order.
pub(crate) fn functions(code: &str) -> Vec<Function<'_>> {
    words(code).filter(|(_, word)| *word == "fn").filter_map(|(at, _)| function(code, at + 2)).collect()
}

fn function(code: &str, behind_fn: usize) -> Option<Function<'_>> {
    let signature = &code[behind_fn..];
    let name = signature.trim_start().split(|letter| !is_word(letter)).next().filter(|name| !name.is_empty())?;
    let mut depth = 0;
    for (at, letter) in signature.char_indices() {
        match letter {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            ';' if depth == 0 => return None,
            '{' if depth == 0 => {
                let body = &signature[at + 1..block_end(signature, at) - 1];
                return Some(Function { name, lines: body.lines().filter(|line| !line.trim().is_empty()).count() });
            }
            _ => {}
        }
    }
    None
}

/// Words with their positions.
pub(crate) fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let start = code.as_ptr().addr();
    code.split(|letter| !is_word(letter))
        .filter(|word| !word.is_empty())
        .map(move |word| (word.as_ptr().addr() - start, word))
}

/// First names after the start of a path such as `crate::`, including those of a group in braces.
pub(crate) fn names_behind<'a>(code: &'a str, beginning: &str) -> Vec<&'a str> {
    let mut names = vec![];
    for (at, _) in code.match_indices(beginning) {
        if code[..at].ends_with(|letter| is_word(letter) || letter == ':') {
            continue;
        }
        let rest = &code[at + beginning.len()..];
        match rest.starts_with('{') {
            true => names.extend(group_names(&rest[1..block_end(rest, 0) - 1])),
            false => names.extend(words(rest).next().map(|(_, word)| word)),
        }
    }
    names
}

fn group_names(group: &str) -> Vec<&str> {
    let mut depth = 0;
    let members = group.split(|letter| {
        depth += i32::from(letter == '{') - i32::from(letter == '}');
        letter == ',' && depth == 0
    });
    members.filter_map(|member| words(member).next().map(|(_, word)| word)).collect()
}

/// Types for which a trait is implemented.
pub(crate) fn implementors<'a>(code: &'a str, name: &str) -> Vec<&'a str> {
    let found: Vec<(usize, &str)> = words(code).collect();
    let matching = found.windows(3).filter(|three| three[0].1 == name && three[1].1 == "for");
    matching.map(|three| three[2].1).collect()
}

/// A path in code: of a `use` declaration, or one that begins with `crate`, `self` or `super`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ItemPath<'a> {
    pub(crate) segments: Vec<&'a str>,
    /// Name that a `use` declaration gives it, `*` for a glob; `None` for a path outside of `use`.
    pub(crate) bound: Option<&'a str>,
    /// The declaration is a re-export.
    pub(crate) is_public: bool,
}

/// Paths in code, in order.
pub(crate) fn item_paths(code: &str) -> Vec<ItemPath<'_>> {
    let tokens = tokens(code);
    let mut paths = vec![];
    let mut at = 0;
    while at < tokens.len() {
        let previous = at.checked_sub(1).map_or("", |previous| tokens[previous]);
        match tokens[at] {
            "use" if matches!(previous, "" | "pub" | ")" | ";" | "{" | "}" | "]") => {
                let is_public = matches!(previous, "pub" | ")");
                at = use_tree(&tokens, at + 1, &[], is_public, &mut paths);
            }
            "crate" | "self" | "super" if previous != "::" && tokens.get(at + 1) == Some(&"::") => {
                let mut segments = vec![tokens[at]];
                while tokens.get(at + 1) == Some(&"::") && tokens.get(at + 2).is_some_and(|token| is_name(token)) {
                    segments.push(tokens[at + 2]);
                    at += 2;
                }
                paths.push(ItemPath { segments, bound: None, is_public: false });
                at += 1;
            }
            _ => at += 1,
        }
    }
    paths
}

/// Reads a tree of a `use` declaration. Returns the position after it.
fn use_tree<'a>(
    tokens: &[&'a str],
    mut at: usize,
    prefix: &[&'a str],
    is_public: bool,
    paths: &mut Vec<ItemPath<'a>>,
) -> usize {
    let mut segments = prefix.to_vec();
    while let Some(token) = tokens.get(at) {
        match *token {
            "{" => {
                at += 1;
                while tokens.get(at).is_some_and(|token| *token != "}") {
                    let end = use_tree(tokens, at, &segments, is_public, paths);
                    at = end.max(at + 1);
                    at += usize::from(tokens.get(at) == Some(&","));
                }
                return at + 1;
            }
            "*" => {
                paths.push(ItemPath { segments, bound: Some("*"), is_public });
                return at + 1;
            }
            name if is_name(name) => segments.push(name),
            _ => return at,
        }
        match (tokens.get(at + 1).copied(), tokens.get(at + 2).copied()) {
            (Some("::"), _) => at += 2,
            (Some("as"), Some(alias)) => {
                paths.push(ItemPath { segments, bound: Some(alias), is_public });
                return at + 3;
            }
            _ => {
                // `use a::{self}` binds `a`.
                if segments.len() > 1 && segments.last() == Some(&"self") {
                    segments.pop();
                }
                let bound = segments.last().copied();
                paths.push(ItemPath { segments, bound, is_public });
                return at + 1;
            }
        }
    }
    at
}

/// Names of items that the code declares, at any depth.
pub(crate) fn declared_names(code: &str) -> BTreeSet<&str> {
    const KINDS: &[&str] = &["struct", "enum", "union", "trait", "type", "fn", "const", "static", "mod"];
    let tokens = tokens(code);
    let declared = tokens.windows(2).filter(|pair| KINDS.contains(&pair[0])).map(|pair| pair[1]);
    let macros = tokens.windows(3).filter(|three| three[0] == "macro_rules" && three[1] == "!").map(|three| three[2]);
    declared.chain(macros).collect()
}

/// Types and traits that the code declares as `pub` or `pub(crate)`.
pub(crate) fn visible_types(code: &str) -> Vec<&str> {
    const KINDS: &[&str] = &["struct", "enum", "union", "trait", "type"];
    let tokens = tokens(code);
    let mut names = vec![];
    for at in (0..tokens.len()).filter(|at| tokens[*at] == "pub") {
        let kind = if tokens[at + 1..].starts_with(&["(", "crate", ")"]) { at + 4 } else { at + 1 };
        if let [kind, name, ..] = tokens[kind.min(tokens.len())..] {
            // A macro may declare a type with a variable as its name.
            names.extend((KINDS.contains(&kind) && is_name(name)).then_some(name));
        }
    }
    names
}

/// Words, `::`, and single other characters.
fn tokens(code: &str) -> Vec<&str> {
    let mut tokens = vec![];
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let end = match first {
            _ if is_word(first) => rest.find(|letter| !is_word(letter)).unwrap_or(rest.len()),
            ':' if rest.starts_with("::") => 2,
            _ => first.len_utf8(),
        };
        tokens.push(&rest[..end]);
        rest = rest[end..].trim_start();
    }
    tokens
}

fn is_name(token: &str) -> bool {
    token.starts_with(|letter: char| letter.is_alphabetic() || letter == '_')
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_lifetimes_are_not() {
        let text =
            "let a = \"{ \\\" // }\"; // {\nlet b: &'a str = r#\"{\"#; /* { /* */ */ let c = '{'; let d = '\\'';";
        let code = code_only(text);
        assert!(!code.contains('{') && !code.contains('}'), "{code}");
        assert!(code.contains("&'a str") && code.contains("let c") && code.contains("let d"), "{code}");
        assert_eq!(code.lines().count(), 2);
    }

    #[test]
    fn test_code_is_left_out() {
        let code = "fn a() {}\n#[cfg(test)]\nmod tests {\n fn b() {}\n}\n#[cfg(test)]\nuse x;\nfn c() {}";
        let names: Vec<String> = functions(&without_tests(code)).iter().map(|found| found.name.to_owned()).collect();
        assert_eq!(names, ["a", "c"]);
    }

    #[test]
    fn only_lines_with_code_are_counted() {
        let code = code_only(
            "fn long(a: [u8; 2]) -> u8 {\n    // why\n\n    a[0]\n}\ntrait T { fn none(); }\ntype F = fn(u8);",
        );
        let found = functions(&code);
        assert_eq!((found.len(), found[0].name, found[0].lines), (1, "long", 1));
    }

    #[test]
    fn names_are_found_alone_and_in_groups() {
        let code =
            "use crate::{kernel::{A, B}, orders::C, shared};\nlet x = crate::loyalty::y();\nuse domain::crate_like::z;";
        assert_eq!(names_behind(code, "crate::"), ["kernel", "orders", "shared", "loyalty"]);
    }

    #[test]
    fn implementors_are_found() {
        assert_eq!(
            implementors("impl Command for PlaceOrder {} impl kernel::Command for Other {}", "Command"),
            ["PlaceOrder", "Other"]
        );
    }

    #[test]
    fn paths_of_use_declarations_and_of_code_are_found() {
        let code = "use std::fmt;\npub use self::{a::{self, B as C}, d::*};\nfn f() { crate::x::y::<u8>(super::z) }";
        let path =
            |segments: &[&'static str], bound, is_public| ItemPath { segments: segments.to_vec(), bound, is_public };
        assert_eq!(
            item_paths(code),
            [
                path(&["std", "fmt"], Some("fmt"), false),
                path(&["self", "a"], Some("a"), true),
                path(&["self", "a", "B"], Some("C"), true),
                path(&["self", "d"], Some("*"), true),
                path(&["crate", "x", "y"], None, false),
                path(&["super", "z"], None, false),
            ]
        );
    }

    #[test]
    fn declarations_are_found_with_their_visibility() {
        let code = "pub struct A<T>(T); pub(crate) enum B {} pub(super) trait C {} type D = u8; pub fn e() {} \
                    pub struct $n; pub";
        assert_eq!(visible_types(code), ["A", "B"]);
        assert_eq!(declared_names(code), ["$", "A", "B", "C", "D", "e"].into());
    }
}
