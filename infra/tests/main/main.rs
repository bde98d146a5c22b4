//! What infra does for real: real files, real processes, real PostgreSQL.

mod embedded;
mod server;
