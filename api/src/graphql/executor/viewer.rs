//! Viewer: the caller of one request, and what it may see.

use std::sync::Arc;

use projections::kernel::Model;
use projections::query::{Filter, QueryError, Test};

use super::super::names::camel;
use super::GraphqlExecutor;
use crate::error::Problem;
use crate::port::{Access, Caller, Freshness};

/// The caller of one request.
pub(crate) struct Viewer {
    pub(in crate::graphql) service: Arc<GraphqlExecutor>,
    pub(in crate::graphql) caller: Caller,
}

impl Viewer {
    /// Rows and fields of a model that the caller may see. Fails if it may not read the model.
    pub(in crate::graphql) fn access(&self, model: &Model) -> Result<Access, Problem> {
        let forbidden = || Problem::forbidden(format!("this caller may not read {}", model.name));
        self.caller.access(model).ok_or_else(forbidden)
    }

    /// Fails if the caller may not see this column of the model.
    pub(in crate::graphql) fn require_shown(&self, model: &Model, column: &str) -> Result<(), Problem> {
        if self.access(model)?.shows(model, column) {
            return Ok(());
        }
        let (field, name) = (camel(column), &model.name);
        Err(Problem::forbidden(format!("{name}.{field} needs the permission {:?}", model.needs)))
    }

    /// Condition that rows must meet to be visible to a caller who sees only the public fields; `None` for others.
    pub(in crate::graphql) fn visibility_filter(&self, model: &Model) -> Option<Filter> {
        let public_only = self.caller.access(model).is_none_or(|access| access.public_only);
        let (field, value) = model.visible_when.filter(|_| public_only)?;
        Some(Filter { field: field.into(), test: Test::Equals(value.into()) })
    }

    /// The position that a freshness token names.
    pub(in crate::graphql) fn position(&self, token: &str) -> Result<Freshness, Problem> {
        Freshness::from_token(token).ok_or_else(|| self.invalid("minPosition", "expected the token of a receipt"))
    }

    pub(in crate::graphql) fn invalid(&self, field: &str, text: impl Into<String>) -> Problem {
        commands::kernel::Misuse::new("INVALID_ARGUMENT", field, text).into()
    }

    pub(in crate::graphql) fn problem(&self, error: QueryError) -> Problem {
        match error {
            QueryError::Misuse { field, text } => self.invalid(&camel(&field), text),
            QueryError::Building { model } => Problem::building(&model),
            QueryError::Fault(fault) => Problem::from_fault(&fault, self.service.backend.new_id()),
        }
    }
}
