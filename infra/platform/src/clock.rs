//! Clock, new ids, and timestamps as PostgreSQL sends them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use domain::shared::Timestamp;
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueFormat, PgValueRef};
use sqlx::{Decode, Encode, Postgres, Type};

/// The only reader of the wall clock in the product. `domain`, `commands` and `projections` receive the time as a
/// value; durations use `tokio::time::Instant`.
#[expect(clippy::disallowed_methods, reason = "the only reader of the wall clock")]
pub fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// Wall clock of the components that write lanes and compare their time with the database's. In the product it is the
/// clock of the machine; a test of a wrong clock shifts it. Clones share the shift.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    shift_micros: Arc<AtomicI64>,
}

impl Clock {
    pub fn now(&self) -> Timestamp {
        Timestamp::from_micros(now().micros().saturating_add(self.shift_micros.load(Ordering::Relaxed)))
    }

    /// Sets the shift of this clock and its clones from the clock of the machine, in microseconds. For tests only.
    pub fn shift(&self, micros: i64) {
        self.shift_micros.store(micros, Ordering::Relaxed);
    }
}

/// `at` plus a duration; the latest timestamp if the sum is later.
pub fn time_after(at: Timestamp, duration: Duration) -> Timestamp {
    Timestamp::from_micros(at.micros().saturating_add(micros(duration)))
}

/// `at` minus a duration; the earliest timestamp if the difference is earlier.
pub fn time_before(at: Timestamp, duration: Duration) -> Timestamp {
    Timestamp::from_micros(at.micros().saturating_sub(micros(duration)))
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// A new UUIDv7 (RFC 9562): the time in milliseconds, then random bits.
pub fn new_id() -> uuid::Uuid {
    let mut random = [0; 10];
    // Without random bits, ids of one millisecond are equal; a unique index then refuses the second row.
    getrandom::fill(&mut random).ok();
    let millis = u64::try_from(now().micros().div_euclid(1000)).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

/// A `timestamptz` of PostgreSQL, in binary form: microseconds since 2000. A [`Timestamp`] counts from 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timestamptz(pub Timestamp);

/// 2000-01-01T00:00:00Z, the epoch of PostgreSQL, in microseconds since 1970.
pub const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

impl Type<Postgres> for Timestamptz {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("timestamptz")
    }
}

impl PgHasArrayType for Timestamptz {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("timestamptz[]")
    }
}

impl Encode<'_, Postgres> for Timestamptz {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        Encode::<Postgres>::encode(self.0.micros().saturating_sub(POSTGRES_EPOCH), buffer)
    }
}

impl Decode<'_, Postgres> for Timestamptz {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        if value.format() == PgValueFormat::Text {
            return Err("timestamps can be decoded in binary form only".into());
        }
        let micros: i64 = Decode::<Postgres>::decode(value)?;
        Ok(Self(Timestamp::from_micros(micros.saturating_add(POSTGRES_EPOCH))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_added_and_subtracted_within_the_range_of_timestamps() {
        let at = Timestamp::from_micros(5_000_000);
        assert_eq!(time_after(at, Duration::from_millis(1)).micros(), 5_001_000);
        assert_eq!(time_before(at, Duration::from_secs(6)).micros(), -1_000_000);
        assert_eq!(time_after(at, Duration::MAX), Timestamp::from_micros(i64::MAX));
        assert_eq!(time_before(at, Duration::MAX), Timestamp::from_micros(i64::MIN));
    }
}
