//! Application state: the parts that handlers share, built once at start. A handler takes the parts that it uses, as
//! `State` arguments; no handler takes the whole state.

use std::sync::Arc;

use async_graphql::dynamic::SchemaError;
use axum::extract::FromRef;

use crate::admission::connections::ConnectionLimits;
use crate::admission::cost_limiter::CostLimiters;
pub use crate::admission::cost_limiter::{QueryBudget, QueryBudgets};
use crate::auth::{AuthConfig, Authenticator};
use crate::command_intake::CommandIntake;
use crate::graphql::{GraphqlExecutor, PersistedDocuments, ReadPlans, RegisteredDocuments};
use crate::port::Backend;
use crate::registries::Registries;

/// Settings of the API, set by the process that serves it.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Allows introspection and shows the schema; on for laptops, off in production.
    pub introspection: bool,
    /// Budgets for queries.
    pub query_budgets: QueryBudgets,
    /// GraphQL documents that clients may name by their hash.
    pub registered_documents: RegisteredDocuments,
}

/// The application state; clones share its parts.
#[derive(Clone)]
pub struct AppState {
    backend: Arc<dyn Backend>,
    auth: Arc<Authenticator>,
    intake: Arc<CommandIntake>,
    graphql: Arc<GraphqlExecutor>,
    connections: Arc<ConnectionLimits>,
    documents: Arc<Documents>,
}

/// Generated documents, rendered once because unauthenticated callers may read them.
pub(crate) struct Documents {
    pub(crate) openapi: String,
    /// The GraphQL schema; `None` where introspection is off.
    pub(crate) graphql: Option<String>,
    /// A valid query with which the GraphQL console starts.
    pub(crate) example_query: String,
}

impl AppState {
    /// Builds the GraphQL schema from the catalogues; fails if they do not fit together, which a test rules out.
    pub fn new(
        backend: Arc<dyn Backend>,
        auth: AuthConfig,
        registries: Registries,
        settings: Settings,
    ) -> Result<Self, SchemaError> {
        let Registries { commands, models, relations, .. } = registries;
        let openapi = crate::openapi::document(&commands).to_string();
        let cost_limiters = CostLimiters::new(settings.query_budgets);
        let connections = Arc::new(ConnectionLimits::new());
        let graph = crate::graphql::Graph::new(&commands, &models, relations, settings.introspection)?;
        let documents = Documents {
            openapi,
            graphql: settings.introspection.then(|| graph.sdl()),
            example_query: graph.example_query().to_owned(),
        };
        let intake = Arc::new(CommandIntake::new(Arc::clone(&backend), commands));
        let graphql = GraphqlExecutor {
            backend: Arc::clone(&backend),
            intake: Arc::clone(&intake),
            models,
            graph,
            documents: PersistedDocuments::new(settings.registered_documents),
            plans: ReadPlans::default(),
            cost_limiters,
            subscriptions: Arc::clone(&connections.subscriptions),
        };
        Ok(Self {
            backend,
            auth: Arc::new(Authenticator::new(auth)),
            intake,
            graphql: Arc::new(graphql),
            connections,
            documents: Arc::new(documents),
        })
    }

    /// Number of GraphQL requests that were answered by a read plan.
    pub fn planned_answers(&self) -> u64 {
        self.graphql.plans.answers()
    }

    /// Waits until all WebSockets are closed. They close by themselves when the process begins to shut down.
    pub async fn sockets_closed(&self) {
        self.connections.sockets_closed().await;
    }
}

impl FromRef<AppState> for Arc<dyn Backend> {
    fn from_ref(state: &AppState) -> Self {
        Arc::clone(&state.backend)
    }
}

impl FromRef<AppState> for Arc<Authenticator> {
    fn from_ref(state: &AppState) -> Self {
        Arc::clone(&state.auth)
    }
}

impl FromRef<AppState> for Arc<CommandIntake> {
    fn from_ref(state: &AppState) -> Self {
        Arc::clone(&state.intake)
    }
}

impl FromRef<AppState> for Arc<GraphqlExecutor> {
    fn from_ref(state: &AppState) -> Self {
        Arc::clone(&state.graphql)
    }
}

impl FromRef<AppState> for Arc<ConnectionLimits> {
    fn from_ref(state: &AppState) -> Self {
        Arc::clone(&state.connections)
    }
}

impl FromRef<AppState> for Arc<Documents> {
    fn from_ref(state: &AppState) -> Self {
        Arc::clone(&state.documents)
    }
}
