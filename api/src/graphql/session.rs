//! Request session: the caller, and the batched reads of one answer.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_graphql::dynamic::ResolverContext;
use async_graphql::{SelectionField, Value};
use commands::kernel::NotNow;
use domain::shared::CustomerId;
use projections::kernel::{Key, Model};
use projections::query::{Filter, Page, QueryError, RowQuery, Test};
use serde_json::Value as Json;
use uuid::Uuid;

use super::batcher::Batcher;
use super::executor::{GraphqlExecutor, QUERY_TIMEOUT};
use super::value::from_json;
use crate::error::Problem;
use crate::port::{Access, Caller, Freshness, LiveUpdates, SealedField};
use crate::relation::Relations;

/// State of one request. Its batches are not shared with other requests, so rows read for one caller are not sent to
/// another.
pub(crate) struct Session {
    pub(super) service: Arc<GraphqlExecutor>,
    pub(super) caller: Caller,
    pub(super) correlation: Option<Uuid>,
    rows: HashMap<String, Batcher<Key, Result<Option<Value>, Problem>>>,
    pages: HashMap<String, Batcher<RowQuery, Result<Page, Problem>>>,
    sealed_fields: Batcher<SealedField, Result<Option<String>, Problem>>,
    /// True once a field has required a position: from then on this request bypasses the row cache.
    position_required: AtomicBool,
}

/// Highest number of keys in one query to the store.
const KEYS_MOST: usize = 100;

impl Session {
    pub(crate) fn new(service: Arc<GraphqlExecutor>, caller: Caller, correlation: Option<Uuid>) -> Self {
        let names = || service.models.iter().map(|model| model.name.clone());
        let rows = names().map(|name| (name, Batcher::default())).collect();
        let pages = names().map(|name| (name, Batcher::default())).collect();
        let (sealed_fields, position_required) = (Batcher::default(), AtomicBool::new(false));
        Self { rows, pages, sealed_fields, position_required, service, caller, correlation }
    }

    /// The session of the request that a field belongs to. Without a session the field fails, because permissions
    /// cannot be checked.
    pub(super) fn of<'a>(context: &ResolverContext<'a>) -> Result<&'a Self, async_graphql::Error> {
        context.ctx.data::<Self>()
    }

    /// Rows and fields of a model that the caller may see. Fails if it may not read the model.
    pub(super) fn access(&self, model: &Model) -> Result<Access, Problem> {
        let forbidden = || Problem::forbidden(format!("this caller may not read {}", model.name));
        self.caller.access(model).ok_or_else(forbidden)
    }

    /// Fails if the caller may not see this column of the model.
    pub(super) fn require_shown(&self, model: &Model, column: &str) -> Result<(), Problem> {
        if self.access(model)?.shows(model, column) {
            return Ok(());
        }
        let (field, name) = (super::names::camel(column), &model.name);
        Err(Problem::forbidden(format!("{name}.{field} needs the permission {:?}", model.needs)))
    }

    /// One row by its key, loaded in one batch with its siblings.
    pub(super) async fn row(&self, model: &Model, key: Key) -> Result<Option<Value>, Problem> {
        let owner = self.access(model)?.owner;
        let batcher = self.rows.get(&model.name).ok_or_else(|| self.cancelled())?;
        let row = batcher.get(key, |keys| self.load_rows(model, owner, keys)).await;
        row.ok_or_else(|| self.cancelled())?
    }

    /// One page, loaded in one batch with its siblings.
    pub(super) async fn page(&self, model: &Model, query: RowQuery) -> Result<Page, Problem> {
        let batcher = self.pages.get(&model.name).ok_or_else(|| self.cancelled())?;
        let load = async |queries| {
            let pages = self.fetch_pages(model, queries).await;
            pages.into_iter().map(|page| page.map_err(|error| self.problem(error))).collect()
        };
        batcher.get(query, load).await.ok_or_else(|| self.cancelled())?
    }

    /// Watches the row at a key: its present state, if it exists, then its changes.
    pub(super) async fn watch_row(
        &self,
        model: &Model,
        key: &Key,
        since: Option<Freshness>,
    ) -> Result<LiveUpdates, Problem> {
        let owner = self.access(model)?.owner;
        let filters = filters(model, &[key]);
        let query = RowQuery { owner, filters, ..RowQuery::all(self.caller.tenant, 1) };
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
        query.filters.extend(self.visibility_filter(model));
        let watching = self.service.backend.watch(model, query, since);
        match tokio::time::timeout(QUERY_TIMEOUT, watching).await {
            Ok(watching) => watching.map_err(|error| self.problem(error)),
            Err(_) => Err(NotNow::StoreAway.into()),
        }
    }

    /// The plaintext of a sealed field, decrypted in one batch with its siblings. `None` if its key was destroyed
    /// or belongs to another tenant.
    pub(super) async fn unseal(&self, field: SealedField) -> Result<Option<String>, Problem> {
        let load = async |fields: Vec<SealedField>| {
            let count = fields.len();
            match self.service.backend.open(self.caller.tenant, fields).await {
                Ok(texts) => texts.into_iter().map(Ok).collect(),
                Err(fault) => vec![Err(Problem::from_fault(&fault, self.service.backend.new_id())); count],
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
        let at_least = self.position(token)?;
        let mut names = HashSet::from([model.name.as_str()]);
        collect_models(&context.ctx.field(), relations, &mut names);
        let models = names.into_iter().filter_map(|name| self.service.models.get(name)).collect();
        self.position_required.store(true, Ordering::Relaxed);
        self.service.backend.wait(self.caller.tenant, at_least, models).await.map_err(Problem::from)
    }

    pub(super) fn position(&self, token: &str) -> Result<Freshness, Problem> {
        Freshness::from_token(token).ok_or_else(|| self.invalid("minPosition", "expected the token of a receipt"))
    }

    pub(super) fn invalid(&self, field: &str, text: impl Into<String>) -> Problem {
        commands::kernel::Misuse::new("INVALID_ARGUMENT", field, text).into()
    }

    pub(super) fn problem(&self, error: QueryError) -> Problem {
        match error {
            QueryError::Misuse { field, text } => self.invalid(&super::names::camel(&field), text),
            QueryError::Fault(fault) => Problem::from_fault(&fault, self.service.backend.new_id()),
        }
    }

    fn cancelled(&self) -> Problem {
        Problem::fault(self.service.backend.new_id(), &"a batch of reads was cancelled")
    }

    /// Reads pages from the store, with the visibility filter of the caller.
    async fn fetch_pages(&self, model: &Model, mut queries: Vec<RowQuery>) -> Vec<Result<Page, QueryError>> {
        for query in &mut queries {
            query.filters.extend(self.visibility_filter(model));
        }
        let newest = self.position_required.load(Ordering::Relaxed);
        for query in &mut queries {
            query.bypass_cache |= newest;
        }
        self.service.backend.pages(model, queries).await
    }

    /// Condition that rows must meet to be visible to a caller who sees only the public fields; `None` for others.
    fn visibility_filter(&self, model: &Model) -> Option<Filter> {
        let public_only = self.caller.access(model).is_none_or(|access| access.public_only);
        let (field, value) = model.visible_when.filter(|_| public_only)?;
        Some(Filter { field: field.into(), test: Test::Equals(value.into()) })
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
        let mut queries = Vec::new();
        // Single-column keys fit one `in` condition; composite keys take one query each.
        let chunk = if model.key.len() == 1 { KEYS_MOST } else { 1 };
        for keys in wanted.chunks(chunk) {
            let first = u32::try_from(keys.len()).unwrap_or(u32::MAX);
            queries.push(RowQuery { owner, filters: filters(model, keys), ..RowQuery::all(self.caller.tenant, first) });
        }
        let mut rows = HashMap::new();
        for page in self.fetch_pages(model, queries).await {
            match page {
                Ok(page) => rows.extend(page.rows.iter().filter_map(|row| with_key(model, &row.json))),
                Err(error) => return vec![Err(self.problem(error)); keys.len()],
            }
        }
        keys.iter().map(|key| Ok(rows.get(key).cloned())).collect()
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
