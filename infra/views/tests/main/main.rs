//! Read models on a real PostgreSQL and a real Redis.

mod agreement;
mod broken_rows;
mod read_plans;
mod rebuild;
mod restored_log;
mod row_cache;
