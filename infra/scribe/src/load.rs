//! Loader: reads tenant positions, receipts and streams (snapshot and later events) that a scribe needs. Runs outside
//! the scribe's loop and reads all requests of one kind with one query.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use commands::kernel::{Rejected, StateRegistry, StreamRef};
use commands::scribe::{
    Accepted, ChangedStream, LaneId, Load, LoadOutcome, LoadResult, LoadedState, Need, ReceiptKey, Settled,
    StoredReceipt, StreamKey,
};
use domain::kernel::Retry;
use domain::shared::{CommandId, Principal, TenantId};
use platform::clock::Timestamptz;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row};
use tokio::time::timeout;
use uuid::Uuid;

/// Time limit of a round of loads. By then the callers may have given up.
const LOAD_TIMEOUT: Duration = Duration::from_secs(20);

/// Carries out loads. If those of one kind cannot be read now, their result is `Unavailable`.
pub(super) async fn load(pool: &PgPool, registry: &StateRegistry, loads: Vec<Load>) -> Vec<LoadOutcome> {
    let (mut tenants, mut receipts, mut streams) = (vec![], vec![], vec![]);
    for load in loads {
        match load.need {
            Need::Tenant(tenant) => tenants.push((load, tenant)),
            Need::Receipt(key) => receipts.push((load, key)),
            Need::Stream(key) => streams.push((load, key)),
        }
    }
    let (tenants, receipts, streams) = futures::join!(
        load_tenants(pool, &tenants),
        load_wanted_receipts(pool, registry, &receipts),
        load_streams(pool, registry, &streams),
    );
    [tenants, receipts, streams].into_iter().flatten().collect()
}

async fn load_tenants(pool: &PgPool, wanted: &[(Load, TenantId)]) -> Vec<LoadOutcome> {
    if wanted.is_empty() {
        return vec![];
    }
    let lanes: Vec<_> = wanted.iter().map(|(load, _)| load.lane.0).collect();
    let tenants: Vec<_> = wanted.iter().map(|(_, tenant)| tenant.uuid()).collect();
    let text = "SELECT coalesce((SELECT e.tenant_position FROM log.events e
                                 WHERE e.lane = k.lane AND e.tenant = k.tenant
                                 ORDER BY e.tenant_position DESC LIMIT 1), 0)
                FROM unnest($1::smallint[], $2::uuid[]) WITH ORDINALITY AS k(lane, tenant, number) ORDER BY k.number";
    let heads: Result<Vec<i64>, _> = sqlx::query_scalar(text).bind(lanes).bind(tenants).fetch_all(pool).await;
    let heads = heads.inspect_err(|error| tracing::warn!(%error, "tenant positions cannot be read"));
    let result = |number: usize| match &heads {
        Ok(heads) => heads.get(number).map_or(LoadResult::Unavailable, |head| LoadResult::Tenant(*head)),
        Err(_) => LoadResult::Unavailable,
    };
    wanted.iter().enumerate().map(|(number, (load, _))| LoadOutcome { load: *load, result: result(number) }).collect()
}

async fn load_wanted_receipts(
    pool: &PgPool,
    registry: &StateRegistry,
    wanted: &[(Load, ReceiptKey)],
) -> Vec<LoadOutcome> {
    if wanted.is_empty() {
        return vec![];
    }
    let keys: Vec<_> = wanted.iter().map(|(load, key)| (load.lane, *key)).collect();
    let receipts = async { load_receipts(&mut *pool.acquire().await?, registry, &keys).await }.await;
    let receipts = receipts.inspect_err(|error| tracing::warn!(%error, "receipts cannot be read"));
    let result = |key: &ReceiptKey| match &receipts {
        Ok(receipts) => LoadResult::Receipt(receipts.get(key).cloned()),
        Err(_) => LoadResult::Unavailable,
    };
    wanted.iter().map(|(load, key)| LoadOutcome { load: *load, result: result(key) }).collect()
}

/// Reads the stored receipts of commands. That of a command with events is built from its events; that of a rejection
/// or of a command without effect has a row of its own.
pub async fn load_receipts(
    connection: &mut PgConnection,
    registry: &StateRegistry,
    keys: &[(LaneId, ReceiptKey)],
) -> Result<HashMap<ReceiptKey, StoredReceipt>, sqlx::Error> {
    let lanes: Vec<_> = keys.iter().map(|(lane, _)| lane.0).collect();
    let tenants: Vec<_> = keys.iter().map(|(_, key)| key.tenant.uuid()).collect();
    let principals: Vec<_> = keys.iter().map(|(_, key)| key.principal.uuid()).collect();
    let commands: Vec<_> = keys.iter().map(|(_, key)| key.command.uuid()).collect();
    let wanted = "FROM unnest($1::smallint[], $2::uuid[], $3::uuid[], $4::uuid[]) AS k(lane, tenant, principal, id)";
    // `LIMIT` and `ORDER BY` inside the lateral queries force one index scan per key, even if the statistics of the
    // table are stale.
    let matches = "lane = k.lane AND tenant = k.tenant AND principal = k.principal AND command_id = k.id";
    let events = format!(
        "SELECT e.* {wanted} CROSS JOIN LATERAL (
             SELECT tenant, principal, command_id, tenant_position, epoch, recorded_at, stream_type, stream_id, sequence,
                    meta->>'fingerprint' AS fingerprint
             FROM log.events WHERE {matches} ORDER BY command_index
         ) e"
    );
    let rows = format!(
        "SELECT r.* {wanted} CROSS JOIN LATERAL (
             SELECT tenant, principal, command_id, tenant_position, epoch, recorded_at, fingerprint, code, retry,
                    detail::text AS detail
             FROM log.receipts WHERE {matches} LIMIT 1
         ) r"
    );
    let mut receipts = HashMap::new();
    let query = sqlx::query(&events).bind(&lanes).bind(&tenants).bind(&principals).bind(&commands);
    for row in query.fetch_all(&mut *connection).await? {
        add_event(&mut receipts, registry, &row)?;
    }
    let query = sqlx::query(&rows).bind(&lanes).bind(&tenants).bind(&principals).bind(&commands);
    for row in query.fetch_all(connection).await? {
        let (key, receipt) = read_receipt(&row)?;
        receipts.insert(key, receipt);
    }
    Ok(receipts)
}

fn read_key(row: &PgRow) -> Result<ReceiptKey, sqlx::Error> {
    Ok(ReceiptKey {
        tenant: TenantId::new(row.try_get("tenant")?),
        principal: Principal::new(row.try_get("principal")?),
        command: CommandId::new(row.try_get("command_id")?),
    })
}

fn accepted(row: &PgRow) -> Result<Accepted, sqlx::Error> {
    Ok(Accepted {
        tenant_position: row.try_get("tenant_position")?,
        epoch: row.try_get("epoch")?,
        recorded_at: row.try_get::<Timestamptz, _>("recorded_at")?.0,
        changed: Default::default(),
    })
}

/// Adds one event of a command to its receipt. Only the first event of a command carries the fingerprint.
fn add_event(
    receipts: &mut HashMap<ReceiptKey, StoredReceipt>,
    registry: &StateRegistry,
    row: &PgRow,
) -> Result<(), sqlx::Error> {
    let fingerprint: Option<&str> = row.try_get("fingerprint")?;
    let fresh = StoredReceipt { fingerprint: Default::default(), settled: Settled::Accepted(accepted(row)?) };
    let known = receipts.entry(read_key(row)?).or_insert(fresh);
    if let Some(fingerprint) = fingerprint {
        known.fingerprint = fingerprint.into();
    }
    let Settled::Accepted(receipt) = &mut known.settled else { return Ok(()) };
    receipt.tenant_position = row.try_get("tenant_position")?;
    let name: String = row.try_get("stream_type")?;
    let (stream, sequence): (Uuid, i64) = (row.try_get("stream_id")?, row.try_get("sequence")?);
    let Some(stream_type) = registry.stream_type(&name) else { return Ok(()) };
    match receipt.changed.iter_mut().find(|known| known.stream == stream && known.stream_type == stream_type) {
        Some(known) => known.sequence = sequence,
        None => receipt.changed.push(ChangedStream { stream_type, stream, sequence }),
    }
    Ok(())
}

fn read_receipt(row: &PgRow) -> Result<(ReceiptKey, StoredReceipt), sqlx::Error> {
    let fingerprint = row.try_get::<&str, _>("fingerprint")?.into();
    let Accepted { tenant_position, epoch, recorded_at, .. } = accepted(row)?;
    let settled = match row.try_get::<Option<String>, _>("code")? {
        None => Settled::Accepted(accepted(row)?),
        Some(code) => {
            // Without `detail`, the code serves as the message.
            let detail: Option<String> = row.try_get("detail")?;
            let detail: serde_json::Value =
                detail.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
            let retry = match row.try_get::<Option<&str>, _>("retry")? {
                Some("SAME_ID") => Retry::SameId,
                Some("NEVER") => Retry::Never,
                _ => Retry::NewId,
            };
            let message = detail["message"].as_str().unwrap_or(&code).to_owned();
            let rejected = Rejected { code, message, details: detail["details"].clone(), retry };
            Settled::Rejected { rejected: Box::new(rejected), tenant_position, epoch, recorded_at }
        }
    };
    Ok((read_key(row)?, StoredReceipt { fingerprint, settled }))
}

async fn load_streams(pool: &PgPool, registry: &StateRegistry, wanted: &[(Load, StreamKey)]) -> Vec<LoadOutcome> {
    if wanted.is_empty() {
        return vec![];
    }
    match fold_streams(pool, registry, wanted).await {
        Ok(results) => {
            wanted.iter().zip(results).map(|((load, _), result)| LoadOutcome { load: *load, result }).collect()
        }
        Err(error) => {
            tracing::warn!(%error, "streams cannot be read");
            wanted.iter().map(|(load, _)| LoadOutcome { load: *load, result: LoadResult::Unavailable }).collect()
        }
    }
}

async fn fold_streams(
    pool: &PgPool,
    registry: &StateRegistry,
    wanted: &[(Load, StreamKey)],
) -> Result<Vec<LoadResult>, sqlx::Error> {
    let mut states = start_from_snapshots(pool, registry, wanted).await?;
    let lanes: Vec<_> = wanted.iter().map(|(load, _)| load.lane.0).collect();
    let tenants: Vec<_> = wanted.iter().map(|(_, key)| key.tenant.uuid()).collect();
    let types: Vec<_> = wanted.iter().map(|(_, key)| key.stream.stream_type).collect();
    let ids: Vec<_> = wanted.iter().map(|(_, key)| key.stream.id).collect();
    let after: Vec<_> = states.iter().map(|state| state.as_ref().map_or(0, |state| state.sequence)).collect();
    let text = "SELECT k.number, e.sequence, e.type, e.version, e.payload::text
                FROM unnest($1::smallint[], $2::uuid[], $3::text[], $4::uuid[], $5::bigint[]) WITH ORDINALITY
                     AS k(lane, tenant, stream_type, stream_id, after, number)
                CROSS JOIN LATERAL (
                    SELECT e.sequence, e.type, e.version, e.payload FROM log.events e
                    WHERE e.lane = k.lane AND e.tenant = k.tenant AND e.stream_type = k.stream_type
                      AND e.stream_id = k.stream_id AND e.sequence > k.after
                    ORDER BY e.sequence
                ) e";
    let query = sqlx::query_as::<_, (i64, i64, String, i16, String)>(text);
    let query = query.bind(lanes).bind(tenants).bind(types).bind(ids).bind(after);
    let mut broken: HashMap<usize, String> = HashMap::new();
    for (number, sequence, name, version, payload) in query.fetch_all(pool).await? {
        let place = usize::try_from(number.saturating_sub(1)).unwrap_or(usize::MAX);
        let Some(Some(loaded)) = states.get_mut(place) else { continue };
        loaded.tail_bytes = loaded.tail_bytes.saturating_add(payload.len());
        let reason = match loaded.state.replay(&name, version, &payload) {
            Ok(()) if sequence == loaded.sequence.saturating_add(1) => {
                loaded.sequence = sequence;
                continue;
            }
            Ok(()) => format!("event {sequence} follows event {}", loaded.sequence),
            Err(unreadable) => unreadable.to_string(),
        };
        broken.entry(place).or_insert(reason);
    }
    let results = states.into_iter().enumerate().map(|(place, state)| match (state, broken.remove(&place)) {
        (_, Some(reason)) => LoadResult::Unreadable(reason),
        (Some(state), None) => LoadResult::Stream(state),
        (None, None) => LoadResult::Unreadable("the stream type is unknown".into()),
    });
    Ok(results.collect())
}

/// State of each stream from its snapshot, or the initial state if there is no snapshot of the current state version.
/// `None` for an unknown stream type.
async fn start_from_snapshots(
    pool: &PgPool,
    registry: &StateRegistry,
    wanted: &[(Load, StreamKey)],
) -> Result<Vec<Option<LoadedState>>, sqlx::Error> {
    let lanes: Vec<_> = wanted.iter().map(|(load, _)| load.lane.0).collect();
    let tenants: Vec<_> = wanted.iter().map(|(_, key)| key.tenant.uuid()).collect();
    let types: Vec<_> = wanted.iter().map(|(_, key)| key.stream.stream_type).collect();
    let ids: Vec<_> = wanted.iter().map(|(_, key)| key.stream.id).collect();
    let text = "SELECT k.number, s.state_version, s.sequence, s.state
                FROM unnest($1::smallint[], $2::uuid[], $3::text[], $4::uuid[]) WITH ORDINALITY
                     AS k(lane, tenant, stream_type, stream_id, number)
                CROSS JOIN LATERAL (
                    SELECT s.state_version, s.sequence, s.state::text AS state FROM log.snapshots s
                    WHERE s.lane = k.lane AND s.tenant = k.tenant AND s.stream_type = k.stream_type
                      AND s.stream_id = k.stream_id
                    LIMIT 1
                ) s";
    let query = sqlx::query_as::<_, (i64, i32, i64, String)>(text).bind(lanes).bind(tenants).bind(types).bind(ids);
    let fresh = |stream: StreamRef| {
        let state = registry.get(stream.stream_type)?.fresh();
        Some(LoadedState { state, sequence: 0, snapshot_bytes: 0, tail_bytes: 0 })
    };
    let mut states: Vec<_> = wanted.iter().map(|(_, key)| fresh(key.stream)).collect();
    for (number, state_version, sequence, text) in query.fetch_all(pool).await? {
        let place = usize::try_from(number.saturating_sub(1)).unwrap_or(usize::MAX);
        let descriptor = wanted.get(place).and_then(|(_, key)| registry.get(key.stream.stream_type));
        if let (Some(state), Some(slot)) =
            (descriptor.and_then(|descriptor| descriptor.restore(state_version, &text)), states.get_mut(place))
        {
            *slot = Some(LoadedState { state, sequence, snapshot_bytes: text.len(), tail_bytes: 0 });
        }
    }
    Ok(states)
}

/// Carries out loads in the background. Each round takes all requests that arrived during the previous one.
pub(super) async fn run_loader(
    pool: PgPool,
    registry: Arc<StateRegistry>,
    mut requests: tokio::sync::mpsc::UnboundedReceiver<Load>,
    deliver: impl AsyncFn(Vec<LoadOutcome>),
) {
    const ROUND_LOADS_MOST: usize = 1_000;
    let mut loads = Vec::new();
    while requests.recv_many(&mut loads, ROUND_LOADS_MOST).await > 0 {
        let requested = loads.clone();
        let loaded = timeout(LOAD_TIMEOUT, load(&pool, &registry, std::mem::take(&mut loads))).await;
        let unavailable = |load| LoadOutcome { load, result: LoadResult::Unavailable };
        deliver(loaded.unwrap_or_else(|_| requested.into_iter().map(unavailable).collect())).await;
    }
}
