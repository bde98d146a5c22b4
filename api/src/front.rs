//! Everything the front door stands on, put together once at start.

mod places;

use std::sync::Arc;

use async_graphql::dynamic::SchemaError;
use commands::kernel::Commands;
use projections::kernel::Models;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::auth::AuthConfig;
use crate::backend::Backend;
use crate::error::Problem;
use crate::graphql::{Budgets, Graph};

pub(crate) use places::{Most, Place, Places};

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
    pub(crate) sockets: Arc<Places>,
    pub(crate) streams: Arc<Places>,
    pub(crate) subscriptions: Arc<Places>,
    /// Where sockets wait until somebody has said who calls.
    anteroom: Arc<Semaphore>,
}

/// Sockets that one process holds open.
const SOCKETS: Most = Most { code: "TOO_MANY_SOCKETS", customer: 20, member: 2_000, tenant: 3_000, all: 4_096 };
/// Event streams that one process holds open. Each is a connection, and most connections are for requests.
const STREAMS: Most = Most { code: "TOO_MANY_STREAMS", customer: 20, member: 2_000, tenant: 3_000, all: 4_096 };
/// Subscriptions that one process answers, over sockets and as event streams.
const SUBSCRIPTIONS: Most =
    Most { code: "TOO_MANY_SUBSCRIPTIONS", customer: 100, member: 5_000, tenant: 10_000, all: 20_000 };
/// Sockets of which nobody knows yet who calls; each of them waits for three seconds at most.
const STRANGERS_MOST: u32 = 512;

impl Front {
    /// Builds the GraphQL schema from the catalogues; fails where they do not fit together, which a test rules out.
    pub fn new(backend: Arc<dyn Backend>, auth: AuthConfig, settings: Settings) -> Result<Self, SchemaError> {
        let (commands, models) = (Commands::all(), Models::all());
        let graph = Graph::new(&commands, &models, settings.introspection)?;
        let budgets = Budgets::new(settings.cost_most, settings.cost_restored_per_s);
        let openapi = crate::openapi::document(&commands).to_string();
        let sdl = settings.introspection.then(|| graph.sdl());
        let [sockets, streams, subscriptions] = [SOCKETS, STREAMS, SUBSCRIPTIONS].map(Places::new);
        let anteroom = Arc::new(Semaphore::new(STRANGERS_MOST as usize));
        Ok(Self {
            backend,
            commands,
            models,
            auth,
            settings,
            graph,
            budgets,
            openapi,
            sdl,
            sockets,
            streams,
            subscriptions,
            anteroom,
        })
    }

    /// A place for a socket of which nobody knows yet who calls.
    pub(crate) fn admit_stranger(&self) -> Result<OwnedSemaphorePermit, Problem> {
        Arc::clone(&self.anteroom).try_acquire_owned().map_err(|_| places::overloaded())
    }

    /// Waits until every socket is closed, which they are by themselves when the process begins to shut down.
    pub async fn sockets_closed(&self) {
        // Who has left the anteroom has a place of her own by then.
        let anteroom = self.anteroom.acquire_many(STRANGERS_MOST).await;
        self.sockets.all_free().await;
        drop(anteroom);
    }
}
