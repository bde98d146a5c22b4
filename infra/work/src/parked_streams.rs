//! Parked streams: a policy that cannot read an event waits in the stream of that event, and goes on everywhere else.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use commands::kernel::PolicyDescriptor;
use commands::scribe::LaneId;
use domain::shared::TenantId;
use platform::retry::{exponential_delay, random};
use projections::ports::RawEvent;
use sqlx::{PgConnection, PgPool};
use tokio::time::Instant;
use uuid::Uuid;

/// Bounds of the delay before a stream is tried again, which grows with every attempt.
const FIRST_DELAY: Duration = Duration::from_secs(2);
const DELAY_MOST: Duration = Duration::from_secs(300);
/// Interval at which attempts that operators asked for are looked for.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// A stream, as one policy follows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PolicyStream {
    pub(crate) policy: &'static str,
    pub(crate) lane: LaneId,
    pub(crate) tenant: TenantId,
    pub(crate) stream_type: String,
    pub(crate) stream: Uuid,
}

impl PolicyStream {
    /// The stream of an event.
    pub(crate) fn of(policy: &'static str, event: &RawEvent) -> Self {
        let (lane, stream_type) = (LaneId(event.lane), event.stream_type.to_string());
        Self { policy, lane, tenant: event.tenant, stream_type, stream: event.stream }
    }
}

/// Place and reason of the event that a policy cannot read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ParkedAt {
    pub(crate) position: i64,
    pub(crate) reason: String,
}

/// A change of a parked stream, written together with the timers and effects that belong to it.
pub(crate) struct ParkedChange {
    pub(crate) stream: PolicyStream,
    /// Place before; `None` if the stream was not parked.
    pub(crate) from: Option<i64>,
    /// Place from now on; `None` if the stream is no longer parked.
    pub(crate) to: Option<ParkedAt>,
}

/// Attempts at parked streams.
#[derive(Default)]
pub(crate) struct ParkedRetries {
    /// Number of failed attempts, and the time of the next one, by stream.
    attempts: BTreeMap<PolicyStream, (i32, Instant)>,
    /// Time of the next look for attempts that operators asked for.
    next_look: Option<Instant>,
}

impl ParkedRetries {
    /// Parked streams that are due for another attempt. Forgets those that are no longer parked.
    pub(crate) fn due<'p>(
        &mut self,
        parked: impl Iterator<Item = (&'p PolicyStream, &'p ParkedAt)>,
    ) -> Vec<(PolicyStream, ParkedAt)> {
        let parked: BTreeMap<_, _> = parked.collect();
        self.attempts.retain(|stream, _| parked.contains_key(stream));
        let now = Instant::now();
        let mut due = Vec::new();
        for (stream, at) in parked {
            // The first attempt is not made at once: the event was unreadable a moment ago.
            let (_, next) = *self.attempts.entry(stream.clone()).or_insert((0, now + FIRST_DELAY));
            if next <= now {
                due.push((stream.clone(), at.clone()));
            }
        }
        due
    }

    /// True if it is time to look for attempts that operators asked for.
    pub(crate) fn looks_for_requests(&mut self) -> bool {
        let now = Instant::now();
        let looks = self.next_look.is_none_or(|next| next <= now);
        if looks {
            self.next_look = Some(now + LOOK_INTERVAL);
        }
        looks
    }

    /// Makes the next attempt at a stream due now.
    pub(crate) fn retry_now(&mut self, stream: PolicyStream) {
        let now = Instant::now();
        self.attempts.entry(stream).or_insert((0, now)).1 = now;
    }

    /// Records an attempt after which the stream stays parked.
    pub(crate) fn record_failure(&mut self, stream: &PolicyStream) {
        if let Some((failures, next)) = self.attempts.get_mut(stream) {
            *failures = failures.saturating_add(1);
            let bound = exponential_delay(FIRST_DELAY, DELAY_MOST, *failures, random());
            *next = Instant::now() + FIRST_DELAY + bound;
        }
    }
}

/// Writes changes of parked streams. Returns false if another process has changed one of them.
pub(crate) async fn write_parked(connection: &mut PgConnection, changes: &[ParkedChange]) -> Result<bool, sqlx::Error> {
    for ParkedChange { stream, from, to } in changes {
        let written = match (from, to) {
            (None, None) => continue,
            (None, Some(to)) => insert(connection, stream, to).await?,
            (Some(from), Some(to)) => update(connection, stream, *from, to).await?,
            (Some(from), None) => delete(connection, stream, *from).await?,
        };
        if written == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn insert(connection: &mut PgConnection, stream: &PolicyStream, to: &ParkedAt) -> Result<u64, sqlx::Error> {
    let text = "INSERT INTO work.parked (policy, lane, tenant, stream_type, stream_id, position, reason)
                VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING";
    let insert = sqlx::query(text).bind(stream.policy).bind(stream.lane.0).bind(stream.tenant.uuid());
    let insert = insert.bind(&stream.stream_type).bind(stream.stream).bind(to.position).bind(&to.reason);
    Ok(insert.execute(connection).await?.rows_affected())
}

async fn update(
    connection: &mut PgConnection,
    stream: &PolicyStream,
    from: i64,
    to: &ParkedAt,
) -> Result<u64, sqlx::Error> {
    let text = "UPDATE work.parked SET position = $7, reason = $8
                WHERE policy = $1 AND lane = $2 AND tenant = $3 AND stream_type = $4 AND stream_id = $5
                  AND position = $6";
    let update = sqlx::query(text).bind(stream.policy).bind(stream.lane.0).bind(stream.tenant.uuid());
    let update = update.bind(&stream.stream_type).bind(stream.stream).bind(from).bind(to.position).bind(&to.reason);
    Ok(update.execute(connection).await?.rows_affected())
}

async fn delete(connection: &mut PgConnection, stream: &PolicyStream, from: i64) -> Result<u64, sqlx::Error> {
    let text = "DELETE FROM work.parked
                WHERE policy = $1 AND lane = $2 AND tenant = $3 AND stream_type = $4 AND stream_id = $5
                  AND position = $6";
    let delete = sqlx::query(text).bind(stream.policy).bind(stream.lane.0).bind(stream.tenant.uuid());
    let delete = delete.bind(&stream.stream_type).bind(stream.stream).bind(from);
    Ok(delete.execute(connection).await?.rows_affected())
}

/// Reads the parked streams of these policies.
pub(crate) async fn read_parked(
    connection: &mut PgConnection,
    policies: &[PolicyDescriptor],
) -> Result<Vec<(PolicyStream, ParkedAt)>, sqlx::Error> {
    type Row = (String, i16, Uuid, String, Uuid, i64, String);
    let text = "SELECT policy, lane, tenant, stream_type, stream_id, position, reason FROM work.parked";
    let rows: Vec<Row> = sqlx::query_as(text).fetch_all(connection).await?;
    let entry = |(policy, lane, tenant, stream_type, stream, position, reason): Row| {
        let policy = policies.iter().find(|known| known.id == policy)?.id;
        let stream = PolicyStream { policy, lane: LaneId(lane), tenant: TenantId::new(tenant), stream_type, stream };
        Some((stream, ParkedAt { position, reason }))
    };
    Ok(rows.into_iter().filter_map(entry).collect())
}

/// Takes the requests of operators to try parked streams of these lanes now.
pub(crate) async fn take_requests(
    pool: &PgPool,
    policies: &[PolicyDescriptor],
    lanes: &BTreeSet<LaneId>,
) -> Result<Vec<PolicyStream>, sqlx::Error> {
    type Row = (String, i16, Uuid, String, Uuid);
    let text = "UPDATE work.parked SET retry_asked = false WHERE retry_asked AND lane = ANY($1)
                RETURNING policy, lane, tenant, stream_type, stream_id";
    let lanes: Vec<i16> = lanes.iter().map(|lane| lane.0).collect();
    let rows: Vec<Row> = sqlx::query_as(text).bind(lanes).fetch_all(pool).await?;
    let stream = |(policy, lane, tenant, stream_type, stream): Row| {
        let policy = policies.iter().find(|known| known.id == policy)?.id;
        Some(PolicyStream { policy, lane: LaneId(lane), tenant: TenantId::new(tenant), stream_type, stream })
    };
    Ok(rows.into_iter().filter_map(stream).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_of_an_operator_ends_the_delay_before_the_next_attempt() {
        let (policy, tenant, stream) = ("a_policy", TenantId::new(Uuid::from_u128(1)), Uuid::from_u128(2));
        let stream = PolicyStream { policy, lane: LaneId(3), tenant, stream_type: "Order".into(), stream };
        let at = ParkedAt { position: 7, reason: "broken".into() };
        let mut retries = ParkedRetries::default();
        let due = |retries: &mut ParkedRetries| retries.due([(&stream, &at)].into_iter()).len();
        assert_eq!(due(&mut retries), 0);
        retries.retry_now(stream.clone());
        assert_eq!(due(&mut retries), 1);
        retries.record_failure(&stream);
        assert_eq!(due(&mut retries), 0);
        retries.retry_now(stream.clone());
        assert_eq!(due(&mut retries), 1);
    }

    #[test]
    fn requests_are_looked_for_once_in_an_interval() {
        let mut retries = ParkedRetries::default();
        assert!(retries.looks_for_requests() && !retries.looks_for_requests());
        retries.next_look = Some(Instant::now());
        assert!(retries.looks_for_requests());
    }
}
