//! Registries of an engine: aggregates, commands, read models and relations, collected at start.

use std::sync::Arc;

use commands::kernel::{Commands, StateRegistry};
use projections::kernel::Models;

use crate::relation::Relations;

/// Registries of an engine. Each component takes those that it needs.
#[derive(Clone)]
pub struct Registries {
    /// Aggregate types, with the versions of their states and events.
    pub states: Arc<StateRegistry>,
    /// Commands, policies and effects.
    pub commands: Arc<Commands>,
    /// Read models.
    pub models: Arc<Models>,
    /// Relations between the read models.
    pub relations: Relations,
}

impl Registries {
    /// The registries of all contexts.
    pub fn all() -> Self {
        Self {
            states: Arc::new(StateRegistry::all()),
            commands: Arc::new(Commands::all()),
            models: Arc::new(Models::all()),
            relations: crate::relations(),
        }
    }
}
