//! Query cost: an estimate before execution and the actual cost of an answer.
//!
//! Each field costs one point; the fields below a connection count once per requested row (`first`). Each root
//! selection of a mutation costs ten points more.

use std::collections::{HashMap, HashSet};

use async_graphql::parser::types::{
    DocumentOperations, ExecutableDocument, Field, OperationDefinition, OperationType, Selection, SelectionSet,
};
use async_graphql::{Value, Variables};

use super::page_size::{FIRST, FIRST_MOST};

/// Highest estimated cost of one operation, in points.
pub(crate) const COST_MOST: u64 = 5_000;
const MUTATION_COST: u64 = 10;

/// Estimates the cost of operations. Knows the names of the fields that return pages.
pub(super) struct CostEstimator {
    pub(super) connections: HashSet<String>,
}

/// State of one estimate.
struct Estimate<'a> {
    estimator: &'a CostEstimator,
    document: &'a ExecutableDocument,
    variables: &'a Variables,
    /// Cost of each fragment already visited. There are no cycles: the guard refuses them.
    fragments: HashMap<&'a str, u64>,
}

impl CostEstimator {
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
}

impl<'a> Estimate<'a> {
    fn operation(&mut self, operation: &'a OperationDefinition) -> u64 {
        let selections = &operation.selection_set.node;
        let base =
            if operation.ty == OperationType::Mutation { selections.items.len() as u64 * MUTATION_COST } else { 0 };
        self.selections(selections).saturating_add(base)
    }

    fn selections(&mut self, selections: &'a SelectionSet) -> u64 {
        let mut sum: u64 = 0;
        for selection in &selections.items {
            sum = sum.saturating_add(match &selection.node {
                Selection::Field(field) => self.field(&field.node),
                Selection::InlineFragment(inline) => self.selections(&inline.node.selection_set.node),
                Selection::FragmentSpread(spread) => self.fragment(spread.node.fragment_name.node.as_str()),
            });
        }
        sum
    }

    fn fragment(&mut self, name: &'a str) -> u64 {
        if let Some(cost) = self.fragments.get(name) {
            return *cost;
        }
        let Some(fragment) = self.document.fragments.get(name) else { return 0 };
        let cost = self.selections(&fragment.node.selection_set.node);
        self.fragments.insert(name, cost);
        cost
    }

    fn field(&mut self, field: &'a Field) -> u64 {
        let inner = self.selections(&field.selection_set.node);
        let rows = if self.estimator.connections.contains(field.name.node.as_str()) { self.rows(field) } else { 1 };
        inner.saturating_mul(rows).saturating_add(1)
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

/// Actual cost of an answer: one point per value that is not a list.
pub(super) fn actual_cost(answer: &Value) -> u64 {
    match answer {
        Value::Object(fields) => fields.values().map(actual_cost).sum::<u64>() + 1,
        Value::List(values) => values.iter().map(actual_cost).sum(),
        _ => 1,
    }
}
