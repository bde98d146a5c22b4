//! Loader: reads tenant positions, receipts and streams that a scribe needs. Runs outside the scribe's loop and reads all
//! requests of one kind with one query.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use commands::kernel::{Rejected, StateRegistry};
use commands::scribe::{
    Accepted, ChangedStream, LaneId, Load, LoadOutcome, LoadResult, Need, ReceiptKey, Settled, StoredReceipt,
};
use domain::kernel::Retry;
use domain::shared::{CommandId, Principal, TenantId};
use platform::clock::Timestamptz;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row};
use tokio::time::timeout;
use uuid::Uuid;

use super::stream_loader::{self, Folding};

/// Time limit of a round of loads. By then the callers may have given up.
const LOAD_TIMEOUT: Duration = Duration::from_secs(20);

/// Largest number of loads of a round.
const ROUND_LOADS_MOST: usize = 1_000;

/// Carries out loads in the background. Each round takes all requests that arrived during the previous one, and folds one
/// page of each stream; a stream with more events continues in the next round, so that a round ends in time however long
/// the streams are.
pub(super) async fn run_loader(
    pool: PgPool,
    registry: Arc<StateRegistry>,
    mut requests: tokio::sync::mpsc::UnboundedReceiver<Load>,
    deliver: impl AsyncFn(Vec<LoadOutcome>),
) {
    let (mut loads, mut unfinished) = (Vec::new(), Vec::new());
    loop {
        if unfinished.is_empty() {
            if requests.recv_many(&mut loads, ROUND_LOADS_MOST).await == 0 {
                return;
            }
        } else {
            while loads.len() < ROUND_LOADS_MOST
                && let Ok(load) = requests.try_recv()
            {
                loads.push(load);
            }
        }
        let begun: Vec<_> = loads.iter().copied().chain(unfinished.iter().map(Folding::load)).collect();
        let round = round(&pool, &registry, std::mem::take(&mut loads), std::mem::take(&mut unfinished));
        let unavailable = |load| LoadOutcome { load, result: LoadResult::Unavailable };
        let outcomes = match timeout(LOAD_TIMEOUT, round).await {
            Ok((outcomes, rest)) => {
                unfinished = rest;
                outcomes
            }
            Err(_) => begun.into_iter().map(unavailable).collect(),
        };
        deliver(outcomes).await;
    }
}

/// One round of loads: the outcomes, and the streams that have more events. If the loads of one kind cannot be read now,
/// their result is `Unavailable`.
async fn round(
    pool: &PgPool,
    registry: &StateRegistry,
    loads: Vec<Load>,
    unfinished: Vec<Folding>,
) -> (Vec<LoadOutcome>, Vec<Folding>) {
    let (mut tenants, mut receipts, mut streams) = (vec![], vec![], vec![]);
    for load in loads {
        match load.need {
            Need::Tenant(tenant) => tenants.push((load, tenant)),
            Need::Receipt(key) => receipts.push((load, key)),
            Need::Stream(key) => streams.push((load, key)),
        }
    }
    let (tenants, receipts, (streams, rest)) = futures::join!(
        load_tenants(pool, &tenants),
        load_wanted_receipts(pool, registry, &receipts),
        stream_loader::load_page(pool, registry, streams, unfinished),
    );
    ([tenants, receipts, streams].into_iter().flatten().collect(), rest)
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
