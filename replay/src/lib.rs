//! Replay of the event log: rebuilds of read models, and digests and row-level comparisons that prove two tables equal.
//!
//! **Here:** code that reads history in order. **Never here:** decisions, a database, a clock. **To add another kind of
//! replay:** one module that reads and writes through ports (traits).

pub mod comparison;
pub mod digest;
pub mod rebuild;
