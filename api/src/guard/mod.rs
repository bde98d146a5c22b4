//! GraphQL document guard: limits on size, nesting and fragments, checked before the parser of async-graphql runs.
//!
//! That parser aborts the process on values nested about 1,500 deep, and its validator expands fragments without bound:
//! a document of 3 KB kills a server, one of 1 KB costs it 90 seconds. Its own limits of depth and complexity are
//! applied too late for both, and a panic hook cannot catch an abort. All work in this module is linear in the size of
//! the document, memoised, and bounded.

mod lexer;
mod outline;
#[cfg(test)]
mod tests;

use lexer::tokens;
use outline::Outline;

/// Highest size of a document. Documents of storefronts have one or two kilobytes.
pub const BYTES_MOST: usize = 16 * 1_024;
/// Highest number of lexical tokens.
pub const TOKENS_MOST: usize = 1_000;
/// Highest nesting of brackets of all kinds.
pub const NESTING_MOST: usize = 32;
/// Highest number of aliases in a document.
pub const ALIASES_MOST: usize = 15;
/// Highest number of root fields of an operation, with fragments expanded.
pub const ROOT_FIELDS_MOST: usize = 20;
/// Highest number of directives in a document.
pub const DIRECTIVES_MOST: usize = 20;
/// Highest number of named fragments in a document.
pub const FRAGMENTS_MOST: usize = 32;
/// Highest number of fragment spreads, with fragments expanded.
pub const SPREADS_MOST: u64 = 500;
/// Highest number of fields, with fragments expanded.
pub const FIELDS_MOST: u64 = 2_000;
/// Highest nesting of selections.
pub const DEPTH_MOST: usize = 8;
/// Highest nesting of selections of an introspection query. The standard one nests `ofType` deeply.
pub const INTROSPECTION_DEPTH_MOST: usize = 15;

/// A limit that a document exceeds, or an error of its syntax.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Violation {
    /// Stable error code in upper case.
    pub code: &'static str,
    pub message: String,
}

impl Violation {
    fn error<T>(code: &'static str, message: impl Into<String>) -> Result<T, Self> {
        Err(Self { code, message: message.into() })
    }
}

/// Checks a document against all limits. A document that passes may still be invalid.
pub fn check(document: &str) -> Result<(), Violation> {
    if document.len() > BYTES_MOST {
        return Violation::error("DOCUMENT_TOO_LARGE", format!("a document has at most {BYTES_MOST} bytes"));
    }
    let tokens = tokens(document)?;
    Outline::of(&tokens)?.check()
}
