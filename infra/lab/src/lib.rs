//! Lab: demo, benchmarks and fault scenarios, and the modules that they and the tests share. Not part of the product.

pub mod bench;
pub mod cli;
pub mod cqrs_es_adapter;
pub mod demo;
pub mod fleet;
pub mod harness;
pub mod log_invariants;
pub mod machines;
