//! What a GraphQL document must satisfy before the real parser sees one byte of it.
//!
//! The parser aborts the process on values nested some 1,500 deep, and its validator expands fragments without end:
//! 3 KB kill a server, 1 KB costs it a minute and a half. Limits of depth and complexity come too late for both, and
//! a panic hook cannot catch an abort. So everything here is linear in the document, memoised, and bounded.

mod lexer;
mod outline;
#[cfg(test)]
mod tests;

use lexer::tokens;
use outline::Outline;

/// A document of a storefront has one or two kilobytes.
pub const BYTES_MOST: usize = 16 * 1_024;
pub const TOKENS_MOST: usize = 1_000;
/// Brackets of all kinds within each other.
pub const NESTING_MOST: usize = 32;
pub const ALIASES_MOST: usize = 15;
pub const ROOT_FIELDS_MOST: usize = 20;
pub const DIRECTIVES_MOST: usize = 20;
pub const FRAGMENTS_MOST: usize = 32;
/// Spreads after every fragment was put where it is used.
pub const SPREADS_MOST: u64 = 500;
/// Fields after every fragment was put where it is used.
pub const FIELDS_MOST: u64 = 2_000;
/// Selections within each other.
pub const DEPTH_MOST: usize = 8;
/// The schema is asked for with lists of lists of types, so questions about nothing else may go deeper.
pub const INTROSPECTION_DEPTH_MOST: usize = 15;

/// Why a document is not even parsed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// Stable and in capitals.
    pub code: &'static str,
    pub message: String,
}

impl Refused {
    fn because<T>(code: &'static str, message: impl Into<String>) -> Result<T, Self> {
        Err(Self { code, message: message.into() })
    }
}

/// Refuses what would harm the parser or cost more than any honest question. What passes may still be wrong.
pub fn check(document: &str) -> Result<(), Refused> {
    if document.len() > BYTES_MOST {
        return Refused::because("DOCUMENT_TOO_LARGE", format!("a document has at most {BYTES_MOST} bytes"));
    }
    let tokens = tokens(document)?;
    Outline::of(&tokens)?.check()
}
