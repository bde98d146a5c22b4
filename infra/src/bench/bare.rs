//! The yardstick: the same rows in the same columns, inserted with nothing around it.

use std::sync::atomic::{AtomicI64, Ordering};

use anyhow::{Context, Result};
use domain::kernel::{Named, encode};
use domain::orders::OrderEvent;
use sqlx::{Executor, PgConnection};
use tokio::sync::Mutex;
use uuid::Uuid;

use super::arena::Database;
use super::clients::Contender;
use super::facts;
use crate::scribe::{Micros, now};

/// Rows of one statement.
pub(super) const ROWS: u32 = 500;

/// A copy of the log's table with a primary key alone.
const TABLE: &str = "CREATE TABLE bare (LIKE log.events); ALTER TABLE bare ADD PRIMARY KEY (lane, position)";

const INSERT: &str = "INSERT INTO bare
    SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::bigint[], $4::uuid[], $5::bigint[], $6::text[], $7::uuid[],
                         $8::bigint[], $9::uuid[], $10::uuid[], $11::smallint[], $12::text[], $13::smallint[],
                         $14::json[], $15::json[], $16::timestamptz[], $17::timestamptz[])";

pub(super) struct Bare {
    connections: Vec<Mutex<PgConnection>>,
    positions: Vec<AtomicI64>,
    tenants: Vec<Uuid>,
    texts: Vec<(Named, String)>,
}

impl Bare {
    pub(super) async fn start(database: &Database, connections: usize) -> Result<Self> {
        database.connection().await?.execute(TABLE).await?;
        let mut open = Vec::new();
        for _ in 0..connections {
            open.push(Mutex::new(database.connection().await?));
        }
        Ok(Self {
            connections: open,
            positions: (0..connections).map(|_| AtomicI64::new(0)).collect(),
            tenants: facts::tenants().into_iter().map(|tenant| tenant.uuid()).collect(),
            // Made beforehand, so that the yardstick pays for nothing but the rows.
            texts: (0..1_000).map(|_| texts()).collect::<Result<_>>()?,
        })
    }
}

/// Payload and meta of an imported order, as the scribe writes them.
fn texts() -> Result<(Named, String)> {
    let domain::orders::Import { customer, store, total, units, ordered_on, source } = facts::import()?;
    let event = OrderEvent::Imported { customer, store, total, units, ordered_on, source };
    let id = facts::fresh_id();
    let meta = serde_json::json!({ "actor": { "member": id }, "command": "ImportOrder", "fingerprint": facts::fingerprint(id) });
    Ok((encode(&event)?, meta.to_string()))
}

impl Contender for Bare {
    const COMMANDS_PER_CALL: u32 = ROWS;

    async fn call(&self, client: usize) -> Result<()> {
        let mut connection = self.connections.get(client).context("a connection for each client")?.lock().await;
        let first = self.positions[client].fetch_add(i64::from(ROWS), Ordering::Relaxed);
        let rows = ROWS as usize;
        let positions: Vec<i64> = (first..first + i64::from(ROWS)).collect();
        let ids: Vec<Uuid> = (0..rows).map(|_| facts::fresh_id()).collect();
        let tenants: Vec<Uuid> = self.tenants.iter().copied().cycle().take(rows).collect();
        let texts: Vec<&(Named, String)> = self.texts.iter().cycle().skip(first as usize % 1_000).take(rows).collect();
        let query = sqlx::query(INSERT)
            .bind(vec![i16::try_from(client)?; rows])
            .bind(&positions)
            .bind(vec![1_i64; rows])
            .bind(&tenants)
            .bind(&positions)
            .bind(vec!["Order"; rows])
            .bind(&ids)
            .bind(vec![1_i64; rows])
            .bind(&tenants)
            .bind(&ids)
            .bind(vec![0_i16; rows])
            .bind(texts.iter().map(|(named, _)| named.name.as_str()).collect::<Vec<_>>())
            .bind(vec![1_i16; rows])
            .bind(texts.iter().map(|(named, _)| named.body.as_str()).collect::<Vec<_>>())
            .bind(texts.iter().map(|(_, meta)| meta.as_str()).collect::<Vec<_>>())
            .bind(vec![Micros(now()); rows])
            .bind(vec![Micros(now()); rows]);
        query.execute(&mut *connection).await?;
        Ok(())
    }
}
