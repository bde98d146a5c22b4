//! The product: settings, composition root, subcommands, embedded PostgreSQL.
//!
//! **Never here:** a subject of its own. Each component is a crate below and takes its own configuration; this crate parses
//! the settings, hands them out, and starts and stops what the role of the process needs.

pub mod cli;
mod components;
pub mod configuration;
pub mod edge_protection;
pub mod embedded;
pub mod embedded_engine;
pub mod engine;
pub mod process;
pub mod roles;
pub mod settings;

pub use components::at_capacity;
