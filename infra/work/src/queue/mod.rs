//! Leased queues: the one abstraction under the commands of policies, timers, effects and webhooks.
//!
//! A queue belongs to one tenant and one partner: the engine itself for commands, a target for effects, a subscription for
//! webhooks. Its row in `work.queues` says when it is due and holds the lease, the failures in a row and the circuit
//! breaker; its items are in a table of their own. A worker claims due queues, a bounded number per tenant and lane, and
//! runs each in a task outside of any transaction. When a run ends, the queue gets its next due time.

mod breaker;
mod lane_delays;
mod lease;
mod worker;

pub use breaker::CircuitBreaker;
pub(crate) use lease::wake;
pub use lease::{Lease, QueueKey, QueueLimits, RunEnd};
pub use worker::{QueueWork, QueueWorker};
