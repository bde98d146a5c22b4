//! Policies, timers and effects on a real PostgreSQL.

mod effects;
mod fair_queues;
mod keyed_timers;
mod restored_log;
mod timers;
