//! Inserts of log rows without a scribe, for the baselines and to fill a log quickly.

use anyhow::Result;
use platform::clock::Timestamptz;
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo};
use sqlx::{Encode, PgConnection, Postgres, Type};
use uuid::Uuid;

/// One event as a row of `log.events`.
#[derive(Clone, Copy)]
pub(super) struct LogRow<'a> {
    pub(super) lane: i16,
    pub(super) position: i64,
    pub(super) tenant: Uuid,
    pub(super) tenant_position: i64,
    pub(super) stream_type: &'a str,
    pub(super) stream: Uuid,
    pub(super) sequence: i64,
    pub(super) principal: Uuid,
    pub(super) command: Uuid,
    pub(super) name: &'a str,
    pub(super) payload: &'a str,
    pub(super) meta: &'a str,
    pub(super) at: Timestamptz,
}

/// Epoch of rows that are inserted here.
pub(super) const EPOCH: i64 = 1;

/// Inserts many rows in one statement with arrays and `unnest`, the fastest way that was measured.
pub(super) async fn insert_many(connection: &mut PgConnection, table: &str, rows: &[LogRow<'_>]) -> Result<()> {
    let types = [
        "smallint",
        "bigint",
        "bigint",
        "uuid",
        "bigint",
        "text",
        "uuid",
        "bigint",
        "uuid",
        "uuid",
        "smallint",
        "text",
        "smallint",
        "json",
        "json",
        "timestamptz",
        "timestamptz",
    ];
    let columns: Vec<_> = types.iter().zip(1..).map(|(kind, number)| format!("unnest(${number}::{kind}[])")).collect();
    let text = format!("INSERT INTO {table} SELECT {}", columns.join(", "));
    macro_rules! column {
        ($of:expr) => {
            rows.iter().map($of).collect::<Vec<_>>()
        };
    }
    sqlx::query(&text)
        .bind(column!(|row| row.lane))
        .bind(column!(|row| row.position))
        .bind(vec![EPOCH; rows.len()])
        .bind(column!(|row| row.tenant))
        .bind(column!(|row| row.tenant_position))
        .bind(column!(|row| row.stream_type))
        .bind(column!(|row| row.stream))
        .bind(column!(|row| row.sequence))
        .bind(column!(|row| row.principal))
        .bind(column!(|row| row.command))
        .bind(vec![0_i16; rows.len()])
        .bind(column!(|row| row.name))
        .bind(vec![1_i16; rows.len()])
        .bind(column!(|row| Json(row.payload)))
        .bind(column!(|row| Json(row.meta)))
        .bind(column!(|row| row.at))
        .bind(column!(|row| row.at))
        .execute(connection)
        .await?;
    Ok(())
}

/// Inserts one row with a prepared statement.
pub(super) async fn insert_one(connection: &mut PgConnection, table: &str, row: LogRow<'_>) -> Result<()> {
    let numbers: Vec<_> = (1..=17).map(|number| format!("${number}")).collect();
    let text = format!("INSERT INTO {table} VALUES ({})", numbers.join(", "));
    sqlx::query(&text)
        .bind(row.lane)
        .bind(row.position)
        .bind(EPOCH)
        .bind(row.tenant)
        .bind(row.tenant_position)
        .bind(row.stream_type)
        .bind(row.stream)
        .bind(row.sequence)
        .bind(row.principal)
        .bind(row.command)
        .bind(0_i16)
        .bind(row.name)
        .bind(1_i16)
        .bind(Json(row.payload))
        .bind(Json(row.meta))
        .bind(row.at)
        .bind(row.at)
        .execute(connection)
        .await?;
    Ok(())
}

/// A text that is sent to a `json` column unchanged.
struct Json<'a>(&'a str);

impl Type<Postgres> for Json<'_> {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("json")
    }
}

impl PgHasArrayType for Json<'_> {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("json[]")
    }
}

impl Encode<'_, Postgres> for Json<'_> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        <&str as Encode<'_, Postgres>>::encode_by_ref(&self.0, buffer)
    }
}
