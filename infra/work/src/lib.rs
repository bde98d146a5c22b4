//! Runs the policies: follows the log, itself or through Kafka, sends what must follow, keeps what must wait or be done
//! outside.
//!
//! What a policy asks for has an id derived from its cause, so that everything here may be done twice and still
//! happens once: positions are written after the fact, timers and effects are deleted after the fact.

mod carrying_out;
mod effects;
mod hold;
mod positions;
mod progress;
mod reactions;
mod reading;
mod timers;
mod waiting;
mod wire;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use commands::kernel::Commands;
use commands::scribe::LaneId;
use domain::shared::{CommandId, TenantId};
use sqlx::PgPool;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use effects::{Attempt, EffectLimits, Request, Target, Targets};
pub use hold::{Hold, held_back, hold_back, release};
pub use waiting::{later, random};

use event_log::Tail;
use platform::health::Health;
use scribe::ScribeHandle;
use scribe::peers::Dispatch;
use vault::Vault;

/// How long to wait before a lane, a timer or an effect is looked at again, if nothing was written meanwhile.
const PAUSE: Duration = Duration::from_millis(250);
/// How long to wait before what could not be done now is tried again.
const RETRY: Duration = Duration::from_millis(200);

/// What policies, timers and effects need.
#[derive(Clone)]
pub struct PolicyRunner {
    pub pool: PgPool,
    pub scribe: Dispatch,
    pub lanes: Lanes,
    /// Where events come from, if not from the log.
    pub kafka: Option<kafka::Settings>,
    /// Is told what keeps events from coming.
    pub health: Health,
    pub vault: Arc<Vault>,
    pub commands: Arc<Commands>,
    /// Who does what must be done outside.
    pub targets: Arc<Targets>,
}

/// The lanes whose events this process follows, where no consumer group deals them out, and whose timers and effects it
/// sees to: those wait in the store and not in Kafka, and go on while Kafka is away.
#[derive(Clone)]
pub enum Lanes {
    /// Those that it writes itself.
    Written(ScribeHandle),
    /// Its share among the processes that do nothing else.
    Shared(watch::Receiver<BTreeSet<LaneId>>),
}

impl Lanes {
    pub fn now(&self) -> BTreeSet<LaneId> {
        match self {
            Self::Written(scribe) => scribe.held(),
            Self::Shared(share) => share.borrow().clone(),
        }
    }

    /// What was just written to them, where it was written here.
    fn tail(&self) -> Option<&Tail> {
        match self {
            Self::Written(scribe) => Some(scribe.tail()),
            Self::Shared(_) => None,
        }
    }
}

/// A command that the engine sends by itself.
#[derive(Clone, Debug)]
struct Task {
    id: CommandId,
    tenant: TenantId,
    policy: String,
    /// The event that led to it.
    causation: Uuid,
    command: String,
    body: String,
}

impl PolicyRunner {
    /// Runs until it is cancelled.
    pub async fn run(self, stop: CancellationToken) {
        let reactions = self.clone().run_reactions(stop.clone());
        let timers = self.clone().run_timers(stop.clone());
        let effects = self.run_effects(stop);
        futures::join!(reactions, timers, effects);
    }
}
