//! Extractor of axum: the authenticated caller as an argument of a request handler.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use axum::http::request::Parts;

use super::Authenticator;
use crate::error::Problem;
use crate::port::{Backend, Caller};

/// Authenticates the request by its `Authorization` header. As the first argument of a handler it refuses before
/// anything else of the request is read.
impl<S> FromRequestParts<S> for Caller
where
    Arc<Authenticator>: FromRef<S>,
    Arc<dyn Backend>: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let now = Arc::<dyn Backend>::from_ref(state).now();
        Arc::<Authenticator>::from_ref(state).caller(&parts.headers, now)
    }
}
