//! Loader: reads the rows of a plan, one statement per level and relation.

use std::collections::HashMap;
use std::ops::Range;

use async_graphql::{Value, Variables};
use futures::future::{BoxFuture, try_join_all};
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use projections::kernel::Column;
use projections::query::{CellPages, Filter, Parents, RowQuery, Test};
use serde_json::Value as Json;

use super::Declined;
use super::plan::{PagePlan, Plan, Read, RelatedRead};
use crate::error::Problem;
use crate::graphql::executor::viewer::Viewer;
use crate::graphql::queries::{PageArguments, cursor_scope, key_values, paging};
use crate::graphql::session::READS_MOST;
use crate::graphql::value::Arguments;
use crate::port::Access;

/// One request for the rows of a plan.
pub(super) struct Loader<'a> {
    viewer: &'a Viewer,
    plan: &'a Plan,
    variables: &'a Variables,
    /// True if a field requires a position: cached rows may not have reached it.
    bypass_cache: bool,
}

/// The rows of one read: one page, or one per parent.
pub(super) struct Loaded<'a> {
    pub(super) read: &'a Read,
    pub(super) found: CellPages,
    pub(super) access: Access,
    pub(super) sees_personal: bool,
    /// Prefix of the cursors, and the cells of their values.
    pub(super) cursor: (String, Range<usize>),
    pub(super) has_previous: bool,
    /// In the order of the relations of the row.
    pub(super) related: Vec<Related<'a>>,
}

/// The rows of a relation.
pub(super) struct Related<'a> {
    /// Page of each row; `None` for a row without a value that connects it.
    pub(super) pages: Vec<Option<usize>>,
    pub(super) loaded: Loaded<'a>,
}

impl From<Problem> for Declined {
    fn from(_: Problem) -> Self {
        Self::Unclear
    }
}

impl<'a> Loader<'a> {
    /// Checks the variables, and that the caller may read every read model of the plan.
    pub(super) fn new(viewer: &'a Viewer, plan: &'a Plan, variables: &'a Variables) -> Result<Self, Declined> {
        let inputs = &viewer.service.graph.row_types.inputs;
        for definition in &plan.variables {
            let value = variables.get(&definition.name.node);
            let of = &definition.var_type.node;
            let is_valid = match value {
                Some(value) => inputs.accepts(of, value),
                None => of.nullable || definition.default_value.is_some(),
            };
            if !is_valid {
                return Err(Declined::Unclear);
            }
        }
        let mut is_permitted = true;
        for read in plan.reads() {
            read.visit(&mut |read| is_permitted &= viewer.caller.access(&read.model).is_some());
        }
        let loader = Self { viewer, plan, variables, bypass_cache: false };
        is_permitted.then_some(loader).ok_or(Declined::Unclear)
    }

    /// Reads the rows of all root fields, in their order.
    pub(super) async fn load(mut self) -> Result<Vec<Loaded<'a>>, Declined> {
        self.wait_for_positions().await?;
        let (loader, plan) = (&self, self.plan);
        let reads: Vec<_> = plan.reads().map(|read| loader.read(read, None)).collect();
        stream::iter(reads).buffered(READS_MOST).try_collect().await
    }

    /// Waits until the read models of every field with `minPosition` have reached it.
    async fn wait_for_positions(&mut self) -> Result<(), Declined> {
        let mut waiting = Vec::new();
        for read in self.plan.reads() {
            if let Some(Value::String(token)) = self.arguments(read)?.get("minPosition") {
                let mut models = HashMap::new();
                read.visit(&mut |read| _ = models.insert(&read.model.name, &*read.model));
                let models = models.into_values().collect();
                let at_least = self.viewer.position(token)?;
                waiting.push(self.viewer.service.backend.wait(self.viewer.caller.tenant, at_least, models));
            }
        }
        let is_only = waiting.len() == 1;
        self.bypass_cache = !waiting.is_empty();
        let waited = try_join_all(waiting).await;
        waited.map(|_| ()).map_err(|behind| if is_only { Declined::Behind(behind) } else { Declined::Unclear })
    }

    /// Reads the rows of one field for all of its parents, and then their relations.
    fn read<'f>(&'f self, read: &'a Read, parents: Option<Parents>) -> BoxFuture<'f, Result<Loaded<'a>, Declined>> {
        async move {
            let query = self.query(read, parents.is_some())?;
            let order = query.order_columns(&read.model).map_err(|_| Declined::Unclear)?;
            let mut columns: Vec<&Column> =
                read.row.columns.iter().map(|number| &read.model.columns[*number]).collect();
            let own = columns.len();
            if read.page.as_ref().is_some_and(|page| page.cursors) {
                columns.extend(order);
            }
            let backend = &self.viewer.service.backend;
            let found = backend.cells(&read.model, &columns, &query, parents.as_ref()).await;
            let found = found.map_err(|_| Declined::Unclear)?;
            let relations: Vec<_> = read.row.relations.iter().map(|relation| self.related(relation, &found)).collect();
            let related = stream::iter(relations).buffered(READS_MOST).try_collect().await?;
            Ok(Loaded {
                read,
                access: self.viewer.access(&read.model)?,
                sees_personal: self.viewer.caller.sees_personal(&read.model),
                cursor: (cursor_scope(&read.model, &query), own..columns.len()),
                has_previous: query.after.is_some(),
                related,
                found,
            })
        }
        .boxed()
    }

    /// Reads the rows of a relation: one page for all rows with the same values.
    async fn related(&self, relation: &'a RelatedRead, rows: &CellPages) -> Result<Related<'a>, Declined> {
        let mut parents = Parents { columns: relation.columns.clone(), values: Vec::new() };
        let mut known: HashMap<Vec<&[u8]>, usize> = HashMap::new();
        let mut pages = Vec::with_capacity(rows.cells.rows());
        for row in 0..rows.cells.rows() {
            let texts: Vec<_> = relation.cells.iter().map(|cell| rows.cells.get(row, *cell)).collect();
            if texts.contains(&&b"null"[..]) {
                pages.push(None);
                continue;
            }
            let page = match known.get(&texts) {
                Some(page) => *page,
                None => {
                    let values = texts.iter().map(|text| serde_json::from_slice(text));
                    let values: Vec<Json> = values.collect::<Result<_, _>>().map_err(|_| Declined::Unclear)?;
                    parents.values.push(values);
                    known.insert(texts, parents.values.len() - 1);
                    parents.values.len() - 1
                }
            };
            pages.push(Some(page));
        }
        Ok(Related { pages, loaded: self.read(&relation.read, Some(parents)).await? })
    }

    /// The query of a field, as async-graphql's resolvers make it.
    fn query(&self, read: &Read, has_parents: bool) -> Result<RowQuery, Declined> {
        let arguments = self.arguments(read)?;
        let mut query = match &read.page {
            Some(page) => self.page_query(read, page, &arguments)?,
            None => {
                let mut query = RowQuery::all(self.viewer.caller.tenant, 1);
                query.owner = self.viewer.access(&read.model)?.owner;
                if !has_parents {
                    let values = key_values(self.viewer, &arguments, &read.model)?;
                    let fields = read.model.key.iter().zip(values);
                    let filter =
                        |(field, value): (&&str, Json)| Filter { field: (*field).into(), test: Test::Equals(value) };
                    query.filters = fields.map(filter).collect();
                }
                query
            }
        };
        query.filters.extend(self.viewer.visibility_filter(&read.model));
        query.bypass_cache = self.bypass_cache;
        Ok(query)
    }

    fn page_query(&self, read: &Read, page: &PagePlan, arguments: &Arguments) -> Result<RowQuery, Declined> {
        let is_unset = |name: &String| self.variable(name).is_none();
        let filter_is_unset = page.filter_variable.as_ref().is_some_and(is_unset);
        let arguments = PageArguments { values: arguments, filter_is_unset, count: page.count };
        Ok(paging(self.viewer, &read.model, &arguments)?)
    }

    /// The arguments of a field, with the values of variables; null for a variable without a value.
    fn arguments(&self, read: &Read) -> Result<Arguments, Declined> {
        let resolve = |name: &str| Ok::<_, Declined>(self.variable(name).cloned().unwrap_or_default());
        let arguments = read.field.arguments.iter();
        arguments
            .map(|(name, value)| Ok((name.node.clone(), value.node.clone().into_const_with(|name| resolve(&name))?)))
            .collect()
    }

    /// The value of a variable or its default.
    fn variable(&self, name: &str) -> Option<&'a Value> {
        let definition = self.plan.variables.iter().find(|definition| definition.name.node == name)?;
        let default = definition.default_value.as_ref().map(|value| &value.node);
        self.variables.get(&definition.name.node).or(default)
    }
}
