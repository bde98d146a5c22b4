//! Configuration of one process, by component; created from the settings and the roles.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use api::auth::AuthConfig;
use api::graphql::RegisteredDocuments;
use api::registries::Registries;
use api::state::QueryBudgets;
use commands::scribe::Limits;
use edge::rate_limiter::Quotas;
use outside::webhooks::AddressList;
use platform::clock::Clock;
use vault::OuterKey;
use work::RetentionPeriods;

use crate::roles::Roles;

/// Configuration of one process.
pub struct Configuration {
    /// Registries of the engine, the same in all its processes.
    pub registries: Registries,
    pub roles: Roles,
    pub clock: Clock,
    pub database: DatabaseConfig,
    pub outer_key: OuterKey,
    pub auth: AuthConfig,
    /// True if GraphQL introspection is allowed.
    pub introspection: bool,
    pub query_budgets: QueryBudgets,
    pub registered_documents: RegisteredDocuments,
    pub scribe: ScribeConfig,
    /// The Kafka to which the log is copied, if one is used.
    pub kafka: Option<kafka::Settings>,
    pub edge: EdgeConfig,
    pub webhooks: WebhookConfig,
    /// Ages at which data is dropped.
    pub retention: RetentionPeriods,
}

/// The database, and the name under which this process is known there.
pub struct DatabaseConfig {
    pub url: String,
    /// Maximum number of connections of the process, in addition to one for each of its scribe loops.
    pub connections_most: u32,
    /// Name of this process, unique among those of its role and the same after every restart.
    pub owner: String,
    /// Time after which other processes take over the work of a silent one, in milliseconds.
    pub lease_ms: i64,
}

/// The scribe of this process, and its listener for commands that other processes forward.
pub struct ScribeConfig {
    pub limits: Limits,
    /// Number of loops; the lanes of the process are distributed among them.
    pub loops: usize,
    /// Data folder of the log's database server, if it is on this machine, for the check of free space.
    pub data: Option<PathBuf>,
    /// Address of the listener; port 0 takes a free port.
    pub peer_listen: SocketAddr,
    /// Address under which other processes reach the listener, if it is another one.
    pub peer_address: Option<String>,
}

/// Rate limits, row cache and sold-out cache, and the Redis through which processes share their state.
pub struct EdgeConfig {
    pub redis: Option<redis::Client>,
    /// Prefix of our keys in Redis; `None`: the identity of the database.
    pub redis_namespace: Option<String>,
    pub quotas: Quotas,
    /// Longest time for which a cached row is served; `None`: no cache.
    pub row_cache: Option<Duration>,
    /// Longest time for which "sold out" is answered from the cache; `None`: no cache.
    pub sold_out: Option<Duration>,
}

/// Addresses that webhooks may be sent to.
pub struct WebhookConfig {
    /// Private addresses that are allowed.
    pub allowed: AddressList,
    /// Public addresses that are refused.
    pub refused: AddressList,
}

impl Configuration {
    /// Settings of the API.
    pub(crate) fn api(&self) -> api::state::Settings {
        api::state::Settings {
            introspection: self.introspection,
            query_budgets: self.query_budgets,
            registered_documents: self.registered_documents.clone(),
        }
    }
}

impl ScribeConfig {
    /// Address that other processes connect to: the configured one, or else that of the listener, in which the
    /// machine's name replaces an unspecified IP address.
    pub(crate) fn advertised_address(&self, listener: SocketAddr, machine: &str) -> String {
        match &self.peer_address {
            Some(address) => address.clone(),
            None if listener.ip().is_unspecified() => format!("{machine}:{}", listener.port()),
            None => listener.to_string(),
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
        let advertised =
            |listener: &str| config(None).advertised_address(listener.parse().expect("an address"), "node-1");
        assert_eq!(advertised("10.0.0.7:8481"), "10.0.0.7:8481");
        assert_eq!(advertised("0.0.0.0:8481"), "node-1:8481");
        let listener = SocketAddr::from(([0, 0, 0, 0], 8481));
        assert_eq!(config(Some("scribe:1".into())).advertised_address(listener, "node-1"), "scribe:1");
    }
}
