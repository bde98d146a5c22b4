//! Effects: what partners outside do for us. A row is worked off under one key until its outcome is known, and the
//! outcome comes back as a command.

mod attempts;
mod limits;
mod rows;
mod settling;

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use domain::shared::TenantId;
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use limits::EffectLimits;

use super::{PAUSE, PolicyRunner};
use rows::{Partner, Turn};

/// Somebody outside who does something for us, such as a mail server.
#[async_trait]
pub trait Target: Send + Sync {
    /// Asks for it once. It may be asked again with the same key when nobody heard the answer, and must then happen
    /// only once; whoever asks stops listening after a while.
    async fn perform(&self, request: &Request) -> Attempt;
}

/// What is asked of a target.
#[derive(Clone, Debug)]
pub struct Request {
    /// The idempotency key: the same in every attempt, restarts and restores notwithstanding.
    pub key: Uuid,
    pub tenant: TenantId,
    /// The kind of effect.
    pub name: String,
    /// The effect itself, as JSON.
    pub body: String,
}

/// What one attempt came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Attempt {
    /// It is done; with what the partner answered.
    Done(serde_json::Value),
    /// The partner will not do it, however often it is asked.
    Refused(String),
    /// The partner could not be reached, was too slow or had trouble of its own; another attempt may succeed.
    Failed(String),
}

/// Everybody who does something outside, and how patient we are with them.
#[derive(Default)]
pub struct Targets {
    by_name: BTreeMap<&'static str, Box<dyn Target>>,
    limits: EffectLimits,
}

impl Targets {
    pub fn new(limits: EffectLimits) -> Self {
        Self { by_name: BTreeMap::new(), limits }
    }

    /// Effects name their target by this name.
    #[must_use]
    pub fn with(mut self, name: &'static str, target: impl Target + 'static) -> Self {
        self.by_name.insert(name, Box::new(target));
        self
    }
}

impl PolicyRunner {
    /// Lets partners take turns: each has a few effects under way at a time, so that none waits for another.
    pub(super) async fn run_effects(self, stop: CancellationToken) {
        let kinds = self.commands.effect_descriptors();
        let names: Vec<&str> =
            kinds.filter(|kind| self.targets.by_name.contains_key(kind.target)).map(|kind| kind.name).collect();
        if names.is_empty() {
            return;
        }
        let (mut turns, mut busy) = (JoinSet::new(), HashMap::<Id, Partner>::new());
        while !stop.is_cancelled() {
            let begun = self.begin_turns(&names, busy.values()).await.unwrap_or_else(|error| {
                tracing::warn!(%error, "effects cannot go on now");
                vec![]
            });
            for turn in begun {
                let (partner, runner) = (turn.partner.clone(), self.clone());
                let task = turns.spawn(async move { runner.take(turn).await });
                busy.insert(task.id(), partner);
            }
            tokio::select! {
                () = stop.cancelled() => break,
                Some(ended) = turns.join_next_with_id(), if !turns.is_empty() => {
                    busy.remove(&ended.map_or_else(|failed| failed.id(), |(id, ())| id));
                }
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
        // What is under way ends by itself before long, and its outcome is kept.
        while turns.join_next().await.is_some() {}
    }

    /// The effects of one partner, side by side.
    async fn take(self, turn: Turn) {
        let worked_off = turn.effects.iter().map(|effect| self.work_off(&turn.partner, effect));
        for result in futures::future::join_all(worked_off).await {
            if let Err(error) = result {
                // The row is due again when its lease has passed.
                tracing::warn!(target = turn.partner.target, %error, "an effect cannot go on now");
            }
        }
    }
}
