//! The scribe in the test's process, on a real PostgreSQL.

mod clocks;
mod differential;
mod fail_over;
mod left_out_rows;
mod long_streams;
mod lost_connections;
mod presence;
mod queue;
mod snapshots;
