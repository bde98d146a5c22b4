//! What a question costs before it is answered, and what its answer has cost.
//!
//! One point per field; what stands within a page counts once per row of the page. A mutation costs ten.

use std::collections::{HashMap, HashSet};

use async_graphql::parser::types::{
    DocumentOperations, ExecutableDocument, Field, OperationDefinition, OperationType, Selection, SelectionSet,
};
use async_graphql::{Value, Variables};

use super::page_size::{FIRST, FIRST_MOST};

/// What one question of a signed-in caller may cost.
pub(crate) const COST_MOST: u64 = 5_000;
const MUTATION: u64 = 10;

/// Estimates questions by the names of fields that ask for many rows.
pub(super) struct Costs {
    pub(super) connections: HashSet<String>,
}

struct Walk<'a> {
    costs: &'a Costs,
    document: &'a ExecutableDocument,
    variables: &'a Variables,
    /// Fragments are walked once; the guard has refused cycles.
    known: HashMap<&'a str, u64>,
}

impl Costs {
    /// Of the operation that will run; of the dearest one where that is not clear.
    pub(super) fn of(&self, document: &ExecutableDocument, operation: Option<&str>, variables: &Variables) -> u64 {
        let mut walk = Walk { costs: self, document, variables, known: HashMap::new() };
        match &document.operations {
            DocumentOperations::Single(only) => walk.operation(&only.node),
            DocumentOperations::Multiple(several) => {
                let named = several.iter().filter(|(name, _)| operation.is_none_or(|wanted| wanted == name.as_str()));
                named.map(|(_, one)| walk.operation(&one.node)).max().unwrap_or(1)
            }
        }
    }
}

impl<'a> Walk<'a> {
    fn operation(&mut self, operation: &'a OperationDefinition) -> u64 {
        let selections = &operation.selection_set.node;
        let base = if operation.ty == OperationType::Mutation { selections.items.len() as u64 * MUTATION } else { 0 };
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
        if let Some(cost) = self.known.get(name) {
            return *cost;
        }
        let Some(fragment) = self.document.fragments.get(name) else { return 0 };
        let cost = self.selections(&fragment.node.selection_set.node);
        self.known.insert(name, cost);
        cost
    }

    fn field(&mut self, field: &'a Field) -> u64 {
        let inner = self.selections(&field.selection_set.node);
        let rows = if self.costs.connections.contains(field.name.node.as_str()) { self.rows(field) } else { 1 };
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

/// What came out: one point per value that is no list.
pub(super) fn actual(answer: &Value) -> u64 {
    match answer {
        Value::Object(fields) => fields.values().map(actual).sum::<u64>() + 1,
        Value::List(values) => values.iter().map(actual).sum(),
        _ => 1,
    }
}
