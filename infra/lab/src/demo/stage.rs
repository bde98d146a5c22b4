//! Where the demo plays: one process, or many.

use anyhow::Result;
use sqlx::PgPool;

use super::client::Client;
use cartulary::cli::Bearer;
use cartulary::embedded_engine::EmbeddedEngine;

/// Makes a token for somebody.
type Sign<'a> = Box<dyn Fn(&Bearer) -> Result<String> + Send + Sync + 'a>;

/// An installation, as a caller and a reader of its log see it.
pub(crate) struct Stage<'a> {
    /// The front doors, at least one.
    urls: Vec<String>,
    pub(crate) pool: &'a PgPool,
    sign: Sign<'a>,
}

impl<'a> Stage<'a> {
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

    /// The public API as somebody sees it.
    pub(crate) fn client(&self, bearer: &Bearer) -> Result<Client> {
        Ok(Client::of_all(self.urls.clone(), self.token(bearer)?))
    }

    /// A token for somebody, good for a day.
    pub(crate) fn token(&self, bearer: &Bearer) -> Result<String> {
        (self.sign)(bearer)
    }
}
