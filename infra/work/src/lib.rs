//! Work engine: policies, timers and effects.
//!
//! Follows the event log, directly or through Kafka, sends the commands that policies ask for, and stores timers and
//! effects until they are due, in leased queues ([`queue`]). Ids are derived from their causes, so that repeating work does not duplicate its result:
//! positions are written after the commands are answered, and rows of timers and effects are deleted after their
//! completion. A crash in between repeats work and loses none.

mod command_queue;
mod dead_letters;
mod dispatcher;
mod effects;
mod kafka_follower;
mod lanes;
mod log_reader;
mod operations;
mod parked_streams;
mod pause;
mod positions;
mod progress;
pub mod queue;
mod reactions;
mod restore;
mod retention;
mod runner;
mod search_index;
mod timer_table;

pub use dead_letters::DeadLetters;
pub use effects::{AttemptResult, EffectCall, EffectLimits, Target, Targets};
pub use lanes::Lanes;
pub use operations::Operations;
pub use pause::{Pause, current_pause, pause_work, resume_work};
pub use restore::{RestoreHook, RestorePoint};
pub use retention::{Dropped, Retention, RetentionPeriods};
pub use runner::PolicyRunner;
pub use search_index::SearchIndex;
