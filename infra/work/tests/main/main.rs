//! Policies, timers and effects on a real PostgreSQL.

mod effects;
mod restored_log;
mod timers;
