//! Rows in PostgreSQL's binary form: line by line for COPY, or column by column as arrays.
//!
//! A row comes as JSON text and is cut into its fields without a tree. The server then parses nothing, which is what
//! rows made of JSON or of texts cost most.

use std::borrow::Cow;
use std::fmt;

use domain::shared::{Date, TenantId, Timestamp};
use projections::kernel::{Change, Column, ColumnType, Place};
use serde::Deserializer as _;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgTypeInfo};
use sqlx::{Encode, Postgres, Type};
use uuid::Uuid;

type JsonError = serde_json::Error;

use platform::clock::POSTGRES_EPOCH;
const MICROS_PER_DAY: i64 = 86_400_000_000;

/// The first bytes of COPY's binary form: its signature, no flags, no extension.
pub(super) const COPY_BEGINS: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// The last bytes of COPY's binary form.
pub(super) const COPY_ENDS: &[u8] = &(-1_i16).to_be_bytes();

/// One column of many rows, as an array to be bound.
pub(super) struct Array {
    kind: ColumnType,
    count: i32,
    fields: Vec<u8>,
}

impl Array {
    fn new(kind: ColumnType) -> Self {
        Self { kind, count: 0, fields: Vec::new() }
    }

    fn push(&mut self, value: Option<&RawValue>) -> Result<(), JsonError> {
        self.count += 1;
        write_field(&mut self.fields, self.kind, value)
    }

    fn push_tenant(&mut self, tenant: TenantId) {
        self.count += 1;
        write_sized(&mut self.fields, tenant.uuid().as_bytes());
    }
}

/// The columns of the rows that stay, the tenant first; nothing where none stays.
pub(super) fn row_arrays(columns: &[Column], changes: &[Change]) -> Result<Option<Vec<Array>>, JsonError> {
    let mut tenants = Array::new(ColumnType::Uuid);
    let mut arrays: Vec<_> = columns.iter().map(|column| Array::new(column.kind)).collect();
    for (place, row) in changes.iter().filter_map(|change| Some((&change.place, change.row.as_ref()?))) {
        tenants.push_tenant(place.tenant);
        for (array, field) in arrays.iter_mut().zip(fields(columns, row)?) {
            array.push(field)?;
        }
    }
    arrays.insert(0, tenants);
    Ok((arrays[0].count > 0).then_some(arrays))
}

/// The columns of the places' keys, the tenant first.
pub(super) fn place_arrays(key: &[ColumnType], places: &[&Place]) -> Result<Vec<Array>, JsonError> {
    let mut tenants = Array::new(ColumnType::Uuid);
    let mut arrays: Vec<_> = key.iter().map(|kind| Array::new(*kind)).collect();
    for place in places {
        tenants.push_tenant(place.tenant);
        let values: Vec<&RawValue> = serde_json::from_str(place.key.as_str())?;
        for (at, array) in arrays.iter_mut().enumerate() {
            array.push(values.get(at).copied())?;
        }
    }
    arrays.insert(0, tenants);
    Ok(arrays)
}

/// One row for COPY, the tenant first.
pub(super) fn write_row(out: &mut Vec<u8>, columns: &[Column], place: &Place, row: &str) -> Result<(), JsonError> {
    // A table of PostgreSQL has 1,600 columns at most.
    let count = i16::try_from(columns.len() + 1).unwrap_or(i16::MAX);
    out.extend(count.to_be_bytes());
    write_sized(out, place.tenant.uuid().as_bytes());
    columns.iter().zip(fields(columns, row)?).try_for_each(|(column, field)| write_field(out, column.kind, field))
}

/// A value behind its length, as arrays and COPY both want it; -1 says that there is none.
fn write_field(out: &mut Vec<u8>, kind: ColumnType, value: Option<&RawValue>) -> Result<(), JsonError> {
    let Some(json) = value.map(RawValue::get).filter(|json| *json != "null") else {
        out.extend((-1_i32).to_be_bytes());
        return Ok(());
    };
    match kind {
        ColumnType::Uuid => write_sized(out, serde_json::from_str::<Uuid>(json)?.as_bytes()),
        ColumnType::Integer => write_sized(out, &serde_json::from_str::<i64>(json)?.to_be_bytes()),
        ColumnType::Boolean => write_sized(out, &[u8::from(json == "true")]),
        ColumnType::Text => write_sized(out, text(json)?.as_bytes()),
        ColumnType::Instant => {
            let instant: Timestamp = serde_json::from_str(json)?;
            write_sized(out, &instant.micros().saturating_sub(POSTGRES_EPOCH).to_be_bytes());
        }
        ColumnType::Day => write_sized(out, &days(serde_json::from_str(json)?).to_be_bytes()),
        // The first byte is the version of the format.
        ColumnType::Json => write_sized(out, &[b"\x01", json.as_bytes()].concat()),
    }
    Ok(())
}

fn write_sized(out: &mut Vec<u8>, value: &[u8]) {
    // No event, and so no row, comes near the two gigabytes that would not fit.
    out.extend(i32::try_from(value.len()).unwrap_or(i32::MAX).to_be_bytes());
    out.extend(value);
}

/// What a JSON string says; most have no escapes.
fn text(json: &str) -> Result<Cow<'_, str>, JsonError> {
    let plain = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).filter(|word| !word.contains('\\'));
    plain.map_or_else(|| serde_json::from_str(json).map(Cow::Owned), |plain| Ok(Cow::Borrowed(plain)))
}

/// Days since 2000-01-01.
fn days(day: Date) -> i32 {
    let midnight: Timestamp = format!("{day}T00:00:00Z").parse().unwrap_or_default();
    let days = midnight.micros().saturating_sub(POSTGRES_EPOCH).div_euclid(MICROS_PER_DAY);
    i32::try_from(days).unwrap_or_default()
}

/// The fields of a row in the order of the columns.
fn fields<'r>(columns: &[Column], row: &'r str) -> Result<Vec<Option<&'r RawValue>>, JsonError> {
    serde_json::Deserializer::from_str(row).deserialize_map(Fields { columns })
}

struct Fields<'c> {
    columns: &'c [Column],
}

impl<'r> Visitor<'r> for Fields<'_> {
    type Value = Vec<Option<&'r RawValue>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a row")
    }

    fn visit_map<M: MapAccess<'r>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut fields = vec![None; self.columns.len()];
        while let Some((name, value)) = map.next_entry::<&str, &RawValue>()? {
            if let Ok(at) = self.columns.binary_search_by(|column| column.name.as_str().cmp(name)) {
                fields[at] = Some(value);
            }
        }
        Ok(fields)
    }
}

/// The numbers by which PostgreSQL knows a type and the arrays of it; they are the same everywhere and for ever.
fn numbers(kind: ColumnType) -> (u32, u32) {
    match kind {
        ColumnType::Uuid => (2950, 2951),
        ColumnType::Integer => (20, 1016),
        ColumnType::Boolean => (16, 1000),
        ColumnType::Text => (25, 1009),
        ColumnType::Instant => (1184, 1185),
        ColumnType::Day => (1082, 1182),
        ColumnType::Json => (3802, 3807),
    }
}

impl Type<Postgres> for Array {
    /// Every array says itself what it holds, see [`produces`](Encode::produces).
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("anyarray")
    }
}

impl Encode<'_, Postgres> for Array {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        // One dimension, nulls may come, and counting begins at 1.
        let [dimensions, nulls, begins] = [1_i32, 1, 1].map(i32::to_be_bytes);
        let element = numbers(self.kind).0.to_be_bytes();
        for part in [dimensions, nulls, element, self.count.to_be_bytes(), begins] {
            buffer.extend(part);
        }
        buffer.extend(&self.fields);
        Ok(IsNull::No)
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        Some(PgTypeInfo::with_oid(Oid(numbers(self.kind).1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(kind: ColumnType, json: &str) -> Vec<u8> {
        let mut out = Vec::new();
        write_field(&mut out, kind, Some(serde_json::from_str(json).expect("JSON"))).expect("of this kind");
        out
    }

    #[test]
    fn a_value_stands_behind_its_length_as_postgresql_counts() {
        assert_eq!(field(ColumnType::Integer, "-2"), [0, 0, 0, 8, 255, 255, 255, 255, 255, 255, 255, 254]);
        assert_eq!(field(ColumnType::Text, r#""a\tb""#), [0, 0, 0, 3, b'a', b'\t', b'b']);
        assert_eq!(field(ColumnType::Day, r#""1999-12-31""#), [0, 0, 0, 4, 255, 255, 255, 255]);
        assert_eq!(
            field(ColumnType::Instant, r#""2000-01-01T00:00:00.000002Z""#),
            [0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 2]
        );
        assert_eq!(field(ColumnType::Json, "[]"), [0, 0, 0, 3, 1, b'[', b']']);
        assert_eq!(field(ColumnType::Boolean, "true"), [0, 0, 0, 1, 1]);
        assert_eq!(field(ColumnType::Uuid, "null"), [255, 255, 255, 255]);
    }

    #[test]
    fn fields_come_in_the_order_of_the_columns_whatever_the_row_says_first() {
        let column = |name: &str| Column { name: name.into(), kind: ColumnType::Integer, optional: true };
        let columns = ["a", "b", "c"].map(column);
        let found = fields(&columns, r#"{"c":3,"x":{"a":9},"a":1}"#).expect("a row");
        let found: Vec<_> = found.into_iter().map(|field| field.map(RawValue::get)).collect();
        assert_eq!(found, [Some("1"), None, Some("3")]);
    }
}
