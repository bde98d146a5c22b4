//! Sends the engine's own commands until each is answered for good.

use std::collections::BTreeMap;

use commands::kernel::NotNow;
use commands::scribe::{Answer, Envelope};
use domain::kernel::Actor;
use domain::shared::{Principal, TenantId};

use super::{PolicyRunner, RETRY, Task};

impl PolicyRunner {
    /// Sends commands until each one has an answer that stays. Those of one tenant keep their order. Hands back what
    /// another process has to send, because it writes the lane.
    pub(super) async fn carry_out(&self, tasks: Vec<Task>) -> Result<Vec<Task>, sqlx::Error> {
        let mut by_tenant: BTreeMap<TenantId, Vec<Task>> = BTreeMap::new();
        for task in tasks {
            by_tenant.entry(task.tenant).or_default().push(task);
        }
        let sent = by_tenant.into_iter().map(|(tenant, tasks)| self.carry_out_in(tenant, tasks));
        Ok(futures::future::try_join_all(sent).await?.into_iter().flatten().collect())
    }

    async fn carry_out_in(&self, tenant: TenantId, mut tasks: Vec<Task>) -> Result<Vec<Task>, sqlx::Error> {
        let mut elsewhere = Vec::new();
        while !tasks.is_empty() {
            let mut sent = Vec::with_capacity(tasks.len());
            let mut envelopes = Vec::with_capacity(tasks.len());
            for task in tasks.drain(..) {
                match self.envelope(&task) {
                    Ok(envelope) => {
                        envelopes.push(envelope);
                        sent.push(task);
                    }
                    Err(reason) => self.keep_failure(&task, &reason).await?,
                }
            }
            let answers = self.scribe.submit(tenant, true, envelopes).await;
            for (task, answer) in sent.into_iter().zip(answers) {
                match answer {
                    Answer::Settled { .. } => {}
                    Answer::NotNow(NotNow::ShuttingDown) => return Err(sqlx::Error::PoolClosed),
                    Answer::NotNow(NotNow::LaneElsewhere) => elsewhere.push(task),
                    Answer::NotNow(_) => tasks.push(task),
                    Answer::Misuse(misuse) => self.keep_failure(&task, &misuse.to_string()).await?,
                    Answer::Fault(reason) => self.keep_failure(&task, &reason).await?,
                }
            }
            if !tasks.is_empty() {
                tokio::time::sleep(RETRY).await;
            }
        }
        Ok(elsewhere)
    }

    fn envelope(&self, task: &Task) -> Result<Envelope, String> {
        let kind = self.commands.get(&task.command).ok_or_else(|| format!("there is no command {}", task.command))?;
        Ok(Envelope {
            id: task.id,
            fingerprint: self.vault.fingerprint(task.body.as_bytes()).into(),
            command: kind.parse(&task.body).map_err(|misuse| misuse.to_string())?,
            principal: Principal::ENGINE,
            actor: Actor::Engine(task.policy.clone()),
            correlation: None,
            causation: Some(task.causation),
            deadline: None,
            id_is_new: false,
            person_keys: vec![],
        })
    }

    /// Nothing is skipped silently: what cannot be done is kept for a person to look at.
    pub(super) async fn keep_failure(&self, task: &Task, reason: &str) -> Result<(), sqlx::Error> {
        tracing::error!(policy = task.policy, command = task.command, reason, "a policy asked for what cannot be done");
        metrics::counter!("cartulary_policy_failures_total").increment(1);
        let text = "INSERT INTO work.failures (id, tenant, policy, causation, command, body, reason)
                    VALUES ($1, $2, $3, $4, $5, $6::json, $7) ON CONFLICT DO NOTHING";
        sqlx::query(text)
            .bind(task.id.uuid())
            .bind(task.tenant.uuid())
            .bind(&task.policy)
            .bind(task.causation)
            .bind(&task.command)
            .bind(&task.body)
            .bind(reason)
            .execute(&self.pool)
            .await
            .map(|_| ())
    }
}
