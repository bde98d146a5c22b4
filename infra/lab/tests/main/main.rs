//! Tests of the lab that kill processes.

mod killed;
