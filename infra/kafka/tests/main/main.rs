//! Relay and feed against the real broker: Apache Kafka and PostgreSQL, started once for all tests.
#![allow(clippy::print_stdout, reason = "figures are told to whoever asks for them with --nocapture")]

mod fan_out;
mod faults;
mod foreign;
mod log;
mod secured;
mod servers;
mod speed;
mod wire;
mod workers;
