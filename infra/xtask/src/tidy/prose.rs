//! Wording of doc comments and documents.

use super::Rule;
use crate::workspace::Workspace;

pub(super) const DOC_COMMENTS: Rule = Rule {
    name: "doc-comments",
    why: "a doc comment begins with a noun or verb that says what the item is or does, in plain words",
    violations: in_doc_comments,
};

pub(super) const DOCUMENTS: Rule = Rule {
    name: "documents",
    why: "README, ARCHITECTURE, GLOSSARY and docs/ are for people who do not know this project; no paragraph begins \
          with a relative pronoun as its subject, and these words hide who does what",
    violations: in_documents,
};

/// Words with which no paragraph may begin.
const BEGINNINGS: &[&str] = &["Who", "Whoever", "Whom", "What", "Whatever", "Whether", "How"];

/// Words that stand for an unnamed actor or hide the action.
const WORDS: &[&str] = &[
    "nobody",
    "somebody",
    "everybody",
    "told",
    "tell",
    "tells",
    "telling",
    "wish",
    "wishes",
    "troubles",
    "she",
    "herself",
];
const PHRASES: &[&str] = &["what became of", "such as it is"];

const DOCUMENT_FILES: &[&str] = &["README.md", "ARCHITECTURE.md", "GLOSSARY.md"];
/// Its last column lists words to avoid.
const GLOSSARY: &str = "GLOSSARY.md";

/// Right uses: file and word. Inline code is exempt anyway.
const EXCEPTIONS: &[(&str, &str)] = &[];

/// Consecutive lines of prose, with the number of the first one.
#[derive(Debug, Default)]
struct Paragraph {
    line: usize,
    text: String,
    /// A heading or a row of a table, which may begin with any word.
    is_label: bool,
}

fn in_doc_comments(workspace: &Workspace) -> Vec<String> {
    let paragraphs = workspace.rust().map(|(path, text)| (path, doc_comments(text)));
    paragraphs.flat_map(|(path, paragraphs)| violations(path, &paragraphs)).collect()
}

fn in_documents(workspace: &Workspace) -> Vec<String> {
    let is_document =
        |path: &str| DOCUMENT_FILES.contains(&path) || (path.starts_with("docs/") && path.ends_with(".md"));
    let files = workspace.files.iter().filter(|(path, _)| is_document(path));
    files.flat_map(|(path, text)| violations(path, &document(path, text))).collect()
}

fn violations(path: &str, paragraphs: &[Paragraph]) -> Vec<String> {
    let mut found = vec![];
    for Paragraph { line, text, is_label } in paragraphs {
        let mut report = |pattern: &str, what: &str| {
            if !EXCEPTIONS.contains(&(path, pattern)) {
                found.push(format!("{path}:{line}: {what} `{pattern}`: {}", shortened(text)));
            }
        };
        if let Some(beginning) = beginning(text).filter(|_| !is_label) {
            report(beginning, "begins with");
        }
        let lower = text.to_lowercase();
        let words = lower.split(|letter: char| !letter.is_alphanumeric()).filter_map(|word| pattern(WORDS, word));
        words.for_each(|word| report(word, "has"));
        PHRASES.iter().filter(|phrase| lower.contains(**phrase)).for_each(|phrase| report(phrase, "has"));
    }
    found
}

fn pattern(patterns: &[&'static str], word: &str) -> Option<&'static str> {
    patterns.iter().find(|pattern| **pattern == word).copied()
}

/// Relative pronoun with which a text begins. Questions are allowed.
fn beginning(text: &str) -> Option<&'static str> {
    let first = text.split(|letter: char| !letter.is_alphanumeric()).find(|word| !word.is_empty())?;
    let sentence = text.split_inclusive(['.', '?', '!', ':']).next().unwrap_or(text);
    pattern(BEGINNINGS, first).filter(|_| !sentence.ends_with('?'))
}

fn shortened(text: &str) -> String {
    let text = text.trim();
    let end = text.char_indices().nth(70).map_or(text.len(), |(at, _)| at);
    if end < text.len() { format!("{}…", &text[..end]) } else { text.to_owned() }
}

/// Paragraphs of `///` and `//!` comments.
fn doc_comments(text: &str) -> Vec<Paragraph> {
    let mut prose = Prose::default();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        match line.strip_prefix("///").or(line.strip_prefix("//!")) {
            Some(comment) => prose.add(number + 1, comment.trim()),
            None => prose.end_block(),
        }
    }
    prose.end_block();
    prose.paragraphs
}

/// Paragraphs of a Markdown file.
fn document(path: &str, text: &str) -> Vec<Paragraph> {
    let mut prose = Prose::default();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        match line.strip_prefix('|') {
            Some(row) if path == GLOSSARY => {
                let columns = row.trim_end_matches('|').rsplit_once('|');
                prose.add_label(number + 1, columns.map_or("", |(columns, _)| columns));
            }
            Some(row) => prose.add_label(number + 1, row),
            None if line.starts_with('#') => prose.add_label(number + 1, line),
            None => prose.add(number + 1, line),
        }
    }
    prose.end_block();
    prose.paragraphs
}

/// Collector of paragraphs. Leaves out code.
#[derive(Debug, Default)]
struct Prose {
    paragraphs: Vec<Paragraph>,
    current: Paragraph,
    in_code: bool,
}

impl Prose {
    fn add(&mut self, number: usize, line: &str) {
        let is_fence = line.starts_with("```");
        self.in_code ^= is_fence;
        let is_item = line.starts_with("- ") || line.starts_with("* ") || line.split_once(". ").is_some_and(is_number);
        if self.in_code || is_fence || line.is_empty() || is_item {
            self.end_paragraph();
        }
        if self.in_code || is_fence || line.is_empty() {
            return;
        }
        if self.current.text.is_empty() {
            self.current.line = number;
        }
        // Inline code stands at every second place between backticks.
        let parts = line.split('`').enumerate().map(|(part, text)| if part % 2 == 0 { text } else { "code" });
        self.current.text.extend(parts);
        self.current.text.push(' ');
    }

    /// Adds a line that is a paragraph of its own, and no sentence.
    fn add_label(&mut self, number: usize, line: &str) {
        if !self.in_code {
            self.end_paragraph();
            self.add(number, line);
            self.current.is_label = true;
            self.end_paragraph();
        }
    }

    fn end_paragraph(&mut self) {
        let paragraph = std::mem::take(&mut self.current);
        if !paragraph.text.is_empty() {
            self.paragraphs.push(paragraph);
        }
    }

    fn end_block(&mut self) {
        self.end_paragraph();
        self.in_code = false;
    }
}

/// The part before the first dot is the number of a list item.
fn is_number((number, _): (&str, &str)) -> bool {
    number.parse::<u32>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::workspace_of;

    fn of_comment(text: &str) -> Vec<String> {
        in_doc_comments(&workspace_of(&[("a.rs", text)]))
    }

    #[test]
    fn a_doc_comment_that_begins_with_a_relative_pronoun_is_found() {
        let text = "//! Whoever reads this.\n\n/// Rate limiter.\n///\n/// What it counts\n/// is small.\nstruct A;\n";
        assert_eq!(
            of_comment(text),
            [
                "a.rs:1: begins with `Whoever`: Whoever reads this.",
                "a.rs:5: begins with `What`: What it counts is small."
            ]
        );
        assert!(of_comment("// What is not a doc comment.\nlet x = \"/// Who\";\n").is_empty());
        assert!(of_comment("/// Rows, and\n/// what they hold.\n").is_empty());
    }

    #[test]
    fn a_question_may_begin_with_any_word() {
        assert!(of_comment("/// How many? About four.\n").is_empty());
    }

    #[test]
    fn banned_words_are_found_whole_and_outside_of_code() {
        let text = "/// Stops nobody, as it is Told.\n/// ```\n/// tell();\n/// ```\n/// `told`, wishlist, seashell.\n";
        let found = of_comment(text);
        let expected =
            ["a.rs:1: has `nobody`: Stops nobody, as it is Told.", "a.rs:1: has `told`: Stops nobody, as it is Told."];
        assert_eq!(found, expected);
        assert_eq!(of_comment("/// Shows what became of it, such as it is.\n").len(), 2);
    }

    #[test]
    fn documents_are_checked_but_for_words_to_avoid_and_beginnings_of_headings_and_rows() {
        let workspace = workspace_of(&[
            ("README.md", "# How to start\n\n```\n# What a shell says\ntell me\n```\n\n- Who pays: she does.\n"),
            ("GLOSSARY.md", "| How | What it is | avoid: told |\n| tells | b | c |\n"),
            ("docs/adr/0001.md", "1. Nobody reads\n"),
            ("CHANGELOG.md", "Nobody reads\n"),
        ]);
        let expected = [
            "GLOSSARY.md:2: has `tells`: tells | b",
            "README.md:8: begins with `Who`: - Who pays: she does.",
            "README.md:8: has `she`: - Who pays: she does.",
            "docs/adr/0001.md:1: has `nobody`: 1. Nobody reads",
        ];
        assert_eq!(in_documents(&workspace), expected);
    }
}
