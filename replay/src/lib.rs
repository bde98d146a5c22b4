//! Reading the past: read models built anew from the log, and digests that prove two of them alike.
//!
//! **Here:** what reads history in order. **Never here:** decisions, a database, a clock. **To add a way of reading
//! the past:** one module; what it needs from below or above is a port.

pub mod digest;
pub mod rebuild;
