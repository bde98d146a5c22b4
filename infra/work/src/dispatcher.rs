//! Dispatcher: sends the commands of the engine itself. Those that can never be executed become dead letters.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::port::DeadLetterKind;
use commands::kernel::{Commands, NotNow};
use commands::scribe::{Answer, Envelope};
use domain::shared::{CommandId, TenantId};
use scribe::forwarding::Dispatch;
use sqlx::PgPool;
use uuid::Uuid;
use vault::Vault;

/// A command that the engine itself sends, encoded as it is stored in rows of timers and dead letters.
#[derive(Clone, Debug)]
pub(crate) struct EngineCommand {
    pub(crate) id: CommandId,
    pub(crate) tenant: TenantId,
    pub(crate) policy: String,
    /// Id of the event that led to the command.
    pub(crate) causation: Uuid,
    /// Id shared by everything that followed from one request; `None` in rows of earlier versions.
    pub(crate) correlation: Option<Uuid>,
    /// Name of the command.
    pub(crate) name: String,
    /// Body of the command, as JSON.
    pub(crate) body: String,
}

/// Sends engine commands and stores those that can never be executed.
#[derive(Clone)]
pub(crate) struct Dispatcher {
    pub(crate) pool: PgPool,
    pub(crate) dispatch: Dispatch,
    pub(crate) vault: Arc<Vault>,
    pub(crate) commands: Arc<Commands>,
}

impl Dispatcher {
    /// Sends commands once, those of one tenant in their order. Returns those that were not decided, each with the
    /// reason; the caller keeps their rows and sends them again later.
    pub(crate) async fn dispatch(
        &self,
        commands: Vec<EngineCommand>,
    ) -> Result<Vec<(EngineCommand, NotNow)>, sqlx::Error> {
        let mut by_tenant: BTreeMap<TenantId, Vec<EngineCommand>> = BTreeMap::new();
        for command in commands {
            by_tenant.entry(command.tenant).or_default().push(command);
        }
        let dispatched = by_tenant.into_iter().map(|(tenant, commands)| self.dispatch_for_tenant(tenant, commands));
        Ok(futures::future::try_join_all(dispatched).await?.into_iter().flatten().collect())
    }

    async fn dispatch_for_tenant(
        &self,
        tenant: TenantId,
        commands: Vec<EngineCommand>,
    ) -> Result<Vec<(EngineCommand, NotNow)>, sqlx::Error> {
        let mut undecided = Vec::new();
        let mut sent = Vec::with_capacity(commands.len());
        let mut envelopes = Vec::with_capacity(commands.len());
        for command in commands {
            match self.envelope(&command) {
                Ok(envelope) => {
                    envelopes.push(envelope);
                    sent.push(command);
                }
                Err(reason) => self.bury(&command, &reason).await?,
            }
        }
        let is_alone = sent.len() == 1;
        let answers = self.dispatch.submit(tenant, true, envelopes).await;
        for (command, answer) in sent.into_iter().zip(answers) {
            match answer {
                Answer::Settled { .. } => {}
                // One stream that cannot be read fails all commands that were sent with the one that needs it.
                Answer::Fault(_) if !is_alone => {
                    undecided.extend(Box::pin(self.dispatch_for_tenant(tenant, vec![command])).await?);
                }
                Answer::NotNow(NotNow::ShuttingDown) => return Err(sqlx::Error::PoolClosed),
                Answer::NotNow(reason) => undecided.push((command, reason)),
                Answer::Misuse(misuse) => self.bury(&command, &misuse.to_string()).await?,
                Answer::Fault(reason) => self.bury(&command, &reason).await?,
            }
        }
        Ok(undecided)
    }

    fn envelope(&self, command: &EngineCommand) -> Result<Envelope, String> {
        let descriptor = self.commands.get(&command.name).ok_or_else(|| format!("unknown command {}", command.name))?;
        let parsed = descriptor.parse(&command.body).map_err(|misuse| misuse.to_string())?;
        let fingerprint = self.vault.body_fingerprint(command.body.as_bytes()).into();
        let (policy, causation) = (command.policy.clone(), Some(command.causation));
        let envelope = Envelope::of_engine(command.id, fingerprint, parsed, policy, causation);
        Ok(Envelope { correlation: command.correlation, ..envelope })
    }

    /// Stores a command that cannot be executed as a dead letter.
    async fn bury(&self, command: &EngineCommand, reason: &str) -> Result<(), sqlx::Error> {
        self.store_letter(DeadLetterKind::Command, command, 1, reason).await
    }

    /// Stores a dead letter, for an operator to look at. `command`: the command or effect.
    pub(crate) async fn store_letter(
        &self,
        kind: DeadLetterKind,
        command: &EngineCommand,
        attempts: i32,
        reason: &str,
    ) -> Result<(), sqlx::Error> {
        let (policy, name) = (&command.policy, &command.name);
        tracing::error!(policy, kind = kind.name(), name, reason, "work of a policy failed for good");
        metrics::counter!("cartulary_policy_failures_total").increment(1);
        let text =
            "INSERT INTO work.dead_letters (id, tenant, kind, policy, causation, correlation, name, body, attempts,
                                                   reason)
                    VALUES ($1, $2, $3, $4, $5, $6, $7, $8::json, $9, $10) ON CONFLICT DO NOTHING";
        let insert = sqlx::query(text).bind(command.id.uuid()).bind(command.tenant.uuid()).bind(kind.name());
        let insert = insert.bind(policy).bind(command.causation).bind(command.correlation).bind(name);
        insert.bind(&command.body).bind(attempts).bind(reason).execute(&self.pool).await.map(|_| ())
    }
}
