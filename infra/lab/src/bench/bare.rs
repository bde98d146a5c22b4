//! The yardstick: the same rows in the same columns, inserted with nothing around it.

use std::sync::atomic::{AtomicI64, Ordering};

use anyhow::{Context, Result};
use domain::kernel::{Actor, Encoded, encode};
use domain::orders::{Import, OrderEvent};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::Serialize;
use sqlx::{Executor, PgConnection};
use tokio::sync::Mutex;

use super::arena::Database;
use super::clients::Contender;
use super::facts::{Facts, fingerprint};
use super::rows::{Row, insert_many, insert_one};
use platform::clock::{Timestamptz, now};

/// A copy of the log's table, in partitions like that, with a primary key alone.
const TABLE: &str = "CREATE TABLE bare (LIKE log.events, PRIMARY KEY (lane, position)) PARTITION BY LIST (lane)";

/// `ROWS` rows a statement, each client on a connection and a lane of its own. Many rows go to the copy; a single one
/// goes to the log's table itself.
pub(super) struct Bare<const ROWS: u32> {
    lanes: Vec<Lane>,
    facts: Facts,
}

struct Lane {
    connection: Mutex<PgConnection>,
    position: AtomicI64,
}

impl<const ROWS: u32> Bare<ROWS> {
    pub(super) async fn start(database: &Database, connections: usize) -> Result<Self> {
        let mut setup = database.connection().await?;
        setup.execute(TABLE).await?;
        let mut lanes = Vec::new();
        for lane in 0..connections {
            setup
                .execute(format!("CREATE TABLE bare_{lane} PARTITION OF bare FOR VALUES IN ({lane})").as_str())
                .await?;
            let connection = Mutex::new(database.connection().await?);
            lanes.push(Lane { connection, position: AtomicI64::new(1) });
        }
        Ok(Self { lanes, facts: Facts::new()? })
    }
}

#[derive(Serialize)]
struct Meta<'a> {
    actor: &'a Actor,
    command: &'a str,
    fingerprint: String,
}

/// Payload and meta of an imported order, made and encoded for this one row as the scribe does for its commands.
fn texts(facts: &Facts, client: usize) -> Result<(Encoded, String)> {
    let Import { customer, store, total, units, ordered_on, source } = facts.import(client);
    let event = OrderEvent::Imported { customer, store, total, units, ordered_on, source };
    let actor = Actor::Member(facts.principal);
    let meta = Meta { actor: &actor, command: "ImportOrder", fingerprint: fingerprint(Facts::id()) };
    Ok((encode(&event)?, serde_json::to_string(&meta)?))
}

impl<const ROWS: u32> Contender for Bare<ROWS> {
    const COMMANDS_PER_CALL: u32 = ROWS;

    async fn call(&self, client: usize) -> Result<()> {
        let lane = self.lanes.get(client).context("a connection for each client")?;
        let mut connection = lane.connection.lock().await;
        let first = lane.position.fetch_add(i64::from(ROWS), Ordering::Relaxed);
        let (number, at) = (i16::try_from(client)?, Timestamptz(now()));
        let texts: Vec<_> = (0..ROWS).map(|_| texts(&self.facts, client)).collect::<Result<_>>()?;
        let rows = texts.iter().zip(first..).map(|((event, meta), position)| Row {
            lane: number,
            position,
            tenant: self.facts.tenant(client).uuid(),
            tenant_position: position,
            stream_type: "Order",
            stream: Facts::id(),
            sequence: 1,
            principal: self.facts.principal.uuid(),
            command: Facts::id(),
            name: &event.name,
            payload: &event.body,
            meta,
            at,
        });
        let rows: Vec<_> = rows.collect();
        match rows.as_slice() {
            [row] => insert_one(&mut connection, "log.events", *row).await,
            rows => insert_many(&mut connection, "bare", rows).await,
        }
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }
}
