//! What the log says: of a subscription, all of it; of a tenant, the events that a subscription wants.

use domain::integrations::{WebhookSubscription, WebhookSubscriptionEvent, WebhookTerms};
use domain::kernel::{Aggregate, event_id, unpublished_stream_types};
use domain::shared::{CommandId, Principal, TargetUrl, TenantId, WebhookSubscriptionId};
use futures::TryStreamExt;
use futures::stream::BoxStream;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgExecutor, Row};
use uuid::Uuid;

use super::telling::Telling;
use platform::clock::Timestamptz;

/// Events that are told before the log is asked again.
const EVENTS_MOST: i64 = 32;
/// Positions that are looked at before it is written down that nothing in them was wanted.
pub(super) const SPAN: i64 = 1_000;

/// A subscription as it stands after its last event that was read.
pub(super) struct Standing {
    pub(super) state: WebhookSubscription,
    sequence: i64,
}

/// A subscription as it stands, and the positions of what matters to its cursors.
pub(super) struct Known {
    pub(super) state: WebhookSubscription,
    /// Where it was made.
    pub(super) begun_at: i64,
    /// Where a range was last ordered again; 0 where none was.
    pub(super) ordered_at: i64,
    /// Where it was last resumed or got another address.
    pub(super) mended_at: i64,
}

/// What comes after a position.
pub(super) struct News {
    /// The events that are wanted, in order.
    pub(super) events: Vec<Telling>,
    /// Up to where everything that is wanted is among them.
    pub(super) upto: i64,
    /// Whether there may be more behind.
    pub(super) more: bool,
}

/// A subscription from its snapshot and what came after it; one that was never made is as one without events.
pub(super) async fn standing(
    connection: &mut PgConnection,
    lane: i16,
    tenant: TenantId,
    id: WebhookSubscriptionId,
) -> Result<Standing, sqlx::Error> {
    let text = "SELECT sequence, state::text FROM log.snapshots WHERE lane = $1 AND tenant = $2 AND stream_type = $3
                  AND stream_id = $4 AND state_version = $5";
    let kept: Option<(i64, String)> = sqlx::query_as(text)
        .bind(lane)
        .bind(tenant.uuid())
        .bind(WebhookSubscription::TYPE)
        .bind(id.uuid())
        .bind(WebhookSubscription::STATE_VERSION)
        .fetch_optional(&mut *connection)
        .await?;
    let kept =
        kept.and_then(|(sequence, state)| Some(Standing { state: serde_json::from_str(&state).ok()?, sequence }));
    let mut standing = kept.unwrap_or(Standing { state: WebhookSubscription::default(), sequence: 0 });
    let after = standing.sequence;
    let mut own = own_events(connection, lane, tenant, id, after);
    while let Some(one) = own.try_next().await? {
        standing.state.apply(&one.event);
        standing.sequence = one.sequence;
    }
    drop(own);
    Ok(standing)
}

impl Standing {
    /// Whether nothing was decided about the subscription between two looks at it.
    pub(super) fn is_as(&self, seen: &Self) -> bool {
        self.sequence == seen.sequence
    }
}

/// A subscription from all of its events; nothing where there is none.
pub(super) async fn history(
    connection: &mut PgConnection,
    lane: i16,
    tenant: TenantId,
    id: WebhookSubscriptionId,
) -> Result<Option<Known>, sqlx::Error> {
    let mut known: Option<Known> = None;
    let mut address: Option<TargetUrl> = None;
    let mut own = own_events(connection, lane, tenant, id, 0);
    while let Some(OwnEvent { position, event, .. }) = own.try_next().await? {
        let fresh = Known { state: WebhookSubscription::default(), begun_at: position, ordered_at: 0, mended_at: 0 };
        let known = known.get_or_insert(fresh);
        known.state.apply(&event);
        match event {
            WebhookSubscriptionEvent::Subscribed { url, .. } | WebhookSubscriptionEvent::Changed { url, .. }
                if address.as_ref() != Some(&url) =>
            {
                (known.mended_at, address) = (position, Some(url));
            }
            WebhookSubscriptionEvent::Resumed {} => known.mended_at = position,
            WebhookSubscriptionEvent::ReplayOrdered { .. } => known.ordered_at = position,
            _ => {}
        }
    }
    drop(own);
    Ok(known)
}

/// One event of a subscription itself.
struct OwnEvent {
    position: i64,
    sequence: i64,
    event: WebhookSubscriptionEvent,
}

/// The events of a subscription itself, one after the other: there may be many, and none is kept. Being shown its secret
/// does not change it and may happen often.
fn own_events(
    connection: &mut PgConnection,
    lane: i16,
    tenant: TenantId,
    id: WebhookSubscriptionId,
    after: i64,
) -> BoxStream<'_, Result<OwnEvent, sqlx::Error>> {
    let text = "SELECT tenant_position, sequence, type, version, payload::text AS payload FROM log.events
                WHERE lane = $1 AND tenant = $2 AND stream_id = $3 AND stream_type = $4 AND sequence > $5
                  AND type <> 'webhook.secret_shown' ORDER BY sequence";
    let query = sqlx::query(text).bind(lane).bind(tenant.uuid()).bind(id.uuid()).bind(WebhookSubscription::TYPE);
    query.bind(after).try_map(|row| own_event(&row)).fetch(connection)
}

fn own_event(row: &PgRow) -> Result<OwnEvent, sqlx::Error> {
    let (name, version, payload): (&str, i16, &str) =
        (row.try_get("type")?, row.try_get("version")?, row.try_get("payload")?);
    let event = WebhookSubscription::read(name, version, payload);
    let event = event.map_err(|error| sqlx::Error::Decode(error.into()))?;
    Ok(OwnEvent { position: row.try_get("tenant_position")?, sequence: row.try_get("sequence")?, event })
}

/// What a tenant's log has for these terms after a position, up to the end of a range if there is one.
pub(super) async fn news(
    connection: &mut PgConnection,
    lane: i16,
    tenant: TenantId,
    after: i64,
    range_ends: Option<i64>,
    terms: &WebhookTerms,
) -> Result<News, sqlx::Error> {
    let span_ends = after.saturating_add(SPAN).min(range_ends.unwrap_or(i64::MAX));
    let text = "SELECT coalesce(max(tenant_position), $3) FROM log.events
                WHERE lane = $1 AND tenant = $2 AND tenant_position > $3 AND tenant_position <= $4";
    let head: i64 = sqlx::query_scalar(text)
        .bind(lane)
        .bind(tenant.uuid())
        .bind(after)
        .bind(span_ends)
        .fetch_one(&mut *connection)
        .await?;
    let wanted: Vec<&str> = terms.events.iter().map(|name| name.as_str()).collect();
    let text = format!(
        "{TELLING} WHERE lane = $1 AND tenant = $2 AND tenant_position > $3 AND tenant_position <= $4
           AND (cardinality($5::text[]) = 0 OR type = ANY($5)) AND stream_type <> ALL($7)
         ORDER BY tenant_position LIMIT $6"
    );
    let rows = sqlx::query(&text)
        .bind(lane)
        .bind(tenant.uuid())
        .bind(after)
        .bind(head)
        .bind(wanted)
        .bind(EVENTS_MOST)
        .bind(unpublished_stream_types())
        .try_map(|row| telling(&row))
        .fetch_all(&mut *connection)
        .await?;
    let cut = i64::try_from(rows.len()) == Ok(EVENTS_MOST);
    let upto = rows.last().filter(|_| cut).map_or(head, |last| last.position);
    Ok(News { events: rows, upto, more: cut || head == after.saturating_add(SPAN) })
}

/// The event at one position of a tenant, if it is one that may be told.
pub(super) async fn event(
    store: impl PgExecutor<'_>,
    lane: i16,
    tenant: TenantId,
    position: i64,
) -> Result<Option<Telling>, sqlx::Error> {
    let text = format!("{TELLING} WHERE lane = $1 AND tenant = $2 AND tenant_position = $3 AND stream_type <> ALL($4)");
    let row = sqlx::query(&text).bind(lane).bind(tenant.uuid()).bind(position).bind(unpublished_stream_types());
    row.try_map(|row| telling(&row)).fetch_optional(store).await
}

const TELLING: &str = "SELECT tenant, tenant_position, stream_type, stream_id, sequence, principal, command_id, \
    command_index, type, payload::text AS payload, occurred_at FROM log.events";

fn telling(row: &PgRow) -> Result<Telling, sqlx::Error> {
    let tenant = TenantId::new(row.try_get("tenant")?);
    let (principal, command): (Uuid, Uuid) = (row.try_get("principal")?, row.try_get("command_id")?);
    let id = event_id(tenant, Principal::new(principal), CommandId::new(command), row.try_get("command_index")?);
    Ok(Telling {
        id,
        kind: row.try_get("type")?,
        tenant,
        position: row.try_get("tenant_position")?,
        aggregate: row.try_get("stream_type")?,
        stream: row.try_get("stream_id")?,
        sequence: row.try_get("sequence")?,
        occurred_at: row.try_get::<Timestamptz, _>("occurred_at")?.0,
        payload: row.try_get("payload")?,
    })
}
