//! Targets of effects, and the limits of calls to them.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use domain::shared::TenantId;
use platform::retry::{exponential_delay, random};
use uuid::Uuid;

use crate::queue::CircuitBreaker;

/// Adapter that executes effects at a partner, for example at a mail server.
#[async_trait]
pub trait Target: Send + Sync {
    /// Calls the partner once. The call may be repeated with the same key if its answer was lost, and must take effect
    /// only once. The caller drops the future after [`EffectLimits::attempt_time_most`].
    async fn perform(&self, call: &EffectCall) -> AttemptResult;
}

/// One call of a target.
#[derive(Clone, Debug)]
pub struct EffectCall {
    /// Idempotency key: the same in every attempt, also after a restart or a restore.
    pub key: Uuid,
    pub tenant: TenantId,
    /// Name of the effect type.
    pub name: String,
    /// The effect as JSON.
    pub body: String,
}

/// Result of one call.
#[derive(Clone, Debug, PartialEq)]
pub enum AttemptResult {
    /// The effect was executed; with the answer of the partner.
    Done(serde_json::Value),
    /// The partner refuses the effect for good; another attempt cannot succeed.
    Refused(String),
    /// The partner was unreachable, too slow or failed; another attempt may succeed.
    Failed(String),
}

/// The targets by name, and the limits of calls to them.
#[derive(Default)]
pub struct Targets {
    by_name: BTreeMap<&'static str, Box<dyn Target>>,
    limits: EffectLimits,
}

impl Targets {
    pub fn new(limits: EffectLimits) -> Self {
        Self { by_name: BTreeMap::new(), limits }
    }

    /// Adds a target under the name by which effects refer to it.
    #[must_use]
    pub fn with(mut self, name: &'static str, target: impl Target + 'static) -> Self {
        self.by_name.insert(name, Box::new(target));
        self
    }

    pub(super) fn get(&self, name: &str) -> Option<&dyn Target> {
        self.by_name.get(name).map(|target| &**target)
    }

    pub(super) fn limits(&self) -> &EffectLimits {
        &self.limits
    }
}

/// Retry policy and circuit breaker of effects.
#[derive(Clone, Copy, Debug)]
pub struct EffectLimits {
    /// Time limit of an attempt.
    pub attempt_time_most: Duration,
    /// Number of attempts after which an effect is given up.
    pub attempts_most: i32,
    /// Age after which an effect is given up.
    pub age_most: Duration,
    /// Maximum delay after the first failure; the maximum doubles with each further one.
    pub first_delay: Duration,
    /// Upper bound of the delay between two attempts.
    pub delay_most: Duration,
    /// Number of consecutive failures of a partner after which its circuit breaker opens.
    pub failures_most: i32,
    /// Time that the circuit breaker stays open; then a single effect tests the partner.
    pub open_time: Duration,
}

impl Default for EffectLimits {
    fn default() -> Self {
        Self {
            attempt_time_most: Duration::from_secs(10),
            attempts_most: 4,
            age_most: Duration::from_secs(3 * 24 * 60 * 60),
            first_delay: Duration::from_secs(15),
            delay_most: Duration::from_secs(60 * 60),
            failures_most: 5,
            open_time: Duration::from_secs(30),
        }
    }
}

impl EffectLimits {
    /// Lease of a claimed row: the time limit of an attempt, and twice as much to store its outcome.
    pub(super) fn lease(&self) -> Duration {
        self.attempt_time_most.saturating_mul(3)
    }

    pub(super) fn breaker(&self) -> CircuitBreaker {
        CircuitBreaker { failures_most: self.failures_most, open_time: self.open_time }
    }

    /// Delay after this number of attempts, with jitter.
    pub(super) fn delay(&self, attempts: i32) -> Duration {
        exponential_delay(self.first_delay, self.delay_most, attempts, random())
    }
}
