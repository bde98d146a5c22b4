//! The end of an effect: a command takes note of its outcome, and the row goes.

use commands::kernel::{AnyCommand, Outcome};
use domain::shared::CommandId;
use uuid::Uuid;

use super::super::{PolicyRunner, Task};
use super::rows::{Due, Partner};

impl PolicyRunner {
    /// Sends the command that takes note of the outcome. Its id follows from the effect's, so that sending it again,
    /// after a crash before the row was gone, is the same command.
    pub(super) async fn take_note(
        &self,
        partner: &Partner,
        effect: &Due,
        outcome: &Outcome,
    ) -> Result<(), sqlx::Error> {
        let kind = self.commands.effect_descriptor(&effect.name).map(|kind| kind.follow_up(&effect.request, outcome));
        match kind.transpose() {
            Ok(note) => match note.flatten() {
                Some(command) => return self.send_note(partner, effect, &*command).await,
                None => self.keep_unless_done(partner, effect, outcome).await?,
            },
            Err(unreadable) => self.keep_failure(&itself(partner, effect), &unreadable.to_string()).await?,
        }
        self.forget(effect).await
    }

    async fn send_note(&self, partner: &Partner, effect: &Due, command: &dyn AnyCommand) -> Result<(), sqlx::Error> {
        let task = Task {
            id: CommandId::new(Uuid::new_v5(&effect.id, b"outcome")),
            command: command.name().into_owned(),
            body: command.to_json().map_err(|error| sqlx::Error::Encode(error.into()))?,
            ..itself(partner, effect)
        };
        // Whoever writes the tenant's lane by now finds the row, and its outcome.
        if self.carry_out(vec![task]).await?.is_empty() { self.forget(effect).await } else { Ok(()) }
    }

    /// What did not happen and nobody takes note of, a person must see.
    async fn keep_unless_done(&self, partner: &Partner, effect: &Due, outcome: &Outcome) -> Result<(), sqlx::Error> {
        match outcome {
            Outcome::Done { .. } => Ok(()),
            Outcome::Refused { reason } | Outcome::GivenUp { reason } => {
                self.keep_failure(&itself(partner, effect), reason).await
            }
        }
    }
}

/// The effect in place of a command, for the record of failures.
fn itself(partner: &Partner, effect: &Due) -> Task {
    Task {
        id: CommandId::new(effect.id),
        tenant: partner.tenant,
        policy: effect.policy.clone(),
        causation: effect.causation,
        command: effect.name.clone(),
        body: effect.request.clone(),
    }
}
