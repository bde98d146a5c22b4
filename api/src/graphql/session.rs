//! Request session: the caller, and the batched reads of one answer.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_graphql::dynamic::ResolverContext;
use async_graphql::{SelectionField, Value};
use commands::kernel::NotNow;
use domain::shared::CustomerId;
use futures::future::join_all;
use projections::kernel::{Key, Model};
use projections::query::{Filter, Page, Parents, RowQuery, Test};
use serde_json::Value as Json;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::batcher::Batcher;
use super::executor::QUERY_TIMEOUT;
use super::executor::viewer::Viewer;
use super::value::from_json;
use crate::error::Problem;
use crate::port::{Behind, Freshness, LiveUpdates, SealedField};
use crate::relation::Relations;

/// State of one request. Its batches are not shared with other requests, so rows read for one caller are not sent to
/// another.
pub(crate) struct Session {
    pub(super) viewer: Viewer,
    pub(super) correlation: Option<Uuid>,
    rows: HashMap<String, Batcher<Key, Result<Option<Value>, Problem>>>,
    relations: HashMap<String, Batcher<Related, Result<Page, Problem>>>,
    sealed_fields: Batcher<SealedField, Result<Option<String>, Problem>>,
    /// True once a field has required a position: from then on this request bypasses the row cache.
    position_required: AtomicBool,
    /// Permits of concurrent reads.
    reads: Semaphore,
    /// Number of rows that fields have read.
    rows_read: Arc<AtomicU64>,
    behind: Option<Behind>,
}

/// The rows that belong to one parent.
struct Related {
    query: RowQuery,
    /// Column that holds the value of the parent.
    column: &'static str,
    value: Json,
}

/// Highest number of keys in one query to the store.
const KEYS_MOST: usize = 100;
/// Number of reads that run at once, so that one request cannot use every database connection.
pub(super) const READS_MOST: usize = 4;

impl Session {
    /// Makes a session. With `behind`, the position that its only such field requires was waited for in vain.
    pub(crate) fn new(viewer: Viewer, correlation: Option<Uuid>, behind: Option<Behind>) -> Self {
        let names = || viewer.service.models.iter().map(|model| model.name.clone());
        let rows = names().map(|name| (name, Batcher::default())).collect();
        let relations = names().map(|name| (name, Batcher::default())).collect();
        let (sealed_fields, position_required) = (Batcher::default(), AtomicBool::new(false));
        let (reads, rows_read) = (Semaphore::new(READS_MOST), Arc::default());
        Self { rows, relations, sealed_fields, position_required, reads, rows_read, behind, viewer, correlation }
    }

    /// The session of the request that a field belongs to. Without a session the field fails, because permissions
    /// cannot be checked.
    pub(super) fn of<'a>(context: &ResolverContext<'a>) -> Result<&'a Self, async_graphql::Error> {
        context.ctx.data::<Self>()
    }

    /// Counter of the rows that fields have read, which outlives the session.
    pub(super) fn rows_read(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.rows_read)
    }

    fn count_rows(&self, rows: usize) {
        self.rows_read.fetch_add(rows as u64, Ordering::Relaxed);
    }

    /// One row by its key, loaded in one batch with its siblings.
    pub(super) async fn row(&self, model: &Model, key: Key) -> Result<Option<Value>, Problem> {
        let owner = self.viewer.access(model)?.owner;
        let batcher = self.rows.get(&model.name).ok_or_else(|| self.cancelled())?;
        let row = batcher.get(key, |keys| self.load_rows(model, owner, keys)).await;
        let row = row.ok_or_else(|| self.cancelled())??;
        self.count_rows(usize::from(row.is_some()));
        Ok(row)
    }

    /// One page.
    pub(super) async fn page(&self, model: &Model, query: RowQuery) -> Result<Page, Problem> {
        let page = self.read(model, query).await?;
        self.count_rows(page.rows.len());
        Ok(page)
    }

    async fn read(&self, model: &Model, query: RowQuery) -> Result<Page, Problem> {
        let (query, _permit) = (self.completed(model, query), self.reads.acquire().await);
        self.viewer.service.backend.page(model, query).await.map_err(|error| self.viewer.problem(error))
    }

    /// The page of one parent: the rows whose column holds its value. Loaded in one batch with its siblings.
    pub(super) async fn related_page(
        &self,
        model: &Model,
        query: RowQuery,
        column: &'static str,
        value: Json,
    ) -> Result<Page, Problem> {
        let batcher = self.relations.get(&model.name).ok_or_else(|| self.cancelled())?;
        let page = batcher.get(Related { query, column, value }, |related| self.load_related(model, related)).await;
        let page = page.ok_or_else(|| self.cancelled())??;
        self.count_rows(page.rows.len());
        Ok(page)
    }

    /// Watches the row at a key: its present state, if it exists, then its changes.
    pub(super) async fn watch_row(
        &self,
        model: &Model,
        key: &Key,
        since: Option<Freshness>,
    ) -> Result<LiveUpdates, Problem> {
        let owner = self.viewer.access(model)?.owner;
        let filters = filters(model, &[key]);
        let query = RowQuery { owner, filters, ..RowQuery::all(self.viewer.caller.tenant, 1) };
        self.watch(model, query, since).await
    }

    /// Watches a query: the rows of its first page, then all changes of rows that match it. With `since`, the first update
    /// also has all matching rows that changed since that position.
    pub(super) async fn watch(
        &self,
        model: &Model,
        mut query: RowQuery,
        since: Option<Freshness>,
    ) -> Result<LiveUpdates, Problem> {
        query.filters.extend(self.viewer.visibility_filter(model));
        let watching = self.viewer.service.backend.watch(model, query, since);
        match tokio::time::timeout(QUERY_TIMEOUT, watching).await {
            Ok(watching) => watching.map_err(|error| self.viewer.problem(error)),
            Err(_) => Err(NotNow::StoreAway.into()),
        }
    }

    /// The plaintext of a sealed field, decrypted in one batch with its siblings. `None` if its key was destroyed
    /// or belongs to another tenant.
    pub(super) async fn unseal(&self, field: SealedField) -> Result<Option<String>, Problem> {
        let load = async |fields: Vec<SealedField>| {
            let count = fields.len();
            match self.viewer.service.backend.open(self.viewer.caller.tenant, fields).await {
                Ok(texts) => texts.into_iter().map(Ok).collect(),
                Err(fault) => vec![Err(Problem::from_fault(&fault, self.viewer.service.backend.new_id())); count],
            }
        };
        self.sealed_fields.get(field, load).await.ok_or_else(|| self.cancelled())?
    }

    /// Waits until all read models that a field and its selection read have reached a position.
    pub(super) async fn wait(
        &self,
        context: &ResolverContext<'_>,
        model: &Model,
        relations: &Relations,
        token: &str,
    ) -> Result<(), Problem> {
        let at_least = self.viewer.position(token)?;
        if let Some(behind) = &self.behind {
            return Err(behind.clone().into());
        }
        let mut names = HashSet::from([model.name.as_str()]);
        collect_models(&context.ctx.field(), relations, &mut names);
        let models = names.into_iter().filter_map(|name| self.viewer.service.models.get(name)).collect();
        self.position_required.store(true, Ordering::Relaxed);
        self.viewer.service.backend.wait(self.viewer.caller.tenant, at_least, models).await.map_err(Problem::from)
    }

    fn cancelled(&self) -> Problem {
        Problem::fault(self.viewer.service.backend.new_id(), &"a batch of reads was cancelled")
    }

    /// Reads pages of one query for several parents from the store.
    async fn pages(&self, model: &Model, query: RowQuery, parents: Parents) -> Result<Vec<Page>, Problem> {
        let (query, _permit) = (self.completed(model, query), self.reads.acquire().await);
        self.viewer.service.backend.pages(model, query, parents).await.map_err(|error| self.viewer.problem(error))
    }

    /// The query with the visibility filter of the caller and the freshness that the request requires.
    fn completed(&self, model: &Model, mut query: RowQuery) -> RowQuery {
        query.filters.extend(self.viewer.visibility_filter(model));
        query.bypass_cache |= self.position_required.load(Ordering::Relaxed);
        query
    }

    async fn load_rows(
        &self,
        model: &Model,
        owner: Option<CustomerId>,
        keys: Vec<Key>,
    ) -> Vec<Result<Option<Value>, Problem>> {
        let mut wanted: Vec<&Key> = keys.iter().collect();
        wanted.sort_unstable();
        wanted.dedup();
        let mut found = HashMap::new();
        // Of a composite key, the conditions hold one value per field.
        let chunk = if model.key.len() == 1 { KEYS_MOST } else { 1 };
        for page in join_all(wanted.chunks(chunk).map(|keys| self.read(model, self.by_keys(model, owner, keys)))).await
        {
            match page {
                Ok(page) => found.extend(page.rows.iter().filter_map(|row| with_key(model, &row.json))),
                Err(problem) => return vec![Err(problem); keys.len()],
            }
        }
        keys.iter().map(|key| Ok(found.get(key).cloned())).collect()
    }

    fn by_keys(&self, model: &Model, owner: Option<CustomerId>, keys: &[&Key]) -> RowQuery {
        let first = u32::try_from(keys.len()).unwrap_or(u32::MAX);
        RowQuery { owner, filters: filters(model, keys), ..RowQuery::all(self.viewer.caller.tenant, first) }
    }

    /// Pages of parents, in their order: one read for all that have the same arguments, and one page for equal values.
    async fn load_related(&self, model: &Model, related: Vec<Related>) -> Vec<Result<Page, Problem>> {
        let mut groups: Vec<(&RowQuery, Parents)> = Vec::new();
        let (mut known, mut places) = (HashMap::new(), Vec::with_capacity(related.len()));
        for Related { query, column, value } in &related {
            let same = |(other, parents): &(&RowQuery, Parents)| *other == query && parents.columns == [*column];
            let group = groups.iter().position(same).unwrap_or_else(|| {
                groups.push((query, Parents { columns: vec![(*column).into()], values: Vec::new() }));
                groups.len() - 1
            });
            let values = &mut groups[group].1.values;
            let place = *known.entry((group, value.to_string())).or_insert_with(|| {
                values.push(vec![value.clone()]);
                values.len() - 1
            });
            places.push((group, place));
        }
        let read = |(query, parents): (&RowQuery, Parents)| self.pages(model, query.clone(), parents);
        let read = join_all(groups.into_iter().map(read)).await;
        let page = |(group, place): (usize, usize)| match &read[group] {
            Ok(pages) => pages.get(place).cloned().ok_or_else(|| self.cancelled()),
            Err(problem) => Err(problem.clone()),
        };
        places.into_iter().map(page).collect()
    }
}

/// Conditions that select the rows with these keys. A model with a composite key takes one key only.
fn filters(model: &Model, keys: &[&Key]) -> Vec<Filter> {
    let values = |key: &Key| serde_json::from_str::<Vec<Json>>(key.as_str()).unwrap_or_default();
    match (model.key, keys) {
        ([field], _) => {
            let values = keys.iter().flat_map(|key| values(key)).collect();
            vec![Filter { field: (*field).into(), test: Test::In(values) }]
        }
        (fields, keys) => {
            let values = keys.iter().flat_map(|key| values(key));
            let filter = |(field, value): (&&str, Json)| Filter { field: (*field).into(), test: Test::Equals(value) };
            fields.iter().zip(values).map(filter).collect()
        }
    }
}

/// A row with the key that its fields hold.
fn with_key(model: &Model, json: &str) -> Option<(Key, Value)> {
    let row: Json = serde_json::from_str(json).ok()?;
    Some((model.key_of(&row), from_json(row)))
}

/// Adds the models of all relations in a selection. The model that a nested field belongs to is not known here: if two models
/// have a relation of that name, both targets are added.
fn collect_models<'a>(selection: &SelectionField<'_>, relations: &'a Relations, names: &mut HashSet<&'a str>) {
    for inner in selection.selection_set() {
        names.extend(relations.named(inner.name()).map(|relation| relation.to));
        collect_models(&inner, relations, names);
    }
}
