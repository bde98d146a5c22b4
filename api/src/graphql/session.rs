//! One request: who asks, and everything that is read for the answer.

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

use super::answer::READ_WITHIN;
use super::batcher::Batcher;
use super::relations::Relations;
use super::value::from_json;
use crate::auth::Caller;
use crate::backend::SealedField;
use crate::error::Problem;
use crate::freshness::Freshness;
use crate::front::Front;
use crate::live::Watching;

/// Lives as long as one request, so that nothing read for one caller can reach another.
pub(crate) struct Session {
    pub(super) front: Arc<Front>,
    pub(super) caller: Caller,
    pub(super) correlation: Option<Uuid>,
    rows: HashMap<String, Batcher<Key, Result<Option<Value>, Problem>>>,
    pages: HashMap<String, Batcher<RowQuery, Result<Page, Problem>>>,
    words: Batcher<SealedField, Result<Option<String>, Problem>>,
    /// Whether somebody demanded a position: from then on no copy is good enough for this request.
    demanded: AtomicBool,
}

/// The most keys that one question to the store names.
const KEYS_MOST: usize = 100;

impl Session {
    pub(crate) fn new(front: Arc<Front>, caller: Caller, correlation: Option<Uuid>) -> Self {
        let names = || front.models.iter().map(|model| model.name.clone());
        let rows = names().map(|name| (name, Batcher::default())).collect();
        let pages = names().map(|name| (name, Batcher::default())).collect();
        let (words, demanded) = (Batcher::default(), AtomicBool::new(false));
        Self { rows, pages, words, demanded, front, caller, correlation }
    }

    /// The session of a request. Every request has one; without it the field fails and nothing is shown.
    pub(super) fn of<'a>(context: &ResolverContext<'a>) -> Result<&'a Self, async_graphql::Error> {
        context.ctx.data::<Self>()
    }

    /// Whose rows of a model the caller may see, or that she may see none.
    pub(super) fn owner(&self, model: &Model) -> Result<Option<CustomerId>, Problem> {
        let forbidden = || Problem::forbidden(format!("{} is not shown to this caller", model.name));
        self.caller.sees(model).ok_or_else(forbidden)
    }

    /// One row by its key; asked together with its siblings.
    pub(super) async fn row(&self, model: &Model, key: Key) -> Result<Option<Value>, Problem> {
        let owner = self.owner(model)?;
        let batcher = self.rows.get(&model.name).ok_or_else(|| self.lost())?;
        let found = batcher.get(key, |keys| self.load_rows(model, owner, keys)).await;
        found.ok_or_else(|| self.lost())?
    }

    /// One page; asked together with its siblings.
    pub(super) async fn page(&self, model: &Model, question: RowQuery) -> Result<Page, Problem> {
        let batcher = self.pages.get(&model.name).ok_or_else(|| self.lost())?;
        let load = async |questions| {
            let answers = self.ask(model, questions).await;
            answers.into_iter().map(|answer| answer.map_err(|no| self.problem(no))).collect()
        };
        batcher.get(question, load).await.ok_or_else(|| self.lost())?
    }

    /// The row at a key, or nothing, and then whatever becomes of it.
    pub(super) async fn watch_row(
        &self,
        model: &Model,
        key: &Key,
        since: Option<Freshness>,
    ) -> Result<Watching, Problem> {
        let owner = self.owner(model)?;
        let filters = filters(model, &[key]);
        let question = RowQuery { owner, filters, ..RowQuery::all(self.caller.tenant, 1) };
        self.watch(model, question, since).await
    }

    /// The rows of a page, and then whatever becomes of rows that fit its question.
    pub(super) async fn watch(
        &self,
        model: &Model,
        mut question: RowQuery,
        since: Option<Freshness>,
    ) -> Result<Watching, Problem> {
        question.filters.extend(self.shown(model));
        let watching = self.front.backend.watch(model, question, since);
        match tokio::time::timeout(READ_WITHIN, watching).await {
            Ok(watching) => watching.map_err(|no| self.problem(no)),
            Err(_) => Err(NotNow::StoreAway.into()),
        }
    }

    /// The plaintext of a sealed word; asked together with its siblings.
    pub(super) async fn open(&self, field: SealedField) -> Result<Option<String>, Problem> {
        let load = async |fields: Vec<SealedField>| {
            let count = fields.len();
            match self.front.backend.open(self.caller.tenant, fields).await {
                Ok(words) => words.into_iter().map(Ok).collect(),
                Err(fault) => vec![Err(Problem::from_fault(&fault, self.front.backend.new_id())); count],
            }
        };
        self.words.get(field, load).await.ok_or_else(|| self.lost())?
    }

    /// Waits until everything that a field shows has seen a position.
    pub(super) async fn wait(
        &self,
        context: &ResolverContext<'_>,
        model: &Model,
        relations: &Relations,
        token: &str,
    ) -> Result<(), Problem> {
        let at_least = self.position(token)?;
        let mut touched = HashSet::from([model.name.as_str()]);
        collect(&context.ctx.field(), relations, &mut touched);
        let models = touched.into_iter().filter_map(|name| self.front.models.get(name)).collect();
        self.demanded.store(true, Ordering::Relaxed);
        self.front.backend.wait(self.caller.tenant, at_least, models).await.map_err(Problem::from)
    }

    pub(super) fn position(&self, token: &str) -> Result<Freshness, Problem> {
        Freshness::from_token(token).ok_or_else(|| self.invalid("minPosition", "this is no token of a receipt"))
    }

    pub(super) fn invalid(&self, field: &str, text: impl Into<String>) -> Problem {
        commands::kernel::Misuse::new("INVALID_ARGUMENT", field, text).into()
    }

    pub(super) fn problem(&self, no_answer: QueryError) -> Problem {
        match no_answer {
            QueryError::Misuse { field, text } => self.invalid(&super::names::camel(&field), text),
            QueryError::Fault(fault) => Problem::from_fault(&fault, self.front.backend.new_id()),
        }
    }

    fn lost(&self) -> Problem {
        Problem::fault(self.front.backend.new_id(), &"a batch of reads was given up")
    }

    /// Asks the store. Customers are shown only what is for them.
    async fn ask(&self, model: &Model, mut questions: Vec<RowQuery>) -> Vec<Result<Page, QueryError>> {
        questions.iter_mut().for_each(|question| question.filters.extend(self.shown(model)));
        let newest = self.demanded.load(Ordering::Relaxed);
        questions.iter_mut().for_each(|question| question.bypass_cache |= newest);
        self.front.backend.pages(model, questions).await
    }

    /// What a row must be for this caller to be shown it.
    fn shown(&self, model: &Model) -> Option<Filter> {
        let (field, value) = model.visible_when.filter(|_| self.caller.customer.is_some())?;
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
        let mut questions = Vec::new();
        // Keys of one field are asked for in one go, others one by one.
        let at_once = if model.key.len() == 1 { KEYS_MOST } else { 1 };
        for keys in wanted.chunks(at_once) {
            let first = u32::try_from(keys.len()).unwrap_or(u32::MAX);
            questions.push(RowQuery {
                owner,
                filters: filters(model, keys),
                ..RowQuery::all(self.caller.tenant, first)
            });
        }
        let mut rows = HashMap::new();
        for answer in self.ask(model, questions).await {
            match answer {
                Ok(page) => rows.extend(page.rows.iter().filter_map(|row| keyed(model, &row.json))),
                Err(no) => return vec![Err(self.problem(no)); keys.len()],
            }
        }
        keys.iter().map(|key| Ok(rows.get(key).cloned())).collect()
    }
}

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

/// A row and its key, read out of its own fields.
fn keyed(model: &Model, json: &str) -> Option<(Key, Value)> {
    let row: Json = serde_json::from_str(json).ok()?;
    Some((model.key_of(&row), from_json(row)))
}

/// The models behind all relations in a selection. A name that means two relations waits for both.
fn collect<'a>(selection: &SelectionField<'_>, relations: &'a Relations, touched: &mut HashSet<&'a str>) {
    for inner in selection.selection_set() {
        touched.extend(relations.named(inner.name()).map(|relation| relation.to));
        collect(&inner, relations, touched);
    }
}
