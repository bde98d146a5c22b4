//! Follows what Kafka carries of the log.

use std::collections::BTreeSet;

use projections::kernel::Model;

use super::{PgProjector, ReadSide};
use event_log::kafka_feed::{Carried, Group, Wire};

const GROUP: Group = Group {
    name: "cartulary.project",
    part: "the consumer group of read models",
    role: "project",
    taken: "SELECT c.lane, max(c.position) AS position FROM reads.checkpoints c JOIN reads.live USING (model, shape)
            GROUP BY c.lane",
};

impl ReadSide {
    /// Joins the group as soon as Kafka answers, if events are to come from there.
    pub(super) fn open_wire(&self) -> Option<Wire> {
        let (pool, lanes, health) = (self.pool.clone(), self.lanes.clone(), self.health.clone());
        Some(Wire::open(GROUP, self.kafka.clone()?, pool, lanes, health))
    }

    /// Takes what comes next. Names the models that have followed a history that was lost.
    pub(super) async fn take_from(
        &mut self,
        wire: &mut Wire,
        projector: &mut PgProjector,
    ) -> anyhow::Result<Vec<Model>> {
        let Carried { events, handed_over } = wire.next().await?;
        if handed_over {
            *projector = self.open().await?;
        }
        let mut behind = BTreeSet::new();
        let mut lost = Vec::new();
        if !events.is_empty() {
            let took = self.take(projector, &events).await?;
            lost = took.lost;
            behind.extend(took.holes);
        }
        if let Some(look) = wire.look_at_log(|lane| projector.after(lane)).await? {
            self.tell_lag(look.lag);
            behind.extend(look.late);
        }
        if !behind.is_empty() && lost.is_empty() {
            lost = self.catch_up(projector, &behind).await?;
        }
        wire.commit();
        Ok(lost)
    }
}
