//! The top floor: PostgreSQL, configuration and wiring, and the only place with a clock.
//!
//! **Never here:** a decision of the business. What infra does is asked for by a port of a floor below.
//! **To add a part:** one module, wired up in the binary.

pub mod embedded;
pub mod scribe;
pub mod vault;
