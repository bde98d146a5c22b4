//! Log reader of webhooks: reads the state of a subscription, and the events of its tenant that it is subscribed to.

use domain::integrations::{WebhookSubscription, WebhookSubscriptionEvent, WebhookTerms};
use domain::kernel::{Aggregate, event_id, private_event_names, publish_stored};
use domain::shared::{CommandId, Principal, TargetUrl, TenantId, WebhookSubscriptionId};
use futures::TryStreamExt;
use futures::stream::BoxStream;
use platform::clock::Timestamptz;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgExecutor, Row};
use uuid::Uuid;

use super::message::Message;

/// Maximum number of events in one batch.
const EVENTS_MOST: i64 = 32;
/// Maximum number of tenant positions in one batch; the cursor is moved after each batch, also if it has no events.
const SPAN: i64 = 1_000;

/// Current state of a subscription.
pub(super) struct Subscription {
    pub(super) state: WebhookSubscription,
    /// Sequence of its last event that was applied.
    pub(super) sequence: i64,
}

/// State of a subscription, and the tenant positions on which its cursors depend.
pub(super) struct SubscriptionHistory {
    pub(super) state: WebhookSubscription,
    /// Tenant position of the first event of the subscription.
    pub(super) created_at: i64,
    /// Tenant position of the last order of a replay; 0 if there is none.
    pub(super) replay_ordered_at: i64,
    /// Tenant position of the last resumption or change of the URL, which ends the delay after a failure.
    pub(super) reset_at: i64,
    /// The pause, if the engine has paused the subscription after the last attempt.
    pub(super) pause: Option<EnginePause>,
}

/// Pause of a subscription after the last attempt to deliver an event.
pub(super) struct EnginePause {
    /// Id of the event of the pause.
    pub(super) event: Uuid,
    /// The error of the last attempt.
    pub(super) reason: String,
}

/// Events after a position.
pub(super) struct EventBatch {
    /// The subscribed events, in order.
    pub(super) messages: Vec<Message>,
    /// Tenant position up to which the batch contains all subscribed events.
    pub(super) end: i64,
    /// True if there may be more events after the batch.
    pub(super) more: bool,
}

/// Reads a subscription from its snapshot and the events after it. A subscription without events has the default state.
pub(super) async fn subscription(
    connection: &mut PgConnection,
    lane: i16,
    tenant: TenantId,
    id: WebhookSubscriptionId,
) -> Result<Subscription, sqlx::Error> {
    let text = "SELECT sequence, state::text FROM log.snapshots WHERE lane = $1 AND tenant = $2 AND stream_type = $3
                  AND stream_id = $4 AND state_version = $5";
    let snapshot: Option<(i64, String)> = sqlx::query_as(text)
        .bind(lane)
        .bind(tenant.uuid())
        .bind(WebhookSubscription::TYPE)
        .bind(id.uuid())
        .bind(WebhookSubscription::STATE_VERSION)
        .fetch_optional(&mut *connection)
        .await?;
    let snapshot = snapshot
        .and_then(|(sequence, state)| Some(Subscription { state: serde_json::from_str(&state).ok()?, sequence }));
    let mut subscription =
        snapshot.unwrap_or_else(|| Subscription { state: WebhookSubscription::default(), sequence: 0 });
    let after = subscription.sequence;
    let mut own = own_events(connection, lane, tenant, id, after);
    while let Some(one) = own.try_next().await? {
        subscription.state.apply(&one.event);
        subscription.sequence = one.sequence;
    }
    drop(own);
    Ok(subscription)
}

/// Reads a subscription from all of its events; `None` if it has no events.
pub(super) async fn subscription_history(
    connection: &mut PgConnection,
    lane: i16,
    tenant: TenantId,
    id: WebhookSubscriptionId,
) -> Result<Option<SubscriptionHistory>, sqlx::Error> {
    let mut history: Option<SubscriptionHistory> = None;
    let mut current_url: Option<TargetUrl> = None;
    let mut own = own_events(connection, lane, tenant, id, 0);
    while let Some(OwnEvent { id, position, event, is_of_engine, .. }) = own.try_next().await? {
        let history = history.get_or_insert_with(|| SubscriptionHistory::new(position));
        history.state.apply(&event);
        match event {
            WebhookSubscriptionEvent::Subscribed { url, .. } | WebhookSubscriptionEvent::Changed { url, .. }
                if current_url.as_ref() != Some(&url) =>
            {
                (history.reset_at, current_url) = (position, Some(url));
            }
            WebhookSubscriptionEvent::Resumed {} => (history.reset_at, history.pause) = (position, None),
            WebhookSubscriptionEvent::Paused { reason } if is_of_engine => {
                history.pause = Some(EnginePause { event: id, reason: reason.to_string() });
            }
            WebhookSubscriptionEvent::ReplayOrdered { .. } => history.replay_ordered_at = position,
            _ => {}
        }
    }
    drop(own);
    Ok(history)
}

impl SubscriptionHistory {
    fn new(created_at: i64) -> Self {
        Self { state: WebhookSubscription::default(), created_at, replay_ordered_at: 0, reset_at: 0, pause: None }
    }
}

/// An event of the subscription's own stream.
struct OwnEvent {
    id: Uuid,
    position: i64,
    sequence: i64,
    event: WebhookSubscriptionEvent,
    /// True if the engine caused the event.
    is_of_engine: bool,
}

/// Streams the events of the subscription's own stream, which may be long. Disclosures of a secret are left out: they
/// can be frequent and do not change the state.
fn own_events(
    connection: &mut PgConnection,
    lane: i16,
    tenant: TenantId,
    id: WebhookSubscriptionId,
    after: i64,
) -> BoxStream<'_, Result<OwnEvent, sqlx::Error>> {
    let text = "SELECT tenant, principal, command_id, command_index, tenant_position, sequence, type, version,
                       payload::text AS payload,
                       meta->'actor'->'engine' IS NOT NULL AS is_of_engine
                FROM log.events
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
    let (position, sequence) = (row.try_get("tenant_position")?, row.try_get("sequence")?);
    let (tenant, principal) = (TenantId::new(row.try_get("tenant")?), Principal::new(row.try_get("principal")?));
    let id = event_id(tenant, principal, CommandId::new(row.try_get("command_id")?), row.try_get("command_index")?);
    Ok(OwnEvent { id, position, sequence, event, is_of_engine: row.try_get("is_of_engine")? })
}

/// Reads the tenant's events that these terms subscribe to, after a position and up to the end of a replay if there is
/// one.
pub(super) async fn events(
    connection: &mut PgConnection,
    lane: i16,
    tenant: TenantId,
    after: i64,
    replay_end: Option<i64>,
    terms: &WebhookTerms,
) -> Result<EventBatch, sqlx::Error> {
    let span_end = after.saturating_add(SPAN).min(replay_end.unwrap_or(i64::MAX));
    let text = "SELECT coalesce(max(tenant_position), $3) FROM log.events
                WHERE lane = $1 AND tenant = $2 AND tenant_position > $3 AND tenant_position <= $4";
    let head: i64 = sqlx::query_scalar(text)
        .bind(lane)
        .bind(tenant.uuid())
        .bind(after)
        .bind(span_end)
        .fetch_one(&mut *connection)
        .await?;
    let wanted: Vec<&str> = terms.events.iter().map(|name| name.as_str()).collect();
    let text = format!(
        "{SELECT} WHERE lane = $1 AND tenant = $2 AND tenant_position > $3 AND tenant_position <= $4
           AND (cardinality($5::text[]) = 0 OR type = ANY($5)) AND type <> ALL($7)
         ORDER BY tenant_position LIMIT $6"
    );
    let messages = sqlx::query(&text)
        .bind(lane)
        .bind(tenant.uuid())
        .bind(after)
        .bind(head)
        .bind(wanted)
        .bind(EVENTS_MOST)
        .bind(private_event_names())
        .try_map(|row| message(&row))
        .fetch_all(&mut *connection)
        .await?;
    let is_cut = i64::try_from(messages.len()) == Ok(EVENTS_MOST);
    let end = messages.last().filter(|_| is_cut).map_or(head, |last| last.position);
    Ok(EventBatch { messages, end, more: is_cut || head == after.saturating_add(SPAN) })
}

/// Reads the event at one tenant position; `None` if it is not published.
pub(super) async fn event(
    store: impl PgExecutor<'_>,
    lane: i16,
    tenant: TenantId,
    position: i64,
) -> Result<Option<Message>, sqlx::Error> {
    let text = format!("{SELECT} WHERE lane = $1 AND tenant = $2 AND tenant_position = $3 AND type <> ALL($4)");
    let row = sqlx::query(&text).bind(lane).bind(tenant.uuid()).bind(position).bind(private_event_names());
    row.try_map(|row| message(&row)).fetch_optional(store).await
}

const SELECT: &str = "SELECT tenant, tenant_position, stream_type, stream_id, sequence, principal, command_id, \
    command_index, type, version, payload::text AS payload, occurred_at FROM log.events";

fn message(row: &PgRow) -> Result<Message, sqlx::Error> {
    let tenant = TenantId::new(row.try_get("tenant")?);
    let (principal, command): (Uuid, Uuid) = (row.try_get("principal")?, row.try_get("command_id")?);
    let id = event_id(tenant, Principal::new(principal), CommandId::new(command), row.try_get("command_index")?);
    let kind: String = row.try_get("type")?;
    let published = publish_stored(&kind, row.try_get("version")?, row.try_get("payload")?);
    let published = published.map_err(|error| sqlx::Error::Decode(error.into()))?;
    let payload = published.ok_or_else(|| sqlx::Error::Decode(format!("{kind} is private").into()))?.body.into_owned();
    Ok(Message {
        id,
        kind,
        tenant,
        position: row.try_get("tenant_position")?,
        aggregate: row.try_get("stream_type")?,
        stream: row.try_get("stream_id")?,
        sequence: row.try_get("sequence")?,
        occurred_at: row.try_get::<Timestamptz, _>("occurred_at")?.0,
        payload,
    })
}
