//! The laboratory: demo, benchmarks, fault scenarios, and what they share. Not part of the product.

pub mod bench;
pub mod cli;
pub mod demo;
pub mod fleet;
pub mod harness;
pub mod hosted;
pub mod laws;
pub mod machines;
