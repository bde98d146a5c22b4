//! GraphQL's words, found in one pass without recursion.

use super::{DIRECTIVES_MOST, NESTING_MOST, Refused, TOKENS_MOST};

/// One word of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// One of `! $ & ( ) : = @ [ ] { | }`.
    Mark(u8),
    /// `...`
    Spread,
    Name(&'a str),
    /// A number or a text; which one does not matter here.
    Value,
}

/// All words of a document, as long as there are not too many and brackets are balanced and not nested too deep.
pub(super) fn tokens(document: &str) -> Result<Vec<Token<'_>>, Refused> {
    let mut tokens = Vec::new();
    let mut open = Vec::new();
    let mut directives = 0;
    let mut at = 0;
    while let Some(&byte) = document.as_bytes().get(at) {
        let (token, end) = next(document, at, byte)?;
        at = end;
        let Some(token) = token else { continue };
        match token {
            Token::Mark(mark @ (b'(' | b'[' | b'{')) => {
                if open.len() == NESTING_MOST {
                    return Refused::because("TOO_DEEP", format!("brackets are nested at most {NESTING_MOST} deep"));
                }
                open.push(mark);
            }
            Token::Mark(mark @ (b')' | b']' | b'}')) if !open.pop().is_some_and(|open| closes(open, mark)) => {
                return Refused::because("SYNTAX", "brackets are not balanced");
            }
            Token::Mark(b'@') => directives += 1,
            _ => {}
        }
        tokens.push(token);
        if tokens.len() > TOKENS_MOST {
            return Refused::because("TOO_MANY_TOKENS", format!("a document has at most {TOKENS_MOST} words"));
        }
        if directives > DIRECTIVES_MOST {
            return Refused::because(
                "TOO_MANY_DIRECTIVES",
                format!("a document has at most {DIRECTIVES_MOST} directives"),
            );
        }
    }
    if open.is_empty() { Ok(tokens) } else { Refused::because("SYNTAX", "brackets are not balanced") }
}

fn closes(open: u8, mark: u8) -> bool {
    matches!((open, mark), (b'(', b')') | (b'[', b']') | (b'{', b'}'))
}

/// The word that begins here, if one does, and where the next one may begin.
fn next(document: &str, at: usize, byte: u8) -> Result<(Option<Token<'_>>, usize), Refused> {
    let rest = &document.as_bytes()[at..];
    let run = |belongs: fn(&u8) -> bool| at + rest.iter().take_while(|byte| belongs(byte)).count();
    Ok(match byte {
        b' ' | b'\t' | b'\n' | b'\r' | b',' => (None, at + 1),
        b'#' => (None, run(|byte| !matches!(byte, b'\n' | b'\r'))),
        b'!' | b'$' | b'&' | b'(' | b')' | b':' | b'=' | b'@' | b'[' | b']' | b'{' | b'|' | b'}' => {
            (Some(Token::Mark(byte)), at + 1)
        }
        b'.' if rest.starts_with(b"...") => (Some(Token::Spread), at + 3),
        b'_' | b'A'..=b'Z' | b'a'..=b'z' => {
            let end = run(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
            (Some(Token::Name(&document[at..end])), end)
        }
        b'-' | b'0'..=b'9' => {
            let end = run(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
            (Some(Token::Value), end)
        }
        b'"' if rest.starts_with(b"\"\"\"") => (Some(Token::Value), at + block(rest)?),
        b'"' => (Some(Token::Value), at + text(rest)?),
        // Only at the very beginning is a byte order mark no word.
        0xef if at == 0 && document.starts_with('\u{feff}') => (None, 3),
        _ => return Refused::because("SYNTAX", "a character stands where none may"),
    })
}

/// The length of `"…"`, which ends on its own line.
fn text(rest: &[u8]) -> Result<usize, Refused> {
    let mut at = 1;
    loop {
        match rest.get(at) {
            Some(b'"') => return Ok(at + 1),
            Some(b'\\') => at += 2,
            Some(b'\n' | b'\r') | None => return Refused::because("SYNTAX", "a text has no end"),
            Some(_) => at += 1,
        }
    }
}

/// The length of `"""…"""`.
fn block(rest: &[u8]) -> Result<usize, Refused> {
    let mut at = 3;
    while at < rest.len() {
        let here = &rest[at..];
        if here.starts_with(b"\"\"\"") {
            return Ok(at + 3);
        }
        at += if here.starts_with(b"\\\"\"\"") { 4 } else { 1 };
    }
    Refused::because("SYNTAX", "a text has no end")
}
