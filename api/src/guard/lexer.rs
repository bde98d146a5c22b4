//! GraphQL lexer: one pass, no recursion.

use super::limits::{DIRECTIVES_MOST, NESTING_MOST, TOKENS_MOST};
use super::violation::Violation;

/// A lexical token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// Punctuator: one of `! $ & ( ) : = @ [ ] { | }`.
    Punctuator(u8),
    /// `...`
    Spread,
    Name(&'a str),
    /// A number or a string. The guard does not distinguish them.
    Value,
}

/// All tokens of a document. Fails on invalid characters, on too many tokens or directives, and on brackets that are
/// unbalanced or nested too deep.
pub(super) fn tokens(document: &str) -> Result<Vec<Token<'_>>, Violation> {
    let mut tokens = Vec::new();
    let mut open = Vec::new();
    let mut directives = 0;
    let mut at = 0;
    while let Some(&byte) = document.as_bytes().get(at) {
        let (token, end) = next(document, at, byte)?;
        at = end;
        let Some(token) = token else { continue };
        match token {
            Token::Punctuator(mark @ (b'(' | b'[' | b'{')) => {
                if open.len() == NESTING_MOST {
                    return Violation::error("TOO_DEEP", format!("brackets are nested at most {NESTING_MOST} deep"));
                }
                open.push(mark);
            }
            Token::Punctuator(mark @ (b')' | b']' | b'}')) if !open.pop().is_some_and(|open| closes(open, mark)) => {
                return Violation::error("SYNTAX", "brackets are not balanced");
            }
            Token::Punctuator(b'@') => directives += 1,
            _ => {}
        }
        tokens.push(token);
        if tokens.len() > TOKENS_MOST {
            return Violation::error("TOO_MANY_TOKENS", format!("a document has at most {TOKENS_MOST} tokens"));
        }
        if directives > DIRECTIVES_MOST {
            return Violation::error(
                "TOO_MANY_DIRECTIVES",
                format!("a document has at most {DIRECTIVES_MOST} directives"),
            );
        }
    }
    if open.is_empty() { Ok(tokens) } else { Violation::error("SYNTAX", "brackets are not balanced") }
}

fn closes(open: u8, mark: u8) -> bool {
    matches!((open, mark), (b'(', b')') | (b'[', b']') | (b'{', b'}'))
}

/// The token that starts at `at`, if any, and the offset after it.
fn next(document: &str, at: usize, byte: u8) -> Result<(Option<Token<'_>>, usize), Violation> {
    let rest = &document.as_bytes()[at..];
    let end_of_run = |belongs: fn(&u8) -> bool| at + rest.iter().take_while(|byte| belongs(byte)).count();
    Ok(match byte {
        b' ' | b'\t' | b'\n' | b'\r' | b',' => (None, at + 1),
        b'#' => (None, end_of_run(|byte| !matches!(byte, b'\n' | b'\r'))),
        b'!' | b'$' | b'&' | b'(' | b')' | b':' | b'=' | b'@' | b'[' | b']' | b'{' | b'|' | b'}' => {
            (Some(Token::Punctuator(byte)), at + 1)
        }
        b'.' if rest.starts_with(b"...") => (Some(Token::Spread), at + 3),
        b'_' | b'A'..=b'Z' | b'a'..=b'z' => {
            let end = end_of_run(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
            (Some(Token::Name(&document[at..end])), end)
        }
        b'-' | b'0'..=b'9' => {
            let end = end_of_run(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
            (Some(Token::Value), end)
        }
        b'"' if rest.starts_with(b"\"\"\"") => (Some(Token::Value), at + block_string(rest)?),
        b'"' => (Some(Token::Value), at + string(rest)?),
        // A byte order mark is ignored at the start of the document and invalid elsewhere.
        0xef if at == 0 && document.starts_with('\u{feff}') => (None, 3),
        _ => return Violation::error("SYNTAX", "unexpected character"),
    })
}

/// Length of a string `"…"`, which may not span lines.
fn string(rest: &[u8]) -> Result<usize, Violation> {
    let mut at = 1;
    loop {
        match rest.get(at) {
            Some(b'"') => return Ok(at + 1),
            Some(b'\\') => at += 2,
            Some(b'\n' | b'\r') | None => return Violation::error("SYNTAX", "unterminated string"),
            Some(_) => at += 1,
        }
    }
}

/// Length of a block string `"""…"""`.
fn block_string(rest: &[u8]) -> Result<usize, Violation> {
    let mut at = 3;
    while at < rest.len() {
        let here = &rest[at..];
        if here.starts_with(b"\"\"\"") {
            return Ok(at + 3);
        }
        at += if here.starts_with(b"\\\"\"\"") { 4 } else { 1 };
    }
    Violation::error("SYNTAX", "unterminated string")
}
