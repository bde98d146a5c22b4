//! The parts of every process, on a real PostgreSQL.

mod session_watch;
