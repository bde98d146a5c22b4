//! From events to what must follow from them.

use std::time::Duration;

use anyhow::ensure;
use commands::kernel::{PolicyKind, When};
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
enum Found {
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
        let mut written = self.scribe.written();
        let mut positions = Positions::default();
        while !stop.is_cancelled() {
            let found = self.react_once(&mut positions).await.unwrap_or_else(|error| {
                tracing::warn!(%error, "policies cannot go on now");
                positions = Positions::default();
                Found::Nothing
            });
            if found == Found::More {
                continue;
            }
            if found == Found::Something {
                tokio::time::sleep(GATHER).await;
            }
            tokio::select! {
                () = stop.cancelled() => break,
                _ = written.changed() => {}
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    /// Reacts to what is new in all lanes.
    async fn react_once(&self, positions: &mut Positions) -> anyhow::Result<Found> {
        // Whoever writes a lane follows its events; a lane that is new to this process was followed by another one.
        let held = self.lanes.now();
        if held.is_empty() {
            return Ok(Found::Nothing);
        }
        if !positions.are_of(&held) {
            *positions = Positions::read(&self.pool, self.commands.policies(), held).await?;
        }
        let names: Vec<&str> = self.commands.policies().iter().flat_map(|policy| policy.events).copied().collect();
        let after = positions.lowest();
        let news = read_news(&self.pool, &self.lanes, &after, &names).await?;
        if news.iter().any(|(lane, news)| !positions.know(*lane, news.epoch)) {
            *positions = Positions::default();
            return Ok(Found::More);
        }
        let (mut wishes, mut found) = (Wishes::default(), Found::Nothing);
        for (lane, from) in after {
            let Some((news, upto)) = news.get(&lane).and_then(|news| Some((news, news.upto?))) else { continue };
            match self.wishes_in(lane, news, positions) {
                Ok(more) => {
                    wishes.extend(more);
                    wishes.progress.moves.extend(positions.moves(lane, upto));
                    found = found.max(if upto - from < SPAN { Found::Something } else { Found::More });
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

    fn add(&mut self, policy: &PolicyKind, event: &RawEvent) -> anyhow::Result<()> {
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
