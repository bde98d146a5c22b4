//! Bounds of the argument `first`.

/// How many rows come without being asked for a number.
pub(super) const FIRST: i32 = 20;
/// A page that is longer is not read by anybody.
pub(super) const FIRST_MOST: i64 = 100;
