//! Effect queues: calls of targets for due effects, and the commands that follow from the outcomes.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use api::port::DeadLetterKind;
use async_trait::async_trait;
use commands::kernel::{AnyCommand, Commands, Outcome};
use domain::shared::CommandId;
use platform::clock::{now, time_before};
use sqlx::PgPool;
use uuid::Uuid;

use super::queue::ClaimedEffect;
use super::target::{AttemptResult, EffectCall, Targets};
use crate::dispatcher::{Dispatcher, EngineCommand};
use crate::queue::{Lease, QueueKey, QueueLimits, QueueWork, RunEnd};

/// Kind of the queues of effects.
pub(super) const EFFECTS: &str = "effects";

/// Executes effects. Each partner of a tenant has one queue, of which one batch is in progress at a time, so that a slow
/// partner delays no other.
#[derive(Clone)]
pub(crate) struct EffectQueues {
    pub(crate) pool: PgPool,
    pub(crate) commands: Arc<Commands>,
    pub(crate) targets: Arc<Targets>,
    pub(crate) dispatcher: Dispatcher,
}

/// Observation of a partner that one effect made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Observation {
    /// The partner was not called.
    NotCalled,
    /// The partner answered, perhaps with a refusal.
    Answered,
    Failed,
}

#[async_trait]
impl QueueWork for EffectQueues {
    const KIND: &'static str = EFFECTS;

    /// When the process stops, attempts in progress complete, so that their outcomes are stored. After a loss of the
    /// database they are dropped instead, and are made again when their leases have expired.
    fn limits(&self) -> QueueLimits {
        let limits = self.targets.limits();
        QueueLimits {
            lease: limits.lease(),
            runs_most: 256,
            lane_runs_most: 64,
            tenant_runs_most: 16,
            degraded_runs_most: 128,
            stop_grace: limits.attempt_time_most.saturating_add(Duration::from_secs(1)),
        }
    }

    fn names(&self) -> Option<Vec<String>> {
        let known = self.commands.effect_descriptors().map(|descriptor| descriptor.target);
        let known: BTreeSet<&str> = known.filter(|target| self.targets.get(target).is_some()).collect();
        Some(known.into_iter().map(str::to_owned).collect())
    }

    /// An effect without an outcome is due when the breaker is closed, or to be given up because of its age.
    fn next_due(&self) -> Cow<'static, str> {
        let age_most = self.targets.limits().age_most.as_secs_f64();
        format!(
            "least((SELECT greatest(e.due_at, least(q.closed_until, e.asked_at + {age_most} * interval '1 second'))
                    FROM work.effects e WHERE e.tenant = q.tenant AND e.target = q.name AND e.outcome IS NULL
                    ORDER BY e.due_at LIMIT 1),
                   (SELECT e.due_at FROM work.effects e
                    WHERE e.tenant = q.tenant AND e.target = q.name AND e.outcome IS NOT NULL
                    ORDER BY e.due_at LIMIT 1))"
        )
        .into()
    }

    /// Executes a batch of effects of one partner concurrently.
    async fn run(&self, lease: &Lease) -> Result<RunEnd, sqlx::Error> {
        let descriptors = self.commands.effect_descriptors().filter(|descriptor| descriptor.target == lease.key.name);
        let names: Vec<&str> = descriptors.map(|descriptor| descriptor.name).collect();
        let batch = self.claim_due(lease, &names).await?;
        if batch.is_empty() {
            return Ok(RunEnd::IDLE);
        }
        let executed = batch.iter().map(|effect| self.execute(&lease.key, effect));
        let mut observed = Vec::new();
        for result in futures::future::join_all(executed).await {
            match result {
                Ok(observation) => observed.push(observation),
                // The effect is due again when its own lease has expired.
                Err(error) => {
                    tracing::warn!(target = lease.key.name, %error, "an effect cannot continue now; trying again");
                }
            }
        }
        Ok(self.end_of(lease, &observed))
    }
}

impl EffectQueues {
    /// End of a run: any answer of the partner closes its circuit breaker, and a number of failures opens it.
    fn end_of(&self, lease: &Lease, observed: &[Observation]) -> RunEnd {
        let limits = self.targets.limits();
        let failed = observed.iter().filter(|observation| **observation == Observation::Failed).count();
        if observed.contains(&Observation::Answered) {
            return RunEnd::SUCCESS;
        }
        if failed == 0 {
            return RunEnd { worked: true, ..RunEnd::IDLE };
        }
        let failures = lease.failures.saturating_add(i32::try_from(failed).unwrap_or(i32::MAX));
        limits.breaker().after_failures(failures)
    }

    /// Makes an attempt if there is no outcome yet, and completes the effect if there is one.
    async fn execute(&self, partner: &QueueKey, effect: &ClaimedEffect) -> Result<Observation, sqlx::Error> {
        let (observation, outcome) = match &effect.outcome {
            Some(known) => (Observation::NotCalled, Some(known.clone())),
            None => self.attempt(partner, effect).await?,
        };
        if let Some(outcome) = outcome {
            self.complete(partner, effect, &outcome).await?;
        }
        Ok(observation)
    }

    /// Makes one attempt, or gives the effect up. Returns the stored outcome; `None` if this attempt failed and a retry is
    /// scheduled, or if a concurrent attempt has completed the effect.
    async fn attempt(
        &self,
        partner: &QueueKey,
        effect: &ClaimedEffect,
    ) -> Result<(Observation, Option<Outcome>), sqlx::Error> {
        let result = match self.reason_to_give_up(effect) {
            Some(reason) => {
                let stored = self.store_outcome(effect, &Outcome::GivenUp { reason }).await?;
                return Ok((Observation::NotCalled, stored));
            }
            None => self.call(partner, effect).await,
        };
        let outcome = match result {
            AttemptResult::Done(answer) => Outcome::Done { answer },
            AttemptResult::Refused(reason) => Outcome::Refused { reason },
            AttemptResult::Failed(error) => {
                metrics::counter!("cartulary_effect_failures_total", "target" => partner.name.clone()).increment(1);
                tracing::warn!(target = partner.name, effect = %effect.id, error, "an attempt of an effect failed");
                self.schedule_retry(effect, self.targets.limits().delay(effect.attempts), &error).await?;
                return Ok((Observation::Failed, None));
            }
        };
        Ok((Observation::Answered, self.store_outcome(effect, &outcome).await?))
    }

    /// Reason to give an effect up without another attempt: too many attempts, or too old.
    fn reason_to_give_up(&self, effect: &ClaimedEffect) -> Option<String> {
        let limits = self.targets.limits();
        let last = effect.last_error.as_deref().unwrap_or("no attempt was completed");
        if effect.attempts > limits.attempts_most {
            return Some(format!("tried {} times; last error: {last}", limits.attempts_most));
        }
        let is_too_old = effect.asked_at <= time_before(now(), limits.age_most);
        is_too_old.then(|| format!("requested more than {} s ago; last error: {last}", limits.age_most.as_secs()))
    }

    async fn call(&self, partner: &QueueKey, effect: &ClaimedEffect) -> AttemptResult {
        let Some(target) = self.targets.get(&partner.name) else {
            return AttemptResult::Failed(format!("unknown target {}", partner.name));
        };
        let (key, tenant) = (effect.id, partner.tenant);
        let call = EffectCall { key, tenant, name: effect.name.clone(), body: effect.request.clone() };
        let called = tokio::time::timeout(self.targets.limits().attempt_time_most, target.perform(&call));
        called.await.unwrap_or_else(|_| AttemptResult::Failed("no answer within the time limit".into()))
    }

    /// Sends the command that follows from the outcome, if there is one, and deletes the row.
    async fn complete(&self, partner: &QueueKey, effect: &ClaimedEffect, outcome: &Outcome) -> Result<(), sqlx::Error> {
        let descriptor = self.commands.effect_descriptor(&effect.name);
        let follow_up = descriptor.map(|descriptor| descriptor.follow_up(&effect.request, outcome)).transpose();
        match follow_up.map(Option::flatten) {
            Ok(Some(command)) => return self.send_follow_up(partner, effect, &*command).await,
            Ok(None) => self.record_unless_done(partner, effect, outcome).await?,
            Err(error) => self.bury(partner, effect, effect.attempts, &error.to_string()).await?,
        }
        self.delete(effect).await
    }

    /// Sends the follow-up command. Its id is derived from that of the effect: after a crash before the row was
    /// deleted, the same command is sent again.
    async fn send_follow_up(
        &self,
        partner: &QueueKey,
        effect: &ClaimedEffect,
        command: &dyn AnyCommand,
    ) -> Result<(), sqlx::Error> {
        let command = EngineCommand {
            id: CommandId::new(Uuid::new_v5(&effect.id, b"outcome")),
            name: command.name().into_owned(),
            body: command.to_json().map_err(|error| sqlx::Error::Encode(error.into()))?,
            ..as_command(partner, effect)
        };
        // The row contains the outcome. If the command is not decided now, the row stays for the next claim, perhaps by
        // the process that writes the tenant's lane by then.
        let undecided = self.dispatcher.dispatch(vec![command]).await?;
        if undecided.is_empty() { self.delete(effect).await } else { self.postpone(effect).await }
    }

    /// Keeps a refused or given-up effect that has no follow-up command as a dead letter, for an operator to look at.
    async fn record_unless_done(
        &self,
        partner: &QueueKey,
        effect: &ClaimedEffect,
        outcome: &Outcome,
    ) -> Result<(), sqlx::Error> {
        match outcome {
            Outcome::Done { .. } => Ok(()),
            Outcome::Refused { reason } => self.bury(partner, effect, effect.attempts, reason).await,
            // The claim that gave it up made no attempt.
            Outcome::GivenUp { reason } => self.bury(partner, effect, effect.attempts.saturating_sub(1), reason).await,
        }
    }

    async fn bury(
        &self,
        partner: &QueueKey,
        effect: &ClaimedEffect,
        attempts: i32,
        reason: &str,
    ) -> Result<(), sqlx::Error> {
        self.dispatcher.store_letter(DeadLetterKind::Effect, &as_command(partner, effect), attempts, reason).await
    }
}

/// The effect in the form of a command, for a dead letter.
fn as_command(partner: &QueueKey, effect: &ClaimedEffect) -> EngineCommand {
    EngineCommand {
        id: CommandId::new(effect.id),
        tenant: partner.tenant,
        policy: effect.policy.clone(),
        causation: effect.causation,
        correlation: effect.correlation,
        name: effect.name.clone(),
        body: effect.request.clone(),
    }
}
