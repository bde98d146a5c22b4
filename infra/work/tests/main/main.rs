//! Policies, timers and effects on a real PostgreSQL.

mod dead_letters;
mod effects;
mod fair_queues;
mod interrupted_steps;
mod keyed_timers;
mod restored_log;
mod retention;
mod timers;
