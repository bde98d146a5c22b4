//! Deployment that demo, benchmarks and fault scenarios run against: one process or several.

use anyhow::Result;
use cartulary::cli::Bearer;
use cartulary::embedded_engine::EmbeddedEngine;
use sqlx::PgPool;

use super::client::Client;

/// Signs a token for a bearer.
type Sign<'a> = Box<dyn Fn(&Bearer) -> Result<String> + Send + Sync + 'a>;

/// API URLs, log database and token signing of a running deployment.
pub(crate) struct Deployment<'a> {
    /// URLs of the API servers, at least one.
    urls: Vec<String>,
    pub(crate) pool: &'a PgPool,
    sign: Sign<'a>,
}

impl<'a> Deployment<'a> {
    pub(crate) fn new(
        urls: Vec<String>,
        pool: &'a PgPool,
        sign: impl Fn(&Bearer) -> Result<String> + Send + Sync + 'a,
    ) -> Self {
        Self { urls, pool, sign: Box::new(sign) }
    }

    pub(crate) fn embedded(engine: &'a EmbeddedEngine) -> Self {
        Self::new(vec![engine.url()], &engine.running.pool, |bearer| engine.token(bearer))
    }

    /// Client of the public API with a token for this bearer.
    pub(crate) fn client(&self, bearer: &Bearer) -> Result<Client> {
        Ok(Client::round_robin(self.urls.clone(), self.token(bearer)?))
    }

    /// Token for this bearer, valid for a day.
    pub(crate) fn token(&self, bearer: &Bearer) -> Result<String> {
        (self.sign)(bearer)
    }
}
