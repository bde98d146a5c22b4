//! Chores of the house: getting a machine ready, checking what CI checks, writing what is generated.
//!
//! **Never here:** a dependency that takes longer to compile than the chore takes to run.
//! **To add a chore:** one arm and one line of help in `main.rs`. To add a rule of the house: one entry in
//! [`tidy::RULES`].
#![allow(clippy::print_stdout, reason = "a chore talks to the person who started it")]

pub mod capabilities;
pub mod check;
pub mod house;
pub mod programs;
mod rust_source;
pub mod servers;
pub mod setup;
pub mod tidy;
