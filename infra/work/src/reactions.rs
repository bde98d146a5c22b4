//! Reactions of policies: the commands, timers and effects that they ask for because of events.

use std::collections::BTreeSet;

use commands::kernel::{PolicyDescriptor, Requests, TimerKey, When};
use commands::scribe::LaneId;
use projections::ports::RawEvent;
use sqlx::PgPool;

use crate::dispatcher::EngineCommand;
use crate::log_reader::{NewEvents, read_stream, stored};
use crate::parked_streams::{ParkedAt, ParkedChange, PolicyStream};
use crate::positions::Positions;
use crate::progress::{NewEffect, Progress};
use crate::timer_table::{Timer, TimerChange, TimerId};

/// Reactions to one batch of events, not yet sent or written.
#[derive(Default)]
pub(crate) struct ReactionBatch {
    /// Commands to send at once.
    pub(crate) commands: Vec<EngineCommand>,
    /// Timers, effects, parked streams and new positions to write.
    pub(crate) progress: Progress,
}

impl ReactionBatch {
    /// Reactions of each policy to those events of a lane that come after the position of the policy. A policy that cannot read an
    /// event is parked in the stream of that event and reacts to everything else.
    pub(crate) fn of(policies: &[PolicyDescriptor], lane: LaneId, new: &NewEvents, positions: &Positions) -> Self {
        let mut batch = Self::default();
        let parked_before = positions.parked_in(lane);
        let mut parked_now = BTreeSet::<PolicyStream>::new();
        for event in &new.events {
            for policy in policies {
                let is_new = positions.get(lane, policy.id) < event.position;
                if !is_new || !policy.listens_to(&event.stream_type, &event.kind) {
                    continue;
                }
                let waits =
                    |stream| parked_before.is_some_and(|all| all.contains_key(stream)) || parked_now.contains(stream);
                if (parked_before.is_some() || !parked_now.is_empty()) && waits(&PolicyStream::of(policy.id, event)) {
                    continue;
                }
                if let Err(reason) = batch.react_to(policy, event) {
                    let stream = PolicyStream::of(policy.id, event);
                    parked_now.insert(stream.clone());
                    batch.park(stream, ParkedAt { position: event.position, reason });
                }
            }
        }
        batch
    }

    /// Reactions of a policy to the events of a parked stream, from the first that it could not read up to the position of
    /// the policy, and the position at which the stream is parked afterwards, if it still is.
    pub(crate) async fn of_parked(
        pool: &PgPool,
        policy: &PolicyDescriptor,
        (stream, at): (&PolicyStream, &ParkedAt),
        upto: i64,
    ) -> Result<Self, sqlx::Error> {
        let events = read_stream(pool, stream, (at.position, upto), policy.events).await?;
        let mut batch = Self::default();
        let mut to = None;
        for event in &events.read {
            if let Err(reason) = batch.react_to(policy, event) {
                to = Some(ParkedAt { position: event.position, reason });
                break;
            }
        }
        let rest = |position| ParkedAt {
            position,
            reason: "the policy has not yet read the later events of this stream".to_owned(),
        };
        let to = to.or_else(|| events.next.map(rest));
        batch.progress.parked.push(ParkedChange { stream: stream.clone(), from: Some(at.position), to });
        Ok(batch)
    }

    /// Adds another batch, except its new positions.
    pub(crate) fn extend(&mut self, more: Self) {
        self.commands.extend(more.commands);
        self.progress.timers.extend(more.progress.timers);
        self.progress.effects.extend(more.progress.effects);
        self.progress.parked.extend(more.progress.parked);
    }

    /// Adds the reactions of a policy to an event: all of them or none. The error is the reason.
    pub(crate) fn react_to(&mut self, policy: &PolicyDescriptor, event: &RawEvent) -> Result<(), String> {
        if let Some(reason) = event.unreadable() {
            return Err(reason.into());
        }
        let reactions = Self::reactions(policy, event).map_err(|error| error.to_string())?;
        self.extend(reactions);
        Ok(())
    }

    fn reactions(policy: &PolicyDescriptor, event: &RawEvent) -> anyhow::Result<Self> {
        let mut batch = Self::default();
        let recorded = stored(event);
        let (causation, correlation) = (recorded.id(), recorded.correlation_id());
        let Requests { commands, cancelled, effects } = policy.react(&recorded)?.into_requests();
        let timer_id = |key: TimerKey| {
            let (tenant, policy) = (event.tenant, policy.id.to_owned());
            TimerId { tenant, policy, stream: event.stream, key }
        };
        batch.progress.timers.extend(cancelled.into_iter().map(|key| TimerChange::Cancel(timer_id(key))));
        for reaction in commands {
            let command = EngineCommand {
                id: reaction.id,
                tenant: reaction.tenant,
                policy: policy.id.into(),
                causation,
                correlation: Some(correlation),
                name: reaction.command.name().into_owned(),
                body: reaction.command.to_json()?,
            };
            match reaction.when {
                When::Now => batch.commands.push(command),
                When::At { due, key } => {
                    let timer = Timer { id: timer_id(key), due, command };
                    batch.progress.timers.push(TimerChange::Set(timer));
                }
            }
        }
        for request in effects {
            let body = request.to_json()?;
            batch.progress.effects.push(NewEffect { policy: policy.id, causation, correlation, request, body });
        }
        Ok(batch)
    }

    fn park(&mut self, stream: PolicyStream, at: ParkedAt) {
        metrics::counter!("cartulary_policy_streams_parked_total").increment(1);
        tracing::error!(
            policy = stream.policy,
            lane = stream.lane.0,
            position = at.position,
            stream_type = stream.stream_type,
            stream = %stream.stream,
            reason = at.reason,
            "a policy cannot read an event; it stops in this stream and tries again"
        );
        self.progress.parked.push(ParkedChange { stream, from: None, to: Some(at) });
    }
}
