//! Bounds of the argument `first`.

/// Page size without `first`.
pub(super) const FIRST: i32 = 20;
/// Highest page size.
pub(super) const FIRST_MOST: i64 = 100;
