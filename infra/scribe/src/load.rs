//! Loads what a scribe lacks: tenant positions, receipts, and streams folded from snapshot and tail. Outside the
//! scribe's loop, many at a time.

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
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};
use tokio::time::timeout;
use uuid::Uuid;

use platform::clock::Timestamptz;

/// What takes longer is given up: nobody may be there any more to answer.
const LOADED_WITHIN: Duration = Duration::from_secs(20);

/// Loads everything that was asked for. What cannot be read now is answered as away.
pub(super) async fn load(pool: &PgPool, kinds: &StateRegistry, loads: Vec<Load>) -> Vec<LoadOutcome> {
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
        load_receipts(pool, kinds, &receipts),
        load_streams(pool, kinds, &streams),
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
    let found = |number: usize| match &heads {
        Ok(heads) => heads.get(number).map_or(LoadResult::Unavailable, |head| LoadResult::Tenant(*head)),
        Err(_) => LoadResult::Unavailable,
    };
    wanted.iter().enumerate().map(|(number, (load, _))| LoadOutcome { load: *load, result: found(number) }).collect()
}

async fn load_receipts(pool: &PgPool, kinds: &StateRegistry, wanted: &[(Load, ReceiptKey)]) -> Vec<LoadOutcome> {
    if wanted.is_empty() {
        return vec![];
    }
    let keys: Vec<_> = wanted.iter().map(|(load, key)| (load.lane, *key)).collect();
    let recalled = recall(pool, kinds, &keys).await;
    let recalled = recalled.inspect_err(|error| tracing::warn!(%error, "receipts cannot be read"));
    let found = |key: &ReceiptKey| match &recalled {
        Ok(recalled) => LoadResult::Receipt(recalled.get(key).cloned()),
        Err(_) => LoadResult::Unavailable,
    };
    wanted.iter().map(|(load, key)| LoadOutcome { load: *load, result: found(key) }).collect()
}

/// The stored receipts of these commands: their events, or the row of a rejection or of a command without effect.
pub async fn recall(
    pool: &PgPool,
    kinds: &StateRegistry,
    keys: &[(LaneId, ReceiptKey)],
) -> Result<HashMap<ReceiptKey, StoredReceipt>, sqlx::Error> {
    let lanes: Vec<_> = keys.iter().map(|(lane, _)| lane.0).collect();
    let tenants: Vec<_> = keys.iter().map(|(_, key)| key.tenant.uuid()).collect();
    let principals: Vec<_> = keys.iter().map(|(_, key)| key.principal.uuid()).collect();
    let commands: Vec<_> = keys.iter().map(|(_, key)| key.command.uuid()).collect();
    let wanted = "FROM unnest($1::smallint[], $2::uuid[], $3::uuid[], $4::uuid[]) AS k(lane, tenant, principal, id)";
    // The limit and the order inside keep each look-up a walk down one index, whatever the planner believes of a
    // table that was empty a minute ago.
    let fits = "lane = k.lane AND tenant = k.tenant AND principal = k.principal AND command_id = k.id";
    let events = format!(
        "SELECT e.* {wanted} CROSS JOIN LATERAL (
             SELECT tenant, principal, command_id, tenant_position, epoch, recorded_at, stream_type, stream_id, sequence,
                    meta->>'fingerprint' AS fingerprint
             FROM log.events WHERE {fits} ORDER BY command_index
         ) e"
    );
    let rows = format!(
        "SELECT r.* {wanted} CROSS JOIN LATERAL (
             SELECT tenant, principal, command_id, tenant_position, epoch, recorded_at, fingerprint, code, retry,
                    detail::text AS detail
             FROM log.receipts WHERE {fits} LIMIT 1
         ) r"
    );
    let mut recalled = HashMap::new();
    let query = sqlx::query(&events).bind(&lanes).bind(&tenants).bind(&principals).bind(&commands);
    for row in query.fetch_all(pool).await? {
        take_event(&mut recalled, kinds, &row)?;
    }
    let query = sqlx::query(&rows).bind(&lanes).bind(&tenants).bind(&principals).bind(&commands);
    for row in query.fetch_all(pool).await? {
        let (key, receipt) = read_receipt(&row)?;
        recalled.insert(key, receipt);
    }
    Ok(recalled)
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

/// Adds one event of a command to its receipt; the first one brings the fingerprint.
fn take_event(
    recalled: &mut HashMap<ReceiptKey, StoredReceipt>,
    kinds: &StateRegistry,
    row: &PgRow,
) -> Result<(), sqlx::Error> {
    let fingerprint: Option<&str> = row.try_get("fingerprint")?;
    let fresh = StoredReceipt { fingerprint: Default::default(), settled: Settled::Accepted(accepted(row)?) };
    let known = recalled.entry(read_key(row)?).or_insert(fresh);
    if let Some(fingerprint) = fingerprint {
        known.fingerprint = fingerprint.into();
    }
    let Settled::Accepted(receipt) = &mut known.settled else { return Ok(()) };
    receipt.tenant_position = row.try_get("tenant_position")?;
    let name: String = row.try_get("stream_type")?;
    let (stream, sequence): (Uuid, i64) = (row.try_get("stream_id")?, row.try_get("sequence")?);
    let Some(stream_type) = kinds.stream_type(&name) else { return Ok(()) };
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
            // After 90 days only code and retry are left.
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

async fn load_streams(pool: &PgPool, kinds: &StateRegistry, wanted: &[(Load, StreamKey)]) -> Vec<LoadOutcome> {
    if wanted.is_empty() {
        return vec![];
    }
    match fold_streams(pool, kinds, wanted).await {
        Ok(found) => {
            wanted.iter().zip(found).map(|((load, _), found)| LoadOutcome { load: *load, result: found }).collect()
        }
        Err(error) => {
            tracing::warn!(%error, "streams cannot be read");
            wanted.iter().map(|(load, _)| LoadOutcome { load: *load, result: LoadResult::Unavailable }).collect()
        }
    }
}

async fn fold_streams(
    pool: &PgPool,
    kinds: &StateRegistry,
    wanted: &[(Load, StreamKey)],
) -> Result<Vec<LoadResult>, sqlx::Error> {
    let mut states = start_from_snapshots(pool, kinds, wanted).await?;
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
    let found = states.into_iter().enumerate().map(|(place, state)| match (state, broken.remove(&place)) {
        (_, Some(reason)) => LoadResult::Unreadable(reason),
        (Some(state), None) => LoadResult::Stream(state),
        (None, None) => LoadResult::Unreadable("no such kind of stream".into()),
    });
    Ok(found.collect())
}

/// Every stream from its snapshot, or from the beginning where it has none that this code understands.
async fn start_from_snapshots(
    pool: &PgPool,
    kinds: &StateRegistry,
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
        let state = kinds.get(stream.stream_type)?.fresh();
        Some(LoadedState { state, sequence: 0, snapshot_bytes: 0, tail_bytes: 0 })
    };
    let mut states: Vec<_> = wanted.iter().map(|(_, key)| fresh(key.stream)).collect();
    for (number, state_version, sequence, text) in query.fetch_all(pool).await? {
        let place = usize::try_from(number.saturating_sub(1)).unwrap_or(usize::MAX);
        let kind = wanted.get(place).and_then(|(_, key)| kinds.get(key.stream.stream_type));
        if let (Some(state), Some(slot)) =
            (kind.and_then(|kind| kind.restore(state_version, &text)), states.get_mut(place))
        {
            *slot = Some(LoadedState { state, sequence, snapshot_bytes: text.len(), tail_bytes: 0 });
        }
    }
    Ok(states)
}

/// Loads in the background, as much at once as was asked for in the meantime.
pub(super) async fn run_loader(
    pool: PgPool,
    kinds: Arc<StateRegistry>,
    mut wanted: tokio::sync::mpsc::UnboundedReceiver<Load>,
    deliver: impl AsyncFn(Vec<LoadOutcome>),
) {
    const MOST: usize = 1_000;
    let mut loads = Vec::new();
    while wanted.recv_many(&mut loads, MOST).await > 0 {
        let asked = loads.clone();
        let loaded = timeout(LOADED_WITHIN, load(&pool, &kinds, std::mem::take(&mut loads))).await;
        let away = |load| LoadOutcome { load, result: LoadResult::Unavailable };
        deliver(loaded.unwrap_or_else(|_| asked.into_iter().map(away).collect())).await;
    }
}
