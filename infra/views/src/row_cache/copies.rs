//! The port behind which copies are kept.

use std::time::Duration;

use async_trait::async_trait;
use domain::shared::{TenantId, Timestamp};
use projections::kernel::{Key, Model};
use projections::ports::Checkpoint;

/// Which row of whom: read model, shape of its table, tenant and key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name(String);

/// A row as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// JSON text as the store gave it.
    pub row: String,
    /// What it is true at.
    pub at: Checkpoint,
    /// Before it was read: it is at least as new as this.
    pub read_at: Timestamp,
}

/// Where copies are kept. It may forget whatever it likes, and answers within a bounded time.
#[async_trait]
pub trait Copies: Send + Sync {
    /// The copies under these names, in their order.
    async fn find(&self, names: &[Name]) -> Vec<Option<Copied>>;

    /// Keeps rows that were read at a checkpoint of their model, unless one of them may have changed since.
    async fn keep(&self, model: &Model, at: Checkpoint, copies: Vec<(Name, Copied)>);

    /// Rows have changed; the model stands here by now. What was read before must not come back.
    async fn forget(&self, model: &Model, at: &[Checkpoint], names: Vec<Name>);
}

impl Name {
    pub fn of(model: &Model, tenant: TenantId, key: &Key) -> Self {
        Self(format!("{}.{}:{tenant}:{key}", model.name, model.shape))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Copied {
    /// Whether it is young enough. One from the future was written by nobody whose clock can be trusted.
    pub(super) fn is_believed(&self, now: Timestamp, life: Duration) -> bool {
        let age = now.micros().abs_diff(self.read_at.micros());
        u128::from(age) <= life.as_micros()
    }
}
