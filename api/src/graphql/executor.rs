//! Schema and dependencies of the resolvers, shared by all requests.

pub(super) mod viewer;

use std::sync::Arc;
use std::time::Duration;

use async_graphql::dynamic::Schema;
use projections::kernel::Models;

use super::persisted_documents::PersistedDocuments;
use super::query_cost::CostEstimator;
use super::read_plan::{ReadPlans, RowTypes};
use crate::admission::concurrency::ConcurrencyLimiter;
use crate::admission::cost_limiter::CostLimiters;
use crate::command_intake::CommandIntake;
use crate::port::Backend;

/// Time limit of a query, after which its database statements are cancelled.
pub(super) const QUERY_TIMEOUT: Duration = Duration::from_secs(5);

/// The executable schema, with the row types, the cost estimator and the example query that belong to it.
pub(crate) struct Graph {
    pub(super) schema: Schema,
    pub(super) row_types: RowTypes,
    pub(super) cost_estimator: CostEstimator,
    pub(super) example_query: String,
}

/// GraphQL execution against one backend.
pub(crate) struct GraphqlExecutor {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) intake: Arc<CommandIntake>,
    pub(crate) models: Arc<Models>,
    pub(crate) graph: Graph,
    pub(crate) documents: PersistedDocuments,
    pub(crate) plans: ReadPlans,
    pub(crate) cost_limiters: CostLimiters,
    pub(crate) subscriptions: Arc<ConcurrencyLimiter>,
}
