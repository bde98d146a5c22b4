//! Where the demo plays: one process, or many.

use anyhow::Result;
use sqlx::PgPool;

use crate::cli::{Bearer, Laptop};

/// An installation, as a caller and a reader of its log see it.
pub(super) struct Stage<'a> {
    pub(super) url: String,
    pub(super) pool: &'a PgPool,
    sign: Box<dyn Fn(&Bearer) -> Result<String> + Send + Sync + 'a>,
}

impl<'a> Stage<'a> {
    pub(super) fn new(
        url: String,
        pool: &'a PgPool,
        sign: impl Fn(&Bearer) -> Result<String> + Send + Sync + 'a,
    ) -> Self {
        Self { url, pool, sign: Box::new(sign) }
    }

    pub(super) fn laptop(laptop: &'a Laptop) -> Self {
        Self::new(laptop.url(), &laptop.running.pool, |bearer| laptop.token(bearer))
    }

    /// A token for somebody, good for a day.
    pub(super) fn token(&self, bearer: &Bearer) -> Result<String> {
        (self.sign)(bearer)
    }
}
