//! One attempt: asking the partner, with bounded patience.

use commands::kernel::Outcome;

use super::super::PolicyRunner;
use super::super::waiting::{earlier, random};
use super::rows::{Due, Partner};
use super::{Attempt, Request};
use platform::clock::now;

impl PolicyRunner {
    /// Brings an effect to its end, or puts it off.
    pub(super) async fn work_off(&self, partner: &Partner, effect: &Due) -> Result<(), sqlx::Error> {
        let outcome = match &effect.outcome {
            Some(known) => Some(known.clone()),
            None => self.attempt(partner, effect).await?,
        };
        match outcome {
            Some(outcome) => self.take_note(partner, effect, &outcome).await,
            None => Ok(()),
        }
    }

    /// The outcome that stays, once it is written down; nothing where there is none yet.
    async fn attempt(&self, partner: &Partner, effect: &Due) -> Result<Option<Outcome>, sqlx::Error> {
        let attempt = match self.too_late(effect) {
            Some(reason) => return self.settle(partner, effect, &Outcome::GivenUp { reason }).await,
            None => self.ask(partner, effect).await,
        };
        let outcome = match attempt {
            Attempt::Done(answer) => Outcome::Done { answer },
            Attempt::Refused(reason) => Outcome::Refused { reason },
            Attempt::Failed(trouble) => {
                metrics::counter!("cartulary_effect_failures_total", "target" => partner.target.clone()).increment(1);
                tracing::warn!(target = partner.target, effect = %effect.id, trouble, "an effect will be tried again");
                let pause = self.targets.limits.pause(effect.attempts, random());
                self.put_off(partner, effect, pause, &trouble).await?;
                return Ok(None);
            }
        };
        self.settle(partner, effect, &outcome).await
    }

    /// Why it is not tried any more.
    fn too_late(&self, effect: &Due) -> Option<String> {
        let limits = &self.targets.limits;
        let last = effect.trouble.as_deref().unwrap_or("no attempt ever came to an end");
        if effect.attempts > limits.attempts_most {
            return Some(format!("tried {} times; at last: {last}", limits.attempts_most));
        }
        let too_old = effect.asked_at <= earlier(now(), limits.age_most);
        too_old.then(|| format!("asked for {} s ago; at last: {last}", limits.age_most.as_secs()))
    }

    async fn ask(&self, partner: &Partner, effect: &Due) -> Attempt {
        let Some(target) = self.targets.by_name.get(partner.target.as_str()) else {
            return Attempt::Failed(format!("nobody here is called {}", partner.target));
        };
        let (key, tenant) = (effect.id, partner.tenant);
        let request = Request { key, tenant, name: effect.name.clone(), body: effect.request.clone() };
        let asked = tokio::time::timeout(self.targets.limits.attempt_time_most, target.perform(&request));
        asked.await.unwrap_or_else(|_| Attempt::Failed("there was no answer in time".into()))
    }
}
