//! GraphQL, built at start from the catalogues: nothing here knows a context.

mod answer;
mod batcher;
mod cost;
mod filters;
mod mutations;
mod names;
mod page_size;
mod queries;
mod relation_fields;
mod rows;
mod scalars;
mod service;
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

pub(crate) use answer::{Asked, Checked, Refusal, Told, answer, check, refused_by, subscribe};
pub(crate) use service::{Graph, Service};

use cost::Costs;
use filters::Askable;
use types::Types;

use crate::guard::INTROSPECTION_DEPTH_MOST;
use crate::relation::Relations;

impl Graph {
    /// Fails where the catalogues do not fit together.
    pub(crate) fn new(
        commands: &Commands,
        models: &Models,
        relations: Relations,
        introspection: bool,
    ) -> Result<Self, SchemaError> {
        if let Some(flaw) = relations.flaws(models).into_iter().next() {
            return Err(SchemaError(flaw));
        }
        let connections = models.iter().map(projections::kernel::Model::fields);
        let connections = connections.chain(relations.connections().map(Into::into)).collect();
        let schema = schema(commands, models, Arc::new(relations), introspection)?;
        Ok(Self { schema, costs: Costs { connections } })
    }

    pub(crate) fn sdl(&self) -> String {
        let options = SDLExportOptions::new().use_space_ident().indent_width(2).prefer_single_line_descriptions();
        let text = self.schema.sdl_with_options(options.include_specified_by());
        // The printer joins arguments in one line as soon as one of them has a description.
        let text = text.replace("(    ", "(\n    ").replace(",    ", ",\n    ");
        let lines: Vec<_> = text.lines().map(str::trim_end).collect();
        format!("{}\n", lines.join("\n").trim())
    }
}

/// The schema as text, for clients and for the eye.
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
    let mut query = Object::new("Query").description("What there is to see.");
    let mut mutation = Object::new("Mutation").description("What can be asked for. One field is one command.");
    let mut subscription = Subscription::new("Subscription")
        .description("What there is to see, now and whenever it changes. Relations are asked for with queries.");
    // The guard has counted more exactly; these are a second fence.
    let mut schema = Schema::build("Query", Some("Mutation"), Some("Subscription"))
        .limit_depth(INTROSPECTION_DEPTH_MOST)
        .limit_complexity(usize::try_from(cost::COST_MOST).unwrap_or(usize::MAX))
        .disable_suggestions();
    if !introspection {
        schema = schema.disable_introspection();
    }
    for model in models.iter().cloned().map(Arc::new) {
        let askable = Askable::of(&model);
        query = query.field(queries::one(&model, &relations)).field(queries::many(&model, &relations, &askable));
        schema = askable.register(schema).register(rows::object(&model, models, &relations, &mut types));
        let [connection, edge] = queries::connection_types(&model);
        schema = schema.register(connection).register(edge);
        subscription = subscription
            .field(subscriptions::one(&model, &relations))
            .field(subscriptions::many(&model, &relations, &askable));
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
