//! The product: settings, composition root, subcommands, embedded PostgreSQL.
//!
//! **Never here:** functions of a component. Each component is another crate and takes its own configuration; this crate parses
//! the settings, and starts and stops the components that the roles of the process need.

pub mod cli;
mod components;
pub mod configuration;
mod database_pools;
pub mod edge_protection;
pub mod embedded;
pub mod embedded_engine;
pub mod engine;
pub mod process;
pub mod roles;
pub mod settings;
mod stream_history;

pub use components::at_capacity;
