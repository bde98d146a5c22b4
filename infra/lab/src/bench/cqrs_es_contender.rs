//! Contender: unmodified cqrs-es and postgres-es with the same aggregates, as a plain event store without snapshots.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Result;
use cqrs_es::AggregateError;
use domain::customers::Customer;
use domain::inventory::StockItem;
use domain::kernel::Aggregate;
use domain::shared::Quantity;
use futures::FutureExt;
use futures::future::BoxFuture;
use postgres_es::PostgresCqrs;
use sqlx::PgPool;
use uuid::Uuid;

use super::load_generator::Contender;
use super::scratch_server::ScratchDatabase;
use super::workload::{Workload, fingerprint};
use crate::cqrs_es_adapter::{CqrsEsAggregate, Verb};

/// The framework of cqrs-es for one aggregate type.
pub(super) struct CqrsEsFramework<A: Aggregate> {
    framework: PostgresCqrs<CqrsEsAggregate<A>>,
    pool: PgPool,
    workload: Workload,
}

impl<A: Aggregate> CqrsEsFramework<A> {
    async fn start(database: &ScratchDatabase, connections: u32) -> Result<Self> {
        let pool = database.pool(connections).await?;
        let framework = postgres_es::postgres_cqrs(pool.clone(), vec![], ());
        Ok(Self { framework, pool, workload: Workload::new()? })
    }

    /// Executes a command and repeats it on a conflict, as callers of the library must.
    async fn execute(&self, stream: Uuid, command: &str, verb: Verb<A>) -> Result<()> {
        let meta = HashMap::from([
            (String::from("actor"), self.workload.principal.to_string()),
            (String::from("command"), command.to_owned()),
            (String::from("fingerprint"), fingerprint(Workload::id())),
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

/// Contender that sends every command to a new stream.
pub(super) struct CqrsEsDistinctStreams(CqrsEsFramework<Customer>);

impl CqrsEsDistinctStreams {
    pub(super) async fn start(database: &ScratchDatabase, connections: u32) -> Result<Self> {
        CqrsEsFramework::start(database, connections).await.map(Self)
    }
}

impl Contender for CqrsEsDistinctStreams {
    async fn call(&self, _: usize) -> Result<()> {
        let name = self.0.workload.name();
        let verb: Verb<Customer> = Arc::new(move |customer| customer.register(name.clone(), None, None));
        self.0.execute(Workload::id(), "RegisterCustomer", verb).await
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        self.0.pool.close().boxed()
    }
}

/// Contender that sends every command to one stream.
pub(super) struct CqrsEsHotStream(CqrsEsFramework<StockItem>);

impl CqrsEsHotStream {
    pub(super) async fn start(database: &ScratchDatabase, connections: u32) -> Result<Self> {
        let framework = CqrsEsFramework::start(database, connections).await?;
        let (item, product, store) =
            (framework.workload.hot_item.uuid(), framework.workload.product, framework.workload.store(0));
        framework.execute(item, "OpenStockItem", Arc::new(move |item: &StockItem| item.open(product, store))).await?;
        let units = Quantity::try_from(1_000)?;
        framework.execute(item, "ReceiveStock", Arc::new(move |item: &StockItem| item.receive(units, None))).await?;
        Ok(Self(framework))
    }
}

impl Contender for CqrsEsHotStream {
    async fn call(&self, _: usize) -> Result<()> {
        let adjust = self.0.workload.adjust();
        let verb: Verb<StockItem> =
            Arc::new(move |item| item.adjust(adjust.change.get(), adjust.reason.clone(), false));
        self.0.execute(self.0.workload.hot_item.uuid(), "AdjustStock", verb).await
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        self.0.pool.close().boxed()
    }
}
