//! Rewind of webhook cursors after the log was restored to an earlier moment.

use std::collections::BTreeSet;

use async_trait::async_trait;
use commands::integrations::KeepCursorsOfWebhooks;
use commands::kernel::Policy;
use commands::scribe::LaneId;
use platform::clock::{Timestamptz, now};
use sqlx::PgConnection;
use work::{RestoreHook, RestorePoint};

/// Rewinds the cursors of the restored lanes. A subscription whose pause or end was lost is active again. Therefore every
/// cursor is made due, except those of finished replays, and the policy that creates cursors starts again from the
/// beginning, to recreate deleted ones.
pub(super) struct WebhookRewind;

/// Selects the cursors in the lanes of the restore points, each with the last tenant position that is left in the log.
const RESTORED: &str = "
    WITH restored AS (
        SELECT point.lane, w.subscription, w.replay,
               coalesce((SELECT max(e.tenant_position) FROM log.events e
                         WHERE e.lane = point.lane AND e.tenant = w.tenant AND e.position <= point.position), 0)
                   AS position
        FROM unnest($1::smallint[], $2::bigint[]) AS point(lane, position)
        JOIN log.routes r ON r.lane = point.lane JOIN work.webhook_cursors w ON w.tenant = r.tenant
    )";

#[async_trait]
impl RestoreHook for WebhookRewind {
    fn replayed_policies(&self) -> &'static [&'static str] {
        &[KeepCursorsOfWebhooks::ID]
    }

    async fn lanes_ahead(
        &self,
        connection: &mut PgConnection,
        points: &[RestorePoint],
    ) -> Result<BTreeSet<LaneId>, sqlx::Error> {
        let text = format!(
            "{RESTORED}
             SELECT DISTINCT restored.lane FROM restored JOIN work.webhook_cursors w USING (subscription, replay)
             WHERE greatest(w.position, w.ordered) > restored.position"
        );
        let (lanes, positions) = RestorePoint::columns(points);
        let ahead: Vec<i16> = sqlx::query_scalar(&text).bind(lanes).bind(positions).fetch_all(connection).await?;
        Ok(ahead.into_iter().map(LaneId).collect())
    }

    async fn rewind(&self, connection: &mut PgConnection, points: &[RestorePoint]) -> Result<(), sqlx::Error> {
        let text = format!(
            "{RESTORED}, due AS (
                 UPDATE work.queues q SET failures = 0, closed_until = '-infinity', fence = q.fence + 1, leased_until = '-infinity',
                        due_at = CASE WHEN w.position >= w.upto THEN q.due_at ELSE $3 END
                 FROM restored JOIN work.webhook_cursors w USING (subscription, replay)
                 WHERE q.tenant = w.tenant AND q.kind = 'webhooks' AND q.name = w.queue
             )
             UPDATE work.webhook_cursors w
             SET position = least(w.position, restored.position), mended = least(w.mended, restored.position),
                 upto = CASE WHEN w.replay THEN least(w.upto, restored.position) END,
                 ordered = CASE WHEN w.replay THEN least(w.ordered, restored.position) END
             FROM restored WHERE restored.subscription = w.subscription AND restored.replay = w.replay"
        );
        let (lanes, positions) = RestorePoint::columns(points);
        let query = sqlx::query(&text).bind(lanes).bind(positions).bind(Timestamptz(now()));
        query.execute(connection).await.map(|_| ())
    }
}
