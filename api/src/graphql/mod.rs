//! GraphQL schema and execution. The schema is built at start from the catalogues of commands and read models; the code
//! here is the same for all contexts.

mod answer;
mod batcher;
mod example;
mod executor;
mod filters;
mod mutations;
mod names;
mod page_size;
mod persisted_documents;
mod projection_status;
mod queries;
mod query_cost;
mod read_plan;
mod relation_fields;
mod row_type;
mod rows;
mod scalars;
mod session;
mod stream_history;
mod subscriptions;
#[cfg(test)]
mod tests;
mod types;
mod value;
mod work;

use std::sync::Arc;

use async_graphql::SDLExportOptions;
use async_graphql::dynamic::{Object, Schema, SchemaError, Subscription};
use commands::kernel::Commands;
use projections::kernel::Models;

pub(crate) use answer::{
    CheckedRequest, GraphqlRequest, RequestError, SubscriptionMessage, answer, check, request_error, subscribe,
};
pub(crate) use executor::{Graph, GraphqlExecutor};
pub(crate) use persisted_documents::PersistedDocuments;
pub use persisted_documents::{RegisteredDocuments, WrongId};
pub(crate) use read_plan::ReadPlans;

use filters::Filterable;
use query_cost::CostEstimator;
use read_plan::RowTypes;
use types::Types;

use crate::guard::INTROSPECTION_DEPTH_MOST;
use crate::relation::Relations;

impl Graph {
    /// Builds the schema. Fails if the relations do not fit the read models, or if names collide.
    pub(crate) fn new(
        commands: &Commands,
        models: &Models,
        relations: Relations,
        introspection: bool,
    ) -> Result<Self, SchemaError> {
        if let Some(error) = relations.errors(models).into_iter().next() {
            return Err(SchemaError(error));
        }
        let relations = Arc::new(relations);
        let cost_estimator = CostEstimator::new(models, Arc::clone(&relations), &[stream_history::PAGE, work::PAGE]);
        let example_query = example::query(models, &relations);
        let (schema, row_types) = schema(commands, models, relations, introspection)?;
        Ok(Self { schema, row_types, cost_estimator, example_query })
    }

    /// A valid query with which the console starts.
    pub(crate) fn example_query(&self) -> &str {
        &self.example_query
    }

    /// The schema in GraphQL's schema definition language.
    pub(crate) fn sdl(&self) -> String {
        let options = SDLExportOptions::new().use_space_ident().indent_width(2).prefer_single_line_descriptions();
        let text = self.schema.sdl_with_options(options.include_specified_by());
        // The printer writes all arguments on one line if one of them has a description.
        let text = text.replace("(    ", "(\n    ").replace(",    ", ",\n    ");
        let lines: Vec<_> = text.lines().map(str::trim_end).collect();
        format!("{}\n", lines.join("\n").trim())
    }
}

/// The full schema in GraphQL's schema definition language, as it is published to clients.
pub fn sdl() -> Result<String, SchemaError> {
    Ok(Graph::new(&Commands::all(), &Models::all(), crate::relations(), true)?.sdl())
}

fn schema(
    commands: &Commands,
    models: &Models,
    relations: Arc<Relations>,
    introspection: bool,
) -> Result<(Schema, RowTypes), SchemaError> {
    let (mut types, mut row_types) = (Types::default(), RowTypes::default());
    let mut query = Object::new("Query")
        .description("Read models: one row by its key, or a page of rows; and the state of background work.");
    query = query.field(queries::server_time());
    let mut mutation =
        Object::new("Mutation").description("Commands, one field each, and changes of background work by operators.");
    let mut subscription = Subscription::new("Subscription").description(
        "Read models, with updates when rows change. Relations are not available here; read them with a query.",
    );
    // A second line of defence: the guard and the cost estimator apply exact limits before execution.
    let mut schema = Schema::build("Query", Some("Mutation"), Some("Subscription"))
        .limit_depth(INTROSPECTION_DEPTH_MOST)
        .limit_complexity(usize::try_from(query_cost::COST_MOST).unwrap_or(usize::MAX))
        .disable_suggestions();
    if !introspection {
        schema = schema.disable_introspection();
    }
    for model in models.iter().cloned().map(Arc::new) {
        let filterable = Filterable::of(&model);
        query = query.field(queries::one(&model, &relations)).field(queries::many(&model, &relations, &filterable));
        let (object, row_type) = rows::object(&model, models, &relations, &mut types);
        schema = filterable.register(schema).register(object);
        row_types.add(row_type, &filterable);
        let [connection, edge] = queries::connection_types(&model);
        schema = schema.register(connection).register(edge);
        subscription = subscription.field(subscriptions::one(&model, &relations)).field(subscriptions::many(
            &model,
            &relations,
            &filterable,
        ));
        for object in subscriptions::objects(&model) {
            schema = schema.register(object);
        }
    }
    for kind in commands.iter() {
        let (field, payload) = mutations::mutation(kind, &mut types);
        mutation = mutation.field(field);
        schema = schema.register(payload);
    }
    query = query.field(projection_status::field()).field(stream_history::field());
    query = work::queries().into_iter().fold(query, Object::field);
    mutation = work::mutations().into_iter().fold(mutation, Object::field);
    schema = mutations::register(filters::register(scalars::register(schema)));
    schema = work::register(stream_history::register(projection_status::register(schema)));
    let schema = types.register(schema).register(queries::page_info());
    Ok((schema.register(query).register(mutation).register(subscription).finish()?, row_types))
}
