//! Tests of relay and feed against real servers: Apache Kafka and PostgreSQL, started once for all tests.
#![allow(clippy::print_stdout, reason = "measurements are printed with --nocapture")]

mod consumers;
mod fan_out;
mod faults;
mod feed;
mod foreign;
mod log;
mod secured;
mod servers;
