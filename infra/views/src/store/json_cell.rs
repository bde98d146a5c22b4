//! JSON text of a cell, written straight from PostgreSQL's binary format.

use std::io::Write;

use domain::shared::Timestamp;
use platform::clock::POSTGRES_EPOCH;
use projections::kernel::ColumnType;
use sqlx::ValueRef;
use sqlx::error::BoxDynError;
use sqlx::postgres::PgValueRef;
use uuid::Uuid;

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// Appends the JSON text of a value, spelled as in the row type of its model.
pub(super) fn write_cell(text: &mut Vec<u8>, kind: ColumnType, value: PgValueRef<'_>) -> Result<(), sqlx::Error> {
    if value.is_null() {
        text.extend(b"null");
        return Ok(());
    }
    value.as_bytes().and_then(|bytes| write(text, kind, bytes)).map_err(sqlx::Error::Decode)
}

fn write(text: &mut Vec<u8>, kind: ColumnType, bytes: &[u8]) -> Result<(), BoxDynError> {
    match kind {
        ColumnType::Uuid => write!(text, "\"{}\"", Uuid::from_slice(bytes)?.hyphenated())?,
        ColumnType::Integer => write!(text, "{}", i64::from_be_bytes(bytes.try_into()?))?,
        ColumnType::Boolean => text.extend(if bytes == [0] { &b"false"[..] } else { b"true" }),
        ColumnType::Text => serde_json::to_writer(text, std::str::from_utf8(bytes)?)?,
        ColumnType::Instant => {
            let micros = i64::from_be_bytes(bytes.try_into()?).saturating_add(POSTGRES_EPOCH);
            write!(text, "\"{}\"", Timestamp::from_micros(micros))?;
        }
        ColumnType::Day => {
            let days = i64::from(i32::from_be_bytes(bytes.try_into()?));
            let midnight = Timestamp::from_micros(days * MICROS_PER_DAY + POSTGRES_EPOCH).to_string();
            write!(text, "\"{}\"", midnight.get(..10).ok_or("a day is out of range")?)?;
        }
        // The first byte is the version of the format; the server writes blanks and an order of its own.
        ColumnType::Json => {
            let json = bytes.split_first().ok_or("a document is empty")?.1;
            serde_json::to_writer(text, &serde_json::from_slice::<serde_json::Value>(json)?)?;
        }
    }
    Ok(())
}
