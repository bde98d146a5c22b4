//! Query cost: the rows that an operation may read, estimated before execution, and the rows that it has read.
//!
//! A row costs one point: a page as many as it may hold (`first`), a row by its key or by a relation one, and the rows of
//! a relation once for each row around them. Fields cost nothing. A mutation costs ten points, and any other root field
//! at least one.

use std::collections::HashMap;
use std::sync::Arc;

use async_graphql::parser::types::{
    DocumentOperations, ExecutableDocument, Field, OperationDefinition, OperationType, Selection, SelectionSet,
};
use async_graphql::{Value, Variables};
use projections::kernel::Models;

use super::page_size::{FIRST, FIRST_MOST};
use crate::relation::Relations;

/// Highest estimated cost of one operation, in points.
pub(crate) const COST_MOST: u64 = 5_000;
const MUTATION_COST: u64 = 10;

/// Estimates the cost of operations. Knows the fields that return rows.
pub(super) struct CostEstimator {
    /// Root fields of queries and subscriptions.
    roots: HashMap<String, RowField>,
    relations: Arc<Relations>,
}

/// A field that returns rows.
#[derive(Clone)]
struct RowField {
    /// The read model of the rows.
    model: String,
    is_page: bool,
}

/// State of one estimate.
struct Estimate<'a> {
    estimator: &'a CostEstimator,
    document: &'a ExecutableDocument,
    variables: &'a Variables,
    /// Cost of each fragment already visited, by the read model around it. There are no cycles: the guard refuses them.
    fragments: HashMap<(&'a str, Option<String>), u64>,
}

impl CostEstimator {
    /// `other_pages` are the root fields of pages that have no read model, with the types of their rows.
    pub(super) fn new(models: &Models, relations: Arc<Relations>, other_pages: &[(&str, &str)]) -> Self {
        let fields = models.iter().flat_map(|model| {
            let field = |is_page| RowField { model: model.name.clone(), is_page };
            [(model.field(), field(false)), (model.fields(), field(true))]
        });
        let other_page =
            |(field, rows): &(&str, &str)| (field.to_string(), RowField { model: (*rows).into(), is_page: true });
        let fields = fields.chain(other_pages.iter().map(other_page));
        Self { roots: fields.collect(), relations }
    }

    /// Cost of the operation that will run, or of the most expensive one if `operation` names none.
    pub(super) fn estimate(
        &self,
        document: &ExecutableDocument,
        operation: Option<&str>,
        variables: &Variables,
    ) -> u64 {
        let mut estimate = Estimate { estimator: self, document, variables, fragments: HashMap::new() };
        match &document.operations {
            DocumentOperations::Single(only) => estimate.operation(&only.node),
            DocumentOperations::Multiple(several) => {
                let named = several.iter().filter(|(name, _)| operation.is_none_or(|wanted| wanted == name.as_str()));
                named.map(|(_, one)| estimate.operation(&one.node)).max().unwrap_or(1)
            }
        }
    }

    /// The field of this name within the rows of a model, or at the root.
    fn row_field(&self, model: Option<&str>, name: &str) -> Option<RowField> {
        let Some(model) = model else { return self.roots.get(name).cloned() };
        let relation = self.relations.named(name).find(|relation| relation.from == model)?;
        Some(RowField { model: relation.to.into(), is_page: relation.is_page() })
    }
}

impl<'a> Estimate<'a> {
    fn operation(&mut self, operation: &'a OperationDefinition) -> u64 {
        let selections = &operation.selection_set.node;
        if operation.ty == OperationType::Mutation {
            return (selections.items.len() as u64).saturating_mul(MUTATION_COST);
        }
        self.selections(None, selections).max(1)
    }

    /// Cost of selections at the root, or within the rows of a model.
    fn selections(&mut self, model: Option<&str>, selections: &'a SelectionSet) -> u64 {
        let mut sum: u64 = 0;
        for selection in &selections.items {
            sum = sum.saturating_add(match &selection.node {
                Selection::Field(field) => self.field(model, &field.node),
                Selection::InlineFragment(inline) => self.selections(model, &inline.node.selection_set.node),
                Selection::FragmentSpread(spread) => self.fragment(model, spread.node.fragment_name.node.as_str()),
            });
        }
        sum
    }

    fn fragment(&mut self, model: Option<&str>, name: &'a str) -> u64 {
        let place = (name, model.map(str::to_owned));
        if let Some(cost) = self.fragments.get(&place) {
            return *cost;
        }
        let Some(fragment) = self.document.fragments.get(name) else { return 0 };
        let cost = self.selections(model, &fragment.node.selection_set.node);
        self.fragments.insert(place, cost);
        cost
    }

    fn field(&mut self, model: Option<&str>, field: &'a Field) -> u64 {
        let selections = &field.selection_set.node;
        match self.estimator.row_field(model, field.name.node.as_str()) {
            Some(RowField { model, is_page }) => {
                let rows = if is_page { self.rows(field) } else { 1 };
                self.selections(Some(&model), selections).saturating_add(1).saturating_mul(rows)
            }
            // Another root field, such as introspection.
            None if model.is_none() => 1,
            // The fields between a page and its rows, such as `edges`; other fields contain no rows.
            None => self.selections(model, selections),
        }
    }

    fn rows(&self, field: &Field) -> u64 {
        let first = field.get_argument("first").map(|value| &value.node);
        let first = match first
            .and_then(|value| value.clone().into_const_with(|name| self.variables.get(&name).cloned().ok_or(())).ok())
        {
            Some(Value::Number(number)) => number.as_u64(),
            _ => None,
        };
        first.unwrap_or(FIRST.unsigned_abs().into()).clamp(1, FIRST_MOST.unsigned_abs())
    }
}
