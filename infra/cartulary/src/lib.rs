//! Composition root of the product: settings, roles, subcommands, embedded PostgreSQL.
//!
//! **Never here:** a subject of its own; each component is a crate below and owns its configuration.

pub mod cli;
pub mod embedded;
pub mod engine;
mod parts;
pub mod relief;
pub mod running;
pub mod settings;
