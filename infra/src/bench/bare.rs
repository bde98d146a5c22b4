//! The yardstick: the same rows in the same columns, inserted with nothing around it.

use std::sync::atomic::{AtomicI64, Ordering};

use anyhow::{Context, Result};
use domain::kernel::{Named, encode};
use domain::orders::{Import, OrderEvent};
use domain::shared::TenantId;
use futures::FutureExt;
use futures::future::BoxFuture;
use sqlx::{Executor, PgConnection};
use tokio::sync::Mutex;

use super::arena::Database;
use super::clients::Contender;
use super::facts::{Facts, fingerprint};
use super::rows::{Row, insert_many, insert_one};
use crate::scribe::{Micros, new_id, now};

/// A copy of the log's table with a primary key alone.
const TABLE: &str = "CREATE TABLE bare (LIKE log.events); ALTER TABLE bare ADD PRIMARY KEY (lane, position)";

/// Texts made beforehand, so that the yardstick pays for nothing but the rows.
const TEXTS: usize = 1_000;

/// `ROWS` rows a statement, each client on a connection and a lane of its own.
pub(super) struct Bare<const ROWS: u32> {
    lanes: Vec<Lane>,
    facts: Facts,
    texts: Vec<(Named, String)>,
}

struct Lane {
    connection: Mutex<PgConnection>,
    position: AtomicI64,
}

impl<const ROWS: u32> Bare<ROWS> {
    pub(super) async fn start(database: &Database, connections: usize) -> Result<Self> {
        database.connection().await?.execute(TABLE).await?;
        let mut lanes = Vec::new();
        for _ in 0..connections {
            let connection = Mutex::new(database.connection().await?);
            lanes.push(Lane { connection, position: AtomicI64::new(1) });
        }
        let facts = Facts::new()?;
        let texts = (0..TEXTS).map(|number| texts(&facts, facts.tenant(number))).collect::<Result<_>>()?;
        Ok(Self { lanes, facts, texts })
    }
}

/// Payload and meta of an imported order, as the scribe writes them.
fn texts(facts: &Facts, tenant: TenantId) -> Result<(Named, String)> {
    let Import { customer, store, total, units, ordered_on, source } = facts.import(tenant);
    let event = OrderEvent::Imported { customer, store, total, units, ordered_on, source };
    let actor = domain::kernel::Actor::Member(facts.principal);
    let fingerprint = fingerprint(new_id());
    let meta = serde_json::json!({ "actor": actor, "command": "ImportOrder", "fingerprint": fingerprint });
    Ok((encode(&event)?, meta.to_string()))
}

impl<const ROWS: u32> Contender for Bare<ROWS> {
    const COMMANDS_PER_CALL: u32 = ROWS;

    async fn call(&self, client: usize) -> Result<()> {
        let lane = self.lanes.get(client).context("a connection for each client")?;
        let mut connection = lane.connection.lock().await;
        let first = lane.position.fetch_add(i64::from(ROWS), Ordering::Relaxed);
        let (number, at) = (i16::try_from(client)?, Micros(now()));
        let row = |position: i64| {
            let place = usize::try_from(position).unwrap_or_default();
            let (event, meta) = &self.texts[place % TEXTS];
            Row {
                lane: number,
                position,
                tenant: self.facts.tenant(place).uuid(),
                tenant_position: position,
                stream_type: "Order",
                stream: new_id(),
                sequence: 1,
                principal: self.facts.principal.uuid(),
                command: new_id(),
                name: &event.name,
                payload: &event.body,
                meta,
                at,
            }
        };
        if ROWS == 1 {
            return insert_one(&mut connection, "bare", row(first)).await;
        }
        let rows: Vec<_> = (first..first + i64::from(ROWS)).map(row).collect();
        insert_many(&mut connection, "bare", &rows).await
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }
}
