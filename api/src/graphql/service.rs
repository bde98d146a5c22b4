//! Everything that resolvers use, shared by all requests.

use std::sync::Arc;
use std::time::Duration;

use async_graphql::dynamic::Schema;
use projections::kernel::Models;

use super::cost::Costs;
use crate::admission::concurrency::ConcurrencyLimiter;
use crate::admission::query_budget::QueryBudgets;
use crate::command_intake::CommandIntake;
use crate::port::Backend;

/// Time limit of a query, and of the first page of a subscription; its statements are cancelled after that.
pub(super) const READ_WITHIN: Duration = Duration::from_secs(5);

/// The GraphQL schema and the cost of its fields.
pub(crate) struct Graph {
    pub(super) schema: Schema,
    pub(super) costs: Costs,
}

/// GraphQL over one engine.
pub(crate) struct Service {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) intake: Arc<CommandIntake>,
    pub(crate) models: Models,
    pub(crate) graph: Graph,
    pub(crate) budgets: QueryBudgets,
    pub(crate) subscriptions: Arc<ConcurrencyLimiter>,
}
