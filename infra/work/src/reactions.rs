//! From events to what must follow from them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::ensure;
use commands::kernel::{PolicyDescriptor, When};
use commands::scribe::LaneId;
use domain::shared::Timestamp;
use projections::ports::RawEvent;
use tokio_util::sync::CancellationToken;

use super::positions::Positions;
use super::progress::{Asked, Progress};
use super::reading::{News, SPAN, read_news, stored};
use super::{PAUSE, PolicyRunner, Task};

/// How long to wait after something was seen, so that under load one look sees many events. What comes after a quiet
/// moment is seen at once.
const GATHER: Duration = Duration::from_millis(40);

/// What a look at the log has found.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Found {
    Nothing,
    Something,
    /// There is more than fits into one look.
    More,
}

/// What the events of one look ask for, before it is sent or written.
#[derive(Default)]
struct Wishes {
    now: Vec<Task>,
    progress: Progress,
}

impl PolicyRunner {
    pub(super) async fn run_reactions(self, stop: CancellationToken) {
        let (mut written, mut wire) = (self.scribe.written(), self.open_wire());
        let mut positions = Positions::default();
        while !stop.is_cancelled() {
            let reacted = match &mut wire {
                Some(wire) => self.follow(wire, &mut positions).await,
                None => self.react_once(&mut positions).await,
            };
            if let Err(error) = &reacted {
                tracing::warn!(%error, "policies cannot go on now");
                positions = Positions::default();
            }
            match reacted {
                Ok(Found::More) => continue,
                Ok(Found::Something) => tokio::time::sleep(GATHER).await,
                Ok(Found::Nothing) | Err(_) => {}
            }
            // Whoever follows Kafka has waited there.
            if wire.is_some() && reacted.is_ok() {
                continue;
            }
            tokio::select! {
                () = stop.cancelled() => break,
                _ = written.changed() => {}
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    /// Reacts to what is new in all lanes of the log.
    async fn react_once(&self, positions: &mut Positions) -> anyhow::Result<Found> {
        // Whoever writes a lane follows its events; a lane that is new to this process was followed by another one.
        let held = self.lanes.now();
        if !positions.are_of(&held) {
            *positions = self.positions_of(held.clone()).await?;
        }
        self.react_in(&held, positions).await
    }

    pub(super) async fn positions_of(&self, held: BTreeSet<LaneId>) -> Result<Positions, sqlx::Error> {
        Positions::read(&self.pool, self.commands.policies(), held).await
    }

    /// The names of the events that any policy listens to.
    pub(super) fn names(&self) -> Vec<&'static str> {
        self.commands.policies().iter().flat_map(|policy| policy.events).copied().collect()
    }

    /// Reacts to what is new in these lanes of the log.
    pub(super) async fn react_in(&self, lanes: &BTreeSet<LaneId>, positions: &mut Positions) -> anyhow::Result<Found> {
        if lanes.is_empty() {
            return Ok(Found::Nothing);
        }
        match read_news(&self.pool, &self.lanes, positions, lanes, &self.names()).await? {
            Some(news) => self.react_to(&news, positions).await,
            None => {
                *positions = self.positions_of(positions.held()).await?;
                Ok(Found::More)
            }
        }
    }

    /// Reacts to news of any lanes.
    pub(super) async fn react_to(
        &self,
        news: &BTreeMap<LaneId, News>,
        positions: &mut Positions,
    ) -> anyhow::Result<Found> {
        let (mut wishes, mut found) = (Wishes::default(), Found::Nothing);
        for (lane, news) in news {
            let Some(from) = positions.after(*lane) else { continue };
            match self.wishes_in(*lane, news, positions) {
                Ok(more) => {
                    wishes.extend(more);
                    wishes.progress.moves.extend(positions.moves(*lane, news.upto));
                    found = found.max(if news.upto - from < SPAN { Found::Something } else { Found::More });
                }
                // The lane stands still until somebody mends it; nothing is skipped. Others go on.
                Err(error) => {
                    metrics::counter!("cartulary_policies_stopped_total").increment(1);
                    tracing::error!(lane = lane.0, %error, "policies cannot read an event");
                }
            }
        }
        if found > Found::Nothing {
            self.see_to(wishes, positions).await?;
        }
        Ok(found)
    }

    /// What the events of one lane ask for.
    fn wishes_in(&self, lane: LaneId, news: &News, positions: &Positions) -> anyhow::Result<Wishes> {
        let mut wishes = Wishes::default();
        for event in &news.events {
            for policy in self.commands.policies() {
                if policy.listens_to(&event.stream_type, &event.kind) && positions.get(lane, policy.id) < event.position
                {
                    wishes.add(policy, event)?;
                }
            }
        }
        Ok(wishes)
    }

    /// Sends what can be done now, and writes down the rest.
    async fn see_to(&self, wishes: Wishes, positions: &mut Positions) -> anyhow::Result<()> {
        let Wishes { now, mut progress } = wishes;
        // What goes into a lane of another process waits there like a timer that is due.
        let elsewhere = self.carry_out(now).await?;
        progress.timers.extend(elsewhere.into_iter().map(|task| (Timestamp::default(), task)));
        ensure!(progress.write(&self.pool).await?, "somebody else has moved the policies");
        positions.take(&progress.moves);
        Ok(())
    }
}

impl Wishes {
    fn extend(&mut self, more: Self) {
        self.now.extend(more.now);
        self.progress.timers.extend(more.progress.timers);
        self.progress.effects.extend(more.progress.effects);
    }

    fn add(&mut self, policy: &PolicyDescriptor, event: &RawEvent) -> anyhow::Result<()> {
        let recorded = stored(event);
        let (causation, reactions) = (recorded.id(), policy.react(&recorded)?);
        let (commands, effects) = reactions.into_parts();
        for reaction in commands {
            let task = Task {
                id: reaction.id,
                tenant: reaction.tenant,
                policy: policy.id.into(),
                causation,
                command: reaction.command.name().into_owned(),
                body: reaction.command.to_json()?,
            };
            match reaction.when {
                When::Now => self.now.push(task),
                When::At(due) => self.progress.timers.push((due, task)),
            }
        }
        for wish in effects {
            let request = wish.to_json()?;
            self.progress.effects.push(Asked { policy: policy.id, causation, wish, request });
        }
        Ok(())
    }
}
