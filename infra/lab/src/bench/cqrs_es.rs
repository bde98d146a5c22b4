//! The peer: stock cqrs-es on stock postgres-es, in its plain event-store mode, with the same aggregates.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Result;
use cqrs_es::AggregateError;
use domain::inventory::StockItem;
use domain::kernel::Aggregate;
use domain::orders::Order;
use domain::shared::Quantity;
use futures::FutureExt;
use futures::future::BoxFuture;
use postgres_es::PostgresCqrs;
use sqlx::PgPool;
use uuid::Uuid;

use super::arena::Database;
use super::clients::Contender;
use super::facts::{Facts, fingerprint};
use crate::hosted::{Hosted, Verb};

/// The library's framework with one kind of aggregate.
pub(super) struct Stock<A: Aggregate> {
    framework: PostgresCqrs<Hosted<A>>,
    pool: PgPool,
    facts: Facts,
}

impl<A: Aggregate> Stock<A> {
    async fn start(database: &Database, connections: u32) -> Result<Self> {
        let pool = database.pool(connections).await?;
        let framework = postgres_es::postgres_cqrs(pool.clone(), vec![], ());
        Ok(Self { framework, pool, facts: Facts::new()? })
    }

    /// Tries until it is written, as a caller of the library has to when somebody else was faster.
    async fn ask(&self, stream: Uuid, command: &str, verb: Verb<A>) -> Result<()> {
        let meta = HashMap::from([
            (String::from("actor"), self.facts.principal.to_string()),
            (String::from("command"), command.to_owned()),
            (String::from("fingerprint"), fingerprint(Facts::id())),
        ]);
        let stream = stream.to_string();
        loop {
            match self.framework.execute_with_metadata(&stream, verb.clone(), meta.clone()).await {
                Err(AggregateError::AggregateConflict) => {}
                done => return Ok(done?),
            }
        }
    }
}

/// Every command on a stream of its own.
pub(super) struct Distinct(Stock<Order>);

impl Distinct {
    pub(super) async fn start(database: &Database, connections: u32) -> Result<Self> {
        Stock::start(database, connections).await.map(Self)
    }
}

impl Contender for Distinct {
    async fn call(&self, client: usize) -> Result<()> {
        let import = self.0.facts.import(client);
        self.0.ask(Facts::id(), "ImportOrder", Arc::new(move |order: &Order| order.import(import.clone()))).await
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        self.0.pool.close().boxed()
    }
}

/// Every command on the same stream.
pub(super) struct Hot(Stock<StockItem>);

impl Hot {
    pub(super) async fn start(database: &Database, connections: u32) -> Result<Self> {
        let stock = Stock::start(database, connections).await?;
        let (item, product, store) = (stock.facts.hot_item.uuid(), stock.facts.product, stock.facts.store(0));
        stock.ask(item, "OpenStockItem", Arc::new(move |item: &StockItem| item.open(product, store))).await?;
        let units = Quantity::try_from(1_000)?;
        stock.ask(item, "ReceiveStock", Arc::new(move |item: &StockItem| item.receive(units))).await?;
        Ok(Self(stock))
    }
}

impl Contender for Hot {
    async fn call(&self, _: usize) -> Result<()> {
        let adjust = self.0.facts.adjust();
        let verb: Verb<StockItem> =
            Arc::new(move |item| item.adjust(adjust.change.get(), adjust.reason.clone(), false));
        self.0.ask(self.0.facts.hot_item.uuid(), "AdjustStock", verb).await
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        self.0.pool.close().boxed()
    }
}
