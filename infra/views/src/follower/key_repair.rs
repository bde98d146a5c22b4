//! Repair of parked keys and streams: rebuilds the rows of each parked entry from the log, in the background. An entry
//! whose events still cannot be folded stays parked and is tried again later.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use commands::scribe::LaneId;
use domain::shared::TenantId;
use platform::health::Health;
use platform::retry::{exponential_delay, random};
use projections::kernel::{Key, Models, Place};
use projections::ports::StreamPlace;
use sqlx::PgPool;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use uuid::Uuid;

use crate::live::RowNotices;
use crate::store::{KeyRebuild, ParkedEntry, rebuild_parked};

/// Interval at which parked entries are looked for.
const INTERVAL: Duration = Duration::from_secs(2);
/// Entries looked at in one pass.
const ENTRIES_MOST: i64 = 1_000;
/// Bounds of the delay before an entry is tried again, which grows with every attempt.
const FIRST_DELAY: Duration = Duration::from_secs(4);
const DELAY_MOST: Duration = Duration::from_secs(600);
/// Name of the parked entries in the health report.
const COMPONENT: &str = "parked keys";

/// Background repair of the parked keys and streams of all read models.
pub(super) struct KeyRepair {
    shared: Shared,
    running: Option<JoinHandle<Attempts>>,
    attempts: Attempts,
    next_pass: Instant,
}

/// Number of failed attempts, and the time of the next one, by model and description of the entry. An entry that is no
/// longer parked is left out.
type Attempts = HashMap<(String, String), (i32, Instant)>;

#[derive(Clone)]
struct Shared {
    pool: PgPool,
    models: Arc<Models>,
    notices: RowNotices,
    health: Health,
}

/// A parked key or stream, with the reason for which its first event was parked.
struct Entry {
    model: String,
    parked: ParkedEntry,
    reason: String,
}

impl Entry {
    /// Description for operators.
    fn name(&self) -> String {
        let tenant = self.parked.tenant();
        match &self.parked {
            ParkedEntry::Key { place, .. } => format!("{} {} of tenant {tenant}", self.model, place.key),
            ParkedEntry::Stream { place, .. } => {
                format!("{} in the stream {} {} of tenant {tenant}", self.model, place.stream_type, place.stream)
            }
        }
    }
}

impl KeyRepair {
    pub(super) fn new(pool: PgPool, models: Arc<Models>, notices: RowNotices, health: Health) -> Self {
        let shared = Shared { pool, models, notices, health };
        Self { shared, running: None, attempts: Attempts::new(), next_pass: Instant::now() }
    }

    /// Starts a pass over the parked entries of these lanes if one is due.
    pub(super) async fn advance(&mut self, lanes: &BTreeSet<LaneId>) {
        if let Some(pass) = self.running.take_if(|pass| pass.is_finished()) {
            self.attempts = pass.await.unwrap_or_default();
            self.next_pass = Instant::now() + INTERVAL;
        }
        if self.running.is_none() && Instant::now() >= self.next_pass {
            let (shared, lanes) = (self.shared.clone(), lanes.iter().map(|lane| lane.0).collect());
            let attempts = std::mem::take(&mut self.attempts);
            self.running = Some(tokio::spawn(async move { shared.repair(lanes, attempts).await }));
        }
    }
}

impl Drop for KeyRepair {
    fn drop(&mut self) {
        if let Some(pass) = &self.running {
            pass.abort();
        }
    }
}

impl Shared {
    /// Tries every entry of these lanes that is due. Returns the attempts at those that stay parked.
    async fn repair(&self, lanes: Vec<i16>, mut attempts: Attempts) -> Attempts {
        let (entries, total) = match self.parked(lanes.clone()).await {
            Ok(parked) => parked,
            Err(error) => {
                tracing::warn!(%error, "parked entries cannot be read now; trying again");
                return attempts;
            }
        };
        match self.take_requests(&lanes).await {
            // An entry without earlier attempts is tried at once.
            Ok(requests) => requests.iter().for_each(|entry| {
                attempts.remove(&(entry.model.clone(), entry.name()));
            }),
            Err(error) => tracing::warn!(%error, "requests to try parked entries again cannot be read now"),
        }
        let (mut left, mut changed) = (Attempts::new(), BTreeSet::new());
        let mut first = None;
        for entry in &entries {
            let id = (entry.model.clone(), entry.name());
            let (failures, due) = attempts.remove(&id).unwrap_or((0, Instant::now()));
            let next = match due <= Instant::now() {
                true => self.try_entry(entry, failures, &mut changed).await,
                false => Some((failures, due)),
            };
            if let Some(next) = next {
                first = first.or(Some(entry));
                left.insert(id, next);
            }
        }
        // The notice makes all subscribers of a model start over, so there is one per model and not one per row.
        changed.iter().for_each(|model| self.notices.publish_rebuilt(model));
        let repaired = i64::try_from(entries.len().saturating_sub(left.len())).unwrap_or(0);
        self.report(first, total.saturating_sub(repaired));
        left
    }

    /// Tries to rebuild the rows of one entry; on success, adds its model to `changed`. Returns the number of failures and the
    /// time of the next attempt if the entry stays parked.
    async fn try_entry(&self, entry: &Entry, failures: i32, changed: &mut BTreeSet<String>) -> Option<(i32, Instant)> {
        let model = self.models.get(&entry.model)?;
        let name = entry.name();
        let reason = match rebuild_parked(&self.pool, model, &entry.parked).await {
            Ok(KeyRebuild::Done) => {
                tracing::info!("{name} is no longer parked; its rows were rebuilt from the log");
                changed.insert(entry.model.clone());
                return None;
            }
            Ok(KeyRebuild::Unneeded) => return None,
            Ok(KeyRebuild::Failed(reason)) => reason,
            Err(fault) => match &fault.source {
                Some(source) => format!("{fault}: {source}"),
                None => fault.to_string(),
            },
        };
        tracing::debug!(reason, "{name} stays parked");
        let failures = failures.saturating_add(1);
        let delay = exponential_delay(FIRST_DELAY, DELAY_MOST, failures, random());
        Some((failures, Instant::now() + delay))
    }

    /// Reports the entries that stay parked. The process stays ready: everything else continues.
    fn report(&self, first: Option<&Entry>, count: i64) {
        let count_shown = f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        metrics::gauge!("cartulary_read_models_parked_keys").set(count_shown);
        let problem = first.map(|entry| {
            format!(
                "{count} entries of read models; they are rebuilt from the log as soon as that is possible; one is {}: {}",
                entry.name(),
                entry.reason
            )
        });
        self.health.set_degradation(COMPONENT, problem);
    }

    /// Parked keys and streams of these lanes in the tables of this process, the oldest first, and their total number.
    async fn parked(&self, lanes: Vec<i16>) -> Result<(Vec<Entry>, i64), sqlx::Error> {
        type Row = (String, i16, Uuid, String, Option<String>, Option<Uuid>, i64, String, i64);
        let text = "SELECT model, lane, tenant, key, stream_type, stream_id, min(position),
                           (array_agg(reason ORDER BY position))[1], count(*) OVER ()
                    FROM reads.parked JOIN unnest($3::text[], $4::text[]) AS own(model, shape) USING (model, shape)
                    WHERE lane = ANY($1) GROUP BY model, lane, tenant, key, stream_type, stream_id
                    ORDER BY min(parked_at) LIMIT $2";
        let own = self.models.shapes();
        let rows: Vec<Row> =
            sqlx::query_as(text).bind(lanes).bind(ENTRIES_MOST).bind(own.0).bind(own.1).fetch_all(&self.pool).await?;
        let total = rows.first().map_or(0, |(.., total)| *total);
        let entry = |(model, lane, tenant, key, stream_type, stream, position, reason, _): Row| {
            entry((model, lane, tenant, key, stream_type, stream, position, reason))
        };
        Ok((rows.into_iter().map(entry).collect(), total))
    }

    /// Takes the requests of operators to try entries of these lanes now.
    async fn take_requests(&self, lanes: &[i16]) -> Result<Vec<Entry>, sqlx::Error> {
        let text = "UPDATE reads.parked SET retry_asked = false
                    FROM unnest($2::text[], $3::text[]) AS own(model, shape)
                    WHERE retry_asked AND lane = ANY($1) AND parked.model = own.model AND parked.shape = own.shape
                    RETURNING parked.model, lane, tenant, key, stream_type, stream_id, position, reason";
        let own = self.models.shapes();
        let rows: Vec<EntryRow> =
            sqlx::query_as(text).bind(lanes).bind(own.0).bind(own.1).fetch_all(&self.pool).await?;
        Ok(rows.into_iter().map(entry).collect())
    }
}

/// Columns of an entry: model, lane, tenant, key, stream type and stream, position and reason.
type EntryRow = (String, i16, Uuid, String, Option<String>, Option<Uuid>, i64, String);

fn entry((model, lane, tenant, key, stream_type, stream, position, reason): EntryRow) -> Entry {
    let tenant = TenantId::new(tenant);
    let parked = match (stream_type, stream) {
        (Some(stream_type), Some(stream)) => {
            let place = StreamPlace { tenant, stream_type: stream_type.into(), stream };
            ParkedEntry::Stream { lane, place, position }
        }
        _ => ParkedEntry::Key { lane, place: Place { tenant, key: Key::from_text(key) } },
    };
    Entry { model, parked, reason }
}
