//! Tells readers of a row as soon as it has changed (design 5, *Live*).
//!
//! **Here:** what the projector of this process has just changed ([`Changes`]), who watches which rows ([`Live`]), and how
//! news travel from processes that keep read models to those that serve them. News may get lost on the way and nothing
//! else may: each says from which checkpoint to which it goes, so a gap is seen, and what fell into it is found in the
//! log and in the store. Without Redis every piece of news is found that way.

mod changes;
mod following;
mod letter;
mod mailbox;
mod missed;
mod watchers;
mod watching;
mod wire;

use std::sync::Arc;

use projections::kernel::Models;
use sqlx::PgPool;
use tokio::sync::Semaphore;

use edge::redis::Redis;
use event_log::Routes;
use watchers::Watchers;

pub use changes::{Batch, Changes, News};
pub use wire::publish;

/// Readers who come back and are told at the same time what they missed. Each holds a connection of the pool that the
/// whole process shares.
const RESUMES_MOST: usize = 4;

/// Who watches rows in this process, and everything needed to tell them.
#[derive(Clone)]
pub struct Live {
    pool: PgPool,
    models: Arc<Models>,
    routes: Routes,
    changes: Changes,
    redis: Option<Redis>,
    /// Whether all read models are kept in this process, so that it hears of every change by itself.
    alone: bool,
    watchers: Arc<Watchers>,
    resumes: Arc<Semaphore>,
}

impl Live {
    pub fn new(pool: PgPool, routes: Routes, changes: Changes, redis: Option<Redis>, alone: bool) -> Self {
        let (models, resumes) = (Arc::new(Models::all()), Arc::new(Semaphore::new(RESUMES_MOST)));
        Self { pool, models, routes, changes, redis, alone, watchers: Watchers::new(), resumes }
    }
}
