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
mod queries;
mod query_cost;
mod relation_fields;
mod rows;
mod scalars;
mod session;
mod subscriptions;
#[cfg(test)]
mod tests;
mod types;
mod value;

use std::sync::Arc;

use async_graphql::SDLExportOptions;
use async_graphql::dynamic::{Object, Schema, SchemaError, Subscription};
use commands::kernel::Commands;
use projections::kernel::Models;

pub(crate) use answer::{
    CheckedRequest, GraphqlRequest, RequestError, SubscriptionMessage, answer, check, request_error, subscribe,
};
pub(crate) use executor::{Graph, GraphqlExecutor};

use filters::Filterable;
use query_cost::CostEstimator;
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
        let connections = models.iter().map(projections::kernel::Model::fields);
        let connections = connections.chain(relations.connections().map(Into::into)).collect();
        let cost_estimator = CostEstimator { connections };
        let example_query = example::query(models, &relations);
        let schema = schema(commands, models, Arc::new(relations), introspection)?;
        Ok(Self { schema, cost_estimator, example_query })
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
) -> Result<Schema, SchemaError> {
    let mut types = Types::default();
    let mut query = Object::new("Query").description("Read models: one row by its key, or a page of rows.");
    query = query.field(queries::server_time());
    let mut mutation = Object::new("Mutation").description("Commands. Each field is one command.");
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
        schema = filterable.register(schema).register(rows::object(&model, models, &relations, &mut types));
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
    schema = mutations::register(filters::register(scalars::register(schema)));
    types
        .register(schema)
        .register(queries::page_info())
        .register(query)
        .register(mutation)
        .register(subscription)
        .finish()
}
