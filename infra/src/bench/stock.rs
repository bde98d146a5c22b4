//! The peer: stock cqrs-es on stock postgres-es, in its plain event-store mode, with the same aggregates.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Result;
use cqrs_es::AggregateError;
use domain::kernel::Aggregate;
use domain::orders::Order;
use postgres_es::PostgresCqrs;
use sqlx::PgPool;
use uuid::Uuid;

use super::arena::Database;
use super::clients::Contender;
use super::facts;
use crate::hosted::{Hosted, Verb};

pub(super) struct Stock<A: Aggregate> {
    framework: PostgresCqrs<Hosted<A>>,
    pool: PgPool,
    principal: Uuid,
}

impl<A: Aggregate> Stock<A> {
    pub(super) async fn start(database: &Database, connections: u32) -> Result<Self> {
        let pool = database.pool(connections).await?;
        let framework = postgres_es::postgres_cqrs(pool.clone(), vec![], ());
        Ok(Self { framework, pool, principal: facts::fresh_id() })
    }

    pub(super) async fn stop(&self) {
        self.pool.close().await;
    }

    /// Tries until it is written, as a caller of the library has to when somebody else was faster.
    pub(super) async fn ask(&self, stream: Uuid, command: &str, verb: Verb<A>) -> Result<()> {
        let id = facts::fresh_id();
        let meta = HashMap::from([
            (String::from("actor"), self.principal.to_string()),
            (String::from("command"), command.to_owned()),
            (String::from("fingerprint"), facts::fingerprint(id)),
        ]);
        loop {
            match self.framework.execute_with_metadata(&stream.to_string(), verb.clone(), meta.clone()).await {
                Err(AggregateError::AggregateConflict) => {}
                done => return Ok(done?),
            }
        }
    }
}

impl Contender for Stock<Order> {
    async fn call(&self, _: usize) -> Result<()> {
        let import = facts::import()?;
        self.ask(facts::order().uuid(), "ImportOrder", Arc::new(move |order| order.import(import.clone()))).await
    }
}
