//! Extractor of axum: the right to read the state of the process, which may name hosts and tenants.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use axum::http::request::Parts;
use domain::kernel::Actor;

use super::Authenticator;
use super::authenticator::bearer;
use crate::error::Problem;
use crate::port::Backend;

/// Proof that a request has the token of the monitoring system or that of an operator.
pub(crate) struct Monitor;

impl<S> FromRequestParts<S> for Monitor
where
    Arc<Authenticator>: FromRef<S>,
    Arc<dyn Backend>: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let backend = Arc::<dyn Backend>::from_ref(state);
        if bearer(&parts.headers).is_ok_and(|token| backend.is_monitor(token)) {
            return Ok(Self);
        }
        let caller = Arc::<Authenticator>::from_ref(state).caller(&parts.headers, backend.now())?;
        match caller.actor {
            Actor::Operator(_) => Ok(Self),
            _ => Err(Problem::forbidden("this page is for operators")),
        }
    }
}
