//! Tells readers of a row as soon as it has changed (design 5, *Live*).
//!
//! **Here:** what the projector of this process has just changed ([`Changes`]).

mod changes;

pub use changes::{Batch, Changes, News};
