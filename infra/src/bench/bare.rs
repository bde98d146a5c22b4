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
use uuid::Uuid;

use super::arena::Database;
use super::clients::Contender;
use super::facts::{Facts, fingerprint};
use crate::scribe::{Micros, new_id, now};

/// A copy of the log's table with a primary key alone.
const TABLE: &str = "CREATE TABLE bare (LIKE log.events); ALTER TABLE bare ADD PRIMARY KEY (lane, position)";

const INSERT_MANY: &str = "INSERT INTO bare
    SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::bigint[], $4::uuid[], $5::bigint[], $6::text[], $7::uuid[],
                         $8::bigint[], $9::uuid[], $10::uuid[], $11::smallint[], $12::text[], $13::smallint[],
                         $14::json[], $15::json[], $16::timestamptz[], $17::timestamptz[])";

const INSERT_ONE: &str = "INSERT INTO bare VALUES
    ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14::json, $15::json, $16, $17)";

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

    fn text(&self, number: usize) -> (&str, &str, &str) {
        let (event, meta) = &self.texts[number % TEXTS];
        (&event.name, &event.body, meta)
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
        if ROWS == 1 {
            let (name, payload, meta) = self.text(first as usize);
            let (tenant, command) = (self.facts.tenant(first as usize).uuid(), new_id());
            let query = sqlx::query(INSERT_ONE).bind(number).bind(first).bind(1_i64).bind(tenant).bind(first);
            let query = query.bind("Order").bind(new_id()).bind(1_i64).bind(self.facts.principal.uuid()).bind(command);
            let query = query.bind(0_i16).bind(name).bind(1_i16).bind(payload).bind(meta).bind(at).bind(at);
            query.execute(&mut *connection).await?;
            return Ok(());
        }
        let rows = ROWS as usize;
        let ids = || (0..rows).map(|_| new_id()).collect::<Vec<Uuid>>();
        let positions: Vec<i64> = (first..first + i64::from(ROWS)).collect();
        let texts: Vec<_> = (0..rows).map(|row| self.text(first as usize + row)).collect();
        let query = sqlx::query(INSERT_MANY)
            .bind(vec![number; rows])
            .bind(&positions)
            .bind(vec![1_i64; rows])
            .bind((0..rows).map(|row| self.facts.tenant(row).uuid()).collect::<Vec<_>>())
            .bind(&positions)
            .bind(vec!["Order"; rows])
            .bind(ids())
            .bind(vec![1_i64; rows])
            .bind(vec![self.facts.principal.uuid(); rows])
            .bind(ids())
            .bind(vec![0_i16; rows])
            .bind(texts.iter().map(|text| text.0).collect::<Vec<_>>())
            .bind(vec![1_i16; rows])
            .bind(texts.iter().map(|text| text.1).collect::<Vec<_>>())
            .bind(texts.iter().map(|text| text.2).collect::<Vec<_>>())
            .bind(vec![at; rows])
            .bind(vec![at; rows]);
        query.execute(&mut *connection).await?;
        Ok(())
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }
}
