//! Replay of the event log: rebuilds of read models, and digests that prove two of them equal.
//!
//! **Here:** code that reads history in order. **Never here:** decisions, a database, a clock. **To add another kind of
//! replay:** one module; its dependencies on other layers are ports.

pub mod digest;
pub mod rebuild;
