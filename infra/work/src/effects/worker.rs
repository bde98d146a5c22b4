//! Effect worker: calls targets for due effects and sends the commands that follow from the outcomes.

use std::collections::HashMap;
use std::sync::Arc;

use commands::kernel::{AnyCommand, Commands, Outcome};
use domain::shared::CommandId;
use platform::clock::{now, time_before};
use sqlx::PgPool;
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::queue::{ClaimedEffect, Partner, PartnerBatch};
use super::target::{AttemptResult, EffectCall, Targets};
use crate::dispatcher::{Dispatcher, EngineCommand};
use crate::lanes::{Lanes, POLL_INTERVAL};

/// Executes the effects of the tenants in the lanes of this process.
#[derive(Clone)]
pub(crate) struct EffectWorker {
    pub(crate) pool: PgPool,
    pub(crate) lanes: Lanes,
    pub(crate) commands: Arc<Commands>,
    pub(crate) targets: Arc<Targets>,
    pub(crate) dispatcher: Dispatcher,
}

impl EffectWorker {
    /// Runs until `stop`. Each partner has at most one batch in progress, so that a slow partner delays no other.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let descriptors = self.commands.effect_descriptors();
        let names: Vec<&str> = descriptors
            .filter(|descriptor| self.targets.get(descriptor.target).is_some())
            .map(|descriptor| descriptor.name)
            .collect();
        if names.is_empty() {
            return;
        }
        let (mut tasks, mut busy) = (JoinSet::new(), HashMap::<Id, Partner>::new());
        while !stop.is_cancelled() {
            let claimed = self.claim_due(&names, busy.values()).await.unwrap_or_else(|error| {
                tracing::warn!(%error, "effects cannot be claimed now; trying again");
                vec![]
            });
            for batch in claimed {
                let (partner, worker) = (batch.partner.clone(), self.clone());
                let task = tasks.spawn(async move { worker.execute_batch(batch).await });
                busy.insert(task.id(), partner);
            }
            tokio::select! {
                () = stop.cancelled() => break,
                Some(ended) = tasks.join_next_with_id(), if !tasks.is_empty() => {
                    busy.remove(&ended.map_or_else(|failed| failed.id(), |(id, ())| id));
                }
                () = tokio::time::sleep(POLL_INTERVAL) => {}
            }
        }
        // Batches in progress complete, so that their outcomes are stored. After a loss of the database they are dropped
        // instead, and are executed again when their leases have expired.
        while tasks.join_next().await.is_some() {}
    }

    /// Executes the effects of one partner concurrently.
    async fn execute_batch(self, batch: PartnerBatch) {
        let executed = batch.effects.iter().map(|effect| self.execute(&batch.partner, effect));
        for result in futures::future::join_all(executed).await {
            if let Err(error) = result {
                // The effect is due again when its lease has expired.
                tracing::warn!(target = batch.partner.target, %error, "an effect cannot continue now; trying again");
            }
        }
    }

    /// Makes an attempt if there is no outcome yet, and completes the effect if there is one.
    async fn execute(&self, partner: &Partner, effect: &ClaimedEffect) -> Result<(), sqlx::Error> {
        let outcome = match &effect.outcome {
            Some(known) => Some(known.clone()),
            None => self.attempt(partner, effect).await?,
        };
        match outcome {
            Some(outcome) => self.complete(partner, effect, &outcome).await,
            None => Ok(()),
        }
    }

    /// Makes one attempt, or gives the effect up. Returns the stored outcome; `None` if this attempt failed and a retry is
    /// scheduled, or if a concurrent attempt has completed the effect.
    async fn attempt(&self, partner: &Partner, effect: &ClaimedEffect) -> Result<Option<Outcome>, sqlx::Error> {
        let result = match self.reason_to_give_up(effect) {
            Some(reason) => return self.store_outcome(partner, effect, &Outcome::GivenUp { reason }).await,
            None => self.call(partner, effect).await,
        };
        let outcome = match result {
            AttemptResult::Done(answer) => Outcome::Done { answer },
            AttemptResult::Refused(reason) => Outcome::Refused { reason },
            AttemptResult::Failed(error) => {
                metrics::counter!("cartulary_effect_failures_total", "target" => partner.target.clone()).increment(1);
                tracing::warn!(target = partner.target, effect = %effect.id, error, "an attempt of an effect failed");
                self.schedule_retry(partner, effect, self.targets.limits().delay(effect.attempts), &error).await?;
                return Ok(None);
            }
        };
        self.store_outcome(partner, effect, &outcome).await
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

    async fn call(&self, partner: &Partner, effect: &ClaimedEffect) -> AttemptResult {
        let Some(target) = self.targets.get(&partner.target) else {
            return AttemptResult::Failed(format!("unknown target {}", partner.target));
        };
        let (key, tenant) = (effect.id, partner.tenant);
        let call = EffectCall { key, tenant, name: effect.name.clone(), body: effect.request.clone() };
        let called = tokio::time::timeout(self.targets.limits().attempt_time_most, target.perform(&call));
        called.await.unwrap_or_else(|_| AttemptResult::Failed("no answer within the time limit".into()))
    }

    /// Sends the command that follows from the outcome, if there is one, and deletes the row.
    async fn complete(&self, partner: &Partner, effect: &ClaimedEffect, outcome: &Outcome) -> Result<(), sqlx::Error> {
        let descriptor = self.commands.effect_descriptor(&effect.name);
        let follow_up = descriptor.map(|descriptor| descriptor.follow_up(&effect.request, outcome)).transpose();
        match follow_up.map(Option::flatten) {
            Ok(Some(command)) => return self.send_follow_up(partner, effect, &*command).await,
            Ok(None) => self.record_unless_done(partner, effect, outcome).await?,
            Err(error) => self.dispatcher.record_failure(&as_command(partner, effect), &error.to_string()).await?,
        }
        self.delete(effect).await
    }

    /// Sends the follow-up command. Its id is derived from that of the effect: after a crash before the row was
    /// deleted, the same command is sent again.
    async fn send_follow_up(
        &self,
        partner: &Partner,
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

    /// Records a refused or given-up effect that has no follow-up command as a failure, for an operator to look at.
    async fn record_unless_done(
        &self,
        partner: &Partner,
        effect: &ClaimedEffect,
        outcome: &Outcome,
    ) -> Result<(), sqlx::Error> {
        match outcome {
            Outcome::Done { .. } => Ok(()),
            Outcome::Refused { reason } | Outcome::GivenUp { reason } => {
                self.dispatcher.record_failure(&as_command(partner, effect), reason).await
            }
        }
    }
}

/// The effect in the form of a command, for the record of failures.
fn as_command(partner: &Partner, effect: &ClaimedEffect) -> EngineCommand {
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
