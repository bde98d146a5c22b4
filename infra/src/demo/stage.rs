//! Where the demo plays: one process, or many.

use anyhow::Result;
use sqlx::PgPool;

use crate::cli::{Bearer, Laptop};

/// Makes a token for somebody.
type Sign<'a> = Box<dyn Fn(&Bearer) -> Result<String> + Send + Sync + 'a>;

/// An installation, as a caller and a reader of its log see it.
pub(crate) struct Stage<'a> {
    pub(crate) url: String,
    pub(crate) pool: &'a PgPool,
    sign: Sign<'a>,
}

impl<'a> Stage<'a> {
    pub(crate) fn new(
        url: String,
        pool: &'a PgPool,
        sign: impl Fn(&Bearer) -> Result<String> + Send + Sync + 'a,
    ) -> Self {
        Self { url, pool, sign: Box::new(sign) }
    }

    pub(crate) fn laptop(laptop: &'a Laptop) -> Self {
        Self::new(laptop.url(), &laptop.running.pool, |bearer| laptop.token(bearer))
    }

    /// A token for somebody, good for a day.
    pub(crate) fn token(&self, bearer: &Bearer) -> Result<String> {
        (self.sign)(bearer)
    }
}
