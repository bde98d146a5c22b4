//! Baseline contender: inserts of the same rows into the same columns, without an engine.

use std::sync::atomic::{AtomicI64, Ordering};

use anyhow::{Context, Result};
use domain::customers::CustomerEvent;
use domain::kernel::{Actor, Encoded, encode};
use futures::FutureExt;
use futures::future::BoxFuture;
use platform::clock::{Timestamptz, now};
use serde::Serialize;
use sqlx::{Executor, PgConnection};
use tokio::sync::Mutex;

use super::load_generator::Contender;
use super::log_rows::{LogRow, insert_many, insert_one};
use super::scratch_server::ScratchDatabase;
use super::workload::{Workload, fingerprint};

/// Table with the columns and partitions of `log.events`, but the primary key as the only index.
const TABLE: &str = "CREATE TABLE bare (LIKE log.events, PRIMARY KEY (lane, position)) PARTITION BY LIST (lane)";

/// Inserts `ROWS` rows per statement; each client has its own connection and lane. Several rows are inserted into
/// `bare`, a single row into `log.events` itself.
pub(super) struct BareInserts<const ROWS: u32> {
    lanes: Vec<Lane>,
    workload: Workload,
}

struct Lane {
    connection: Mutex<PgConnection>,
    position: AtomicI64,
}

impl<const ROWS: u32> BareInserts<ROWS> {
    pub(super) async fn start(database: &ScratchDatabase, connections: usize) -> Result<Self> {
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
        Ok(Self { lanes, workload: Workload::new()? })
    }
}

#[derive(Serialize)]
struct Meta<'a> {
    actor: &'a Actor,
    command: &'a str,
    fingerprint: String,
}

/// Payload and meta of a new customer, built and encoded for each row as the scribe does for each command.
fn encoded_texts(workload: &Workload) -> Result<(Encoded, String)> {
    let event = CustomerEvent::Registered { name: workload.name(), email: None, phone: None };
    let actor = Actor::Member(workload.principal);
    let meta = Meta { actor: &actor, command: "RegisterCustomer", fingerprint: fingerprint(Workload::id()) };
    Ok((encode(&event)?, serde_json::to_string(&meta)?))
}

impl<const ROWS: u32> Contender for BareInserts<ROWS> {
    const COMMANDS_PER_CALL: u32 = ROWS;

    async fn call(&self, client: usize) -> Result<()> {
        let lane = self.lanes.get(client).context("there are fewer connections than clients")?;
        let mut connection = lane.connection.lock().await;
        let first = lane.position.fetch_add(i64::from(ROWS), Ordering::Relaxed);
        let (number, at) = (i16::try_from(client)?, Timestamptz(now()));
        let texts: Vec<_> = (0..ROWS).map(|_| encoded_texts(&self.workload)).collect::<Result<_>>()?;
        let rows = texts.iter().zip(first..).map(|((event, meta), position)| LogRow {
            lane: number,
            position,
            tenant: self.workload.tenant(client).uuid(),
            tenant_position: position,
            stream_type: "Customer",
            stream: Workload::id(),
            sequence: 1,
            principal: self.workload.principal.uuid(),
            command: Workload::id(),
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
