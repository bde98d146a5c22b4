//! Project tasks: preparing a machine, running what CI runs, writing generated files.
//!
//! **Never here:** a dependency that takes longer to compile than the task takes to run.
//! **To add a task:** one arm and one line of help in `main.rs`. To add a rule: one entry in [`tidy::RULES`].
#![allow(clippy::print_stdout, reason = "tasks print for the person who started them")]

pub mod capabilities;
pub mod check;
mod deny;
pub mod programs;
mod rust_source;
pub mod servers;
pub mod setup;
pub mod tidy;
pub mod workspace;
