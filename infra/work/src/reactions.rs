//! Reactions of policies: the commands, timers and effects that they ask for because of events.

use commands::kernel::{PolicyDescriptor, When};
use commands::scribe::LaneId;
use projections::ports::RawEvent;

use crate::dispatcher::EngineCommand;
use crate::log_reader::{NewEvents, stored};
use crate::positions::Positions;
use crate::progress::{NewEffect, Progress};

/// Reactions to the events of one read, before commands are sent and progress is written.
#[derive(Default)]
pub(crate) struct ReactionBatch {
    /// Commands to send at once.
    pub(crate) commands: Vec<EngineCommand>,
    /// Timers, effects and new positions to write.
    pub(crate) progress: Progress,
}

impl ReactionBatch {
    /// Reactions of each policy to the new events of one lane that are after its position.
    pub(crate) fn of(
        policies: &[PolicyDescriptor],
        lane: LaneId,
        new: &NewEvents,
        positions: &Positions,
    ) -> anyhow::Result<Self> {
        let mut batch = Self::default();
        for event in &new.events {
            for policy in policies {
                if policy.listens_to(&event.stream_type, &event.kind) && positions.get(lane, policy.id) < event.position
                {
                    batch.react(policy, event)?;
                }
            }
        }
        Ok(batch)
    }

    /// Adds the commands, timers and effects of another lane; moves are not added.
    pub(crate) fn extend(&mut self, more: Self) {
        self.commands.extend(more.commands);
        self.progress.timers.extend(more.progress.timers);
        self.progress.effects.extend(more.progress.effects);
    }

    fn react(&mut self, policy: &PolicyDescriptor, event: &RawEvent) -> anyhow::Result<()> {
        let recorded = stored(event);
        let (causation, reactions) = (recorded.id(), policy.react(&recorded)?);
        let (commands, effects) = reactions.into_parts();
        for reaction in commands {
            let command = EngineCommand {
                id: reaction.id,
                tenant: reaction.tenant,
                policy: policy.id.into(),
                causation,
                name: reaction.command.name().into_owned(),
                body: reaction.command.to_json()?,
            };
            match reaction.when {
                When::Now => self.commands.push(command),
                When::At(due) => self.progress.timers.push((due, command)),
            }
        }
        for request in effects {
            let body = request.to_json()?;
            self.progress.effects.push(NewEffect { policy: policy.id, causation, request, body });
        }
        Ok(())
    }
}
