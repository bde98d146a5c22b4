//! GraphQL document guard: limits on size, nesting and fragments, checked before the parser of async-graphql runs.
//!
//! The parser aborts the process on values nested about 1,500 deep (a document of 3 KB), and the validator of the same
//! crate expands fragments without bound (a document of 1 KB takes 90 seconds). Its limits of depth and complexity are
//! applied too late for both, and an abort cannot be caught as a panic. This module visits each token once and measures
//! each fragment once.

mod lexer;
mod limits;
mod outline;
#[cfg(test)]
mod tests;
mod violation;

use lexer::tokens;
use outline::Outline;

pub use limits::*;
pub use violation::Violation;

/// Checks a document against all limits. A document that passes may still be invalid.
pub fn check(document: &str) -> Result<(), Violation> {
    if document.len() > BYTES_MOST {
        return Violation::error("DOCUMENT_TOO_LARGE", format!("a document has at most {BYTES_MOST} bytes"));
    }
    let tokens = tokens(document)?;
    Outline::of(&tokens)?.check()
}
