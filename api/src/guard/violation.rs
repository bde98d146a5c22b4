//! The error of the guard.

/// A limit that a document exceeds, or an error of its syntax.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Violation {
    /// Stable error code in upper case.
    pub code: &'static str,
    pub message: String,
}

impl Violation {
    pub(super) fn error<T>(code: &'static str, message: impl Into<String>) -> Result<T, Self> {
        Err(Self { code, message: message.into() })
    }
}
