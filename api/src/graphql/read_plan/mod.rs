//! Read plans: queries made of read models only, compiled once per document and answered from cells to bytes.
//!
//! async-graphql answers a document the first time. If it succeeds, the document is valid, and its [`Plan`] is kept under
//! its text: read models, columns, arguments and relations. From then on, the [loader](loader) reads each level of the
//! document with one statement, and the [writer](writer) copies the cells into the answer, without a value per field.
//!
//! A plan never reports an error. Whatever the [compiler](compiler) does not fully understand has no plan, and whatever
//! fails in a plan, such as an argument, a permission or the store, is [declined](Declined): async-graphql then answers
//! the request and words the error. Both answers are equal byte for byte, which `infra/views/tests/main/read_plans.rs` checks.

mod compiler;
mod input_types;
mod loader;
mod plan;
mod writer;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_graphql::Variables;
use async_graphql::parser::types::ExecutableDocument;
use commands::scribe::TwoGenerationCache;

use super::executor::viewer::Viewer;
use super::filters::Filterable;
use super::row_type::RowType;
use crate::port::Behind;
use input_types::InputTypes;
use loader::Loader;
use writer::Writer;

pub(super) use plan::Plan;

/// Highest size of all documents with a plan, in bytes.
const DOCUMENT_BYTES_MOST: usize = 1024 * 1024;

/// Row types and input types of the schema, from which documents are compiled.
#[derive(Default)]
pub(crate) struct RowTypes {
    /// By the name of the read model.
    rows: HashMap<String, RowType>,
    inputs: InputTypes,
}

/// Plans of the documents used last, by their text.
pub(crate) struct ReadPlans {
    plans: Mutex<TwoGenerationCache<String, Arc<Plan>>>,
    /// Number of requests that were answered by a plan.
    answers: AtomicU64,
}

/// Data of an answer as JSON text, and the number of rows that were read for it.
pub(super) struct PlannedAnswer {
    pub(super) data: Vec<u8>,
    pub(super) rows: u64,
}

/// Reason for leaving a request to async-graphql.
#[derive(Debug)]
pub(super) enum Declined {
    /// The request may fail, or the plan does not know how to answer it.
    Unclear,
    /// The only field that requires a position waited for it in vain.
    Behind(Behind),
}

impl RowTypes {
    pub(super) fn add(&mut self, row_type: RowType, filterable: &Filterable) {
        self.inputs.add(filterable);
        self.rows.insert(row_type.model.name.clone(), row_type);
    }
}

impl Default for ReadPlans {
    fn default() -> Self {
        Self { plans: Mutex::new(TwoGenerationCache::new(DOCUMENT_BYTES_MOST)), answers: AtomicU64::new(0) }
    }
}

impl ReadPlans {
    /// The plan of a document; `None` if it has none, or if the request names another operation.
    pub(super) fn find(&self, document: &String, operation: Option<&str>) -> Option<Arc<Plan>> {
        let plan = self.lock().get_mut(document, |_| document.len()).cloned()?;
        plan.runs(operation).then_some(plan)
    }

    /// Keeps the plan of a document that was answered without errors.
    pub(super) fn keep(&self, document: String, plan: Plan) {
        let mut plans = self.lock();
        let bytes = document.len();
        plans.remove(&document);
        plans.insert_weighted(document, Arc::new(plan), bytes);
        plans.rotate(|_| false);
    }

    /// Number of requests that were answered by a plan.
    pub(crate) fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, TwoGenerationCache<String, Arc<Plan>>> {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Compiles the only operation of a valid document; `None` if it is anything else than a query of read models.
pub(super) fn compile(types: &RowTypes, document: &ExecutableDocument) -> Option<Plan> {
    compiler::compile(types, document)
}

/// Answers a request by its plan.
pub(super) async fn answer(viewer: &Viewer, plan: &Plan, variables: &Variables) -> Result<PlannedAnswer, Declined> {
    let loaded = Loader::new(viewer, plan, variables)?.load().await?;
    let mut writer = Writer::default();
    writer.root(plan, &loaded);
    let answer = writer.finish(viewer).await?;
    viewer.service.plans.answers.fetch_add(1, Ordering::Relaxed);
    Ok(answer)
}
