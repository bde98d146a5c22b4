//! The configuration of one process, component by component, as the settings and the role give it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use api::auth::AuthConfig;
use commands::scribe::Limits;
use edge::rate_limiter::Quotas;
use outside::webhooks::AddressList;
use vault::OuterKey;

use crate::roles::Roles;

/// Configuration of one process.
pub struct Configuration {
    pub roles: Roles,
    pub database: DatabaseConfig,
    pub outer_key: OuterKey,
    pub auth: AuthConfig,
    /// GraphQL introspection is allowed.
    pub introspection: bool,
    pub scribe: ScribeConfig,
    /// The Kafka that carries the log, where one is used.
    pub kafka: Option<kafka::Settings>,
    pub edge: EdgeConfig,
    pub webhooks: WebhookConfig,
}

/// The database, and the name under which this process is known there.
pub struct DatabaseConfig {
    pub url: String,
    /// Connections of the process, beside one for each of its scribe loops.
    pub connections_most: u32,
    /// Name of this process among those of its role, the same after every restart.
    pub owner: String,
    /// Time after which other processes take over the work of a silent one, in milliseconds.
    pub lease_ms: i64,
}

/// The scribe of this process and its port for commands that other processes forward.
pub struct ScribeConfig {
    pub limits: Limits,
    /// Loops; the lanes are dealt out among them.
    pub loops: usize,
    /// The folder of the log's data, if it is on this machine, for the check of free space.
    pub data: Option<PathBuf>,
    pub peer_listen: SocketAddr,
    /// The address under which other processes reach that port; without it, the one on which it listens.
    pub peer_address: Option<String>,
}

/// Rate limits, row cache and sold-out cache, and the Redis that processes share them through.
pub struct EdgeConfig {
    pub redis: Option<redis::Client>,
    /// Prefix of our keys in Redis; without it, the identity of the database.
    pub redis_namespace: Option<String>,
    pub quotas: Quotas,
    /// Longest time for which a cached row is served; no cache without it.
    pub row_cache: Option<Duration>,
    /// Longest time for which "sold out" is answered from the cache; no cache without it.
    pub sold_out: Option<Duration>,
}

/// Addresses that webhooks may be sent to.
pub struct WebhookConfig {
    /// Private addresses that are allowed.
    pub allowed: AddressList,
    /// Public addresses that are refused.
    pub refused: AddressList,
}

impl ScribeConfig {
    /// The address that other processes are given: as configured, else where the port listens, with the machine's name in
    /// place of an unspecified address.
    pub(crate) fn advertised(&self, port: SocketAddr, machine: &str) -> String {
        match &self.peer_address {
            Some(address) => address.clone(),
            None if port.ip().is_unspecified() => format!("{machine}:{}", port.port()),
            None => port.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unspecified_address_is_never_advertised() {
        let config = |peer_address| ScribeConfig {
            limits: Limits::default(),
            loops: 1,
            data: None,
            peer_listen: SocketAddr::from(([0, 0, 0, 0], 8481)),
            peer_address,
        };
        let advertised = |port: &str| config(None).advertised(port.parse().expect("an address"), "node-1");
        assert_eq!(advertised("10.0.0.7:8481"), "10.0.0.7:8481");
        assert_eq!(advertised("0.0.0.0:8481"), "node-1:8481");
        let port = SocketAddr::from(([0, 0, 0, 0], 8481));
        assert_eq!(config(Some("scribe:1".into())).advertised(port, "node-1"), "scribe:1");
    }
}
