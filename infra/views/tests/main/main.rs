//! Read models on a real PostgreSQL and a real Redis.

mod agreement;
mod broken_rows;
mod groups;
mod newcomers;
mod read_plans;
mod rebuild;
mod repeated_events;
mod restored_log;
mod row_cache;
mod shapes;
