//! Everything the front door stands on, put together once at start.

use std::sync::Arc;

use async_graphql::dynamic::SchemaError;
use commands::kernel::Commands;
use projections::kernel::Models;
use tokio::sync::Semaphore;

use crate::auth::AuthConfig;
use crate::backend::Backend;
use crate::graphql::{Budgets, Graph};

/// What operators may choose.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Whether callers may ask for the schema; on laptops yes, in production no.
    pub introspection: bool,
    /// How much cost a caller may have saved up.
    pub cost_most: u32,
    /// How much cost a caller gets back each second.
    pub cost_restored_per_s: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { introspection: false, cost_most: 20_000, cost_restored_per_s: 1_000 }
    }
}

/// The engine, the catalogues, the keys and the GraphQL schema.
pub struct Front {
    pub backend: Arc<dyn Backend>,
    pub commands: Commands,
    pub models: Models,
    pub auth: AuthConfig,
    pub settings: Settings,
    pub(crate) graph: Graph,
    pub(crate) budgets: Budgets,
    /// Written once: whoever asks for them is not even known.
    pub(crate) openapi: String,
    pub(crate) sdl: Option<String>,
    /// Places for sockets, and for subscriptions of any kind.
    pub(crate) sockets: Arc<Semaphore>,
    pub(crate) subscriptions: Arc<Semaphore>,
}

/// Sockets that one process holds open.
const SOCKETS_MOST: u32 = 4_096;
/// Subscriptions that one process answers, over sockets and as event streams.
const SUBSCRIPTIONS_MOST: usize = 20_000;

impl Front {
    /// Builds the GraphQL schema from the catalogues; fails where they do not fit together, which a test rules out.
    pub fn new(backend: Arc<dyn Backend>, auth: AuthConfig, settings: Settings) -> Result<Self, SchemaError> {
        let (commands, models) = (Commands::all(), Models::all());
        let graph = Graph::new(&commands, &models, settings.introspection)?;
        let budgets = Budgets::new(settings.cost_most, settings.cost_restored_per_s);
        let openapi = crate::openapi::document(&commands).to_string();
        let sdl = settings.introspection.then(|| graph.sdl());
        let sockets = Arc::new(Semaphore::new(SOCKETS_MOST as usize));
        let subscriptions = Arc::new(Semaphore::new(SUBSCRIPTIONS_MOST));
        Ok(Self { backend, commands, models, auth, settings, graph, budgets, openapi, sdl, sockets, subscriptions })
    }

    /// Waits until every socket is closed, which they are by themselves when the process begins to shut down.
    pub async fn sockets_closed(&self) {
        self.sockets.acquire_many(SOCKETS_MOST).await.ok();
    }
}
