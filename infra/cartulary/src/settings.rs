//! Settings: a TOML file and `CARTULARY_*` variables, which win. Unknown keys are refused.

mod secured;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use api::auth::{AuthConfig, PublicKey};
use api::graphql::RegisteredDocuments;
use api::registries::Registries;
use api::state::{QueryBudget, QueryBudgets};
use commands::scribe::Limits;
use domain::shared::Seconds;
use edge::rate_limiter::{QUOTA_MOST, Quotas};
use edge::sold_out;
use event_log::LaneCount;
use outside::webhooks::AddressList;
use platform::clock::Clock;
use platform::database::CONNECTIONS_MOST;
use serde::Deserialize;
use vault::OuterKey;
use views::row_cache;
use work::RetentionPeriods;

use crate::configuration::{Configuration, DatabaseConfig, EdgeConfig, ScribeConfig, WebhookConfig};
use crate::roles::Roles;

/// Default time to live of a cached row if there is a Redis, in milliseconds.
const ROW_CACHE_MS: u32 = 1_000;
/// Longest time for which data can be kept, in days: 100 years.
const DAYS_MOST: u64 = 36_500;

/// Settings of one process. `cartulary doctor` checks them.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Address on which HTTP is served.
    pub listen: SocketAddr,
    /// URL of the PostgreSQL database with the log; `dev` starts its own server.
    pub database_url: Option<String>,
    /// Maximum number of connections of one process to PostgreSQL, in addition to one for each of its scribe loops.
    pub connections_most: u32,
    /// Folder of the PostgreSQL server programs, if `dev` does not find them by itself.
    pub postgres_binaries: Option<PathBuf>,
    /// Folder of the database's data, if it is on this machine; its free space is checked.
    pub database_data: Option<PathBuf>,
    /// The key that wraps all personal keys: 32 bytes in base64.
    pub outer_key: Option<String>,
    /// File of mode 0600 that contains this key.
    pub outer_key_file: Option<PathBuf>,
    pub token_issuer: String,
    pub token_audience: String,
    /// Public keys that verify tokens, as `kid=path/to/key.pem`; all of them are accepted.
    pub token_keys: Vec<String>,
    /// Maximum lifetime of a token, in seconds.
    pub token_lifetime_s_most: i64,
    /// Name of this process, unique among those of its role and the same after every restart. The default is the
    /// machine's name, which suffices if no two processes of one role run on one machine.
    pub owner: String,
    /// Time after which other processes take over the work of a silent one, in milliseconds.
    pub lease_ms: i64,
    /// Address on which a process that writes lanes takes commands from other processes; port 0 takes a free port.
    pub peer_listen: SocketAddr,
    /// Address under which other processes reach `peer_listen`, as `host:port`, if it is another one.
    pub peer_address: Option<String>,
    /// Number of scribe loops in this process; its lanes are distributed among them.
    pub scribe_loops: usize,
    /// Maximum number of commands in the queue; further commands are answered 503 with `Retry-After`.
    pub queue_commands_most: usize,
    /// Maximum number of commands in one batch.
    pub batch_commands_most: usize,
    /// Memory for cached aggregate states, in megabytes.
    pub state_mb_most: usize,
    /// Kafka brokers that carry the log to other processes, as `host:port`, separated by commas; without them every
    /// process reads the log itself.
    pub kafka_brokers: Option<String>,
    /// Connect to the brokers over TLS; their certificates and the names of their hosts are then checked.
    pub kafka_tls: bool,
    /// Certificates of the authorities that sign those of the brokers, in PEM; without it, the authorities that the
    /// system trusts.
    pub kafka_ca_file: Option<PathBuf>,
    /// Our client certificate and its key, if brokers ask for one: both in one file of mode 0600, in PEM.
    pub kafka_identity_file: Option<PathBuf>,
    /// User name for brokers that ask for one.
    pub kafka_user: Option<String>,
    /// The user's password: one line in a file of mode 0600.
    pub kafka_password_file: Option<PathBuf>,
    /// SASL mechanism: SCRAM-SHA-512, SCRAM-SHA-256 or PLAIN.
    pub kafka_mechanism: String,
    /// Allow to send the password without TLS, as in a private network.
    pub kafka_password_in_clear: bool,
    pub kafka_topic: String,
    /// Replication factor of the topic.
    pub kafka_replication: i32,
    /// Private addresses that webhooks may be sent to, also without TLS: `host:port`, or networks such as
    /// `10.1.0.0/16`.
    pub webhook_targets_allowed: Vec<String>,
    /// Public addresses that webhooks must not be sent to, such as those of this installation, in the same form.
    pub webhook_targets_refused: Vec<String>,
    /// The Redis that processes share, as `redis://host:port/`, or `rediss://` for TLS; without it every process has
    /// its own rate limits and caches.
    pub redis_url: Option<String>,
    /// Certificates of the authorities that sign that of Redis, in PEM; without it, the authorities that the system
    /// trusts.
    pub redis_ca_file: Option<PathBuf>,
    /// Prefix of our keys in Redis; without it, the identity of the database.
    pub redis_namespace: Option<String>,
    /// Longest time for which a cached row is served, in milliseconds; 0 for no cache. The default is 1,000 with Redis
    /// and 0 without.
    pub row_cache_ms: Option<u32>,
    /// Commands per minute of each customer; 0 for no limit, as with the next two settings.
    pub customer_commands_per_minute: u32,
    /// Commands per minute of each member, service and operator.
    pub member_commands_per_minute: u32,
    /// Commands per minute of all callers of a tenant together.
    pub tenant_commands_per_minute: u32,
    /// Longest time for which "sold out" is answered from a cache after a refusal, in milliseconds; 0 for no cache.
    pub sold_out_hint_ms: u32,
    /// Points that the GraphQL queries of a customer may cost at once; each row costs one.
    pub customer_query_points: u32,
    /// Points that a customer gets back each second.
    pub customer_query_points_per_second: u32,
    /// Points that the GraphQL queries of a member, service or operator may cost at once.
    pub member_query_points: u32,
    /// Points that a member, service or operator gets back each second.
    pub member_query_points_per_second: u32,
    /// File with the GraphQL documents that clients may name by their hash: a JSON object of documents by their SHA-256, as
    /// code generators write it.
    pub graphql_documents: Option<PathBuf>,
    /// Refuse GraphQL documents that are not in that file.
    pub graphql_documents_only: bool,
    /// Age at which message and details of a rejection are dropped, in days. Its code stays.
    pub rejection_details_days: u32,
    /// Age at which records of attempts to deliver webhooks are dropped, in days.
    pub delivery_attempts_days: u32,
    /// Age at which dead letters are dropped, in days.
    pub dead_letters_days: u32,
    /// Allow GraphQL introspection.
    pub introspection: bool,
    /// Log filter, such as `info` or `warn,work=debug`. It is read before the settings, so only the variable
    /// CARTULARY_LOG has an effect.
    pub log: Option<String>,
    /// The file from which these settings are read; it has no effect in the file itself.
    pub config: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        let (limits, budgets) = (Limits::default(), QueryBudgets::default());
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8480)),
            database_url: None,
            connections_most: CONNECTIONS_MOST,
            postgres_binaries: None,
            database_data: None,
            outer_key: None,
            outer_key_file: None,
            token_issuer: "cartulary".into(),
            token_audience: "cartulary".into(),
            token_keys: vec![],
            token_lifetime_s_most: 24 * 60 * 60,
            owner: machine(),
            lease_ms: 3_000,
            peer_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            peer_address: None,
            scribe_loops: 2,
            queue_commands_most: limits.queue_commands_most,
            batch_commands_most: limits.batch_commands_most,
            state_mb_most: limits.state_bytes_most / (1024 * 1024),
            kafka_brokers: None,
            kafka_tls: false,
            kafka_ca_file: None,
            kafka_identity_file: None,
            kafka_user: None,
            kafka_password_file: None,
            kafka_mechanism: secured::MECHANISM.into(),
            kafka_password_in_clear: false,
            kafka_topic: kafka::Settings::default().topic,
            kafka_replication: kafka::Settings::default().replication,
            webhook_targets_allowed: vec![],
            webhook_targets_refused: vec![],
            redis_url: None,
            redis_ca_file: None,
            redis_namespace: None,
            row_cache_ms: None,
            customer_commands_per_minute: 600,
            member_commands_per_minute: 0,
            tenant_commands_per_minute: 0,
            sold_out_hint_ms: 0,
            customer_query_points: budgets.customer.points,
            customer_query_points_per_second: budgets.customer.points_per_second,
            member_query_points: budgets.member.points,
            member_query_points_per_second: budgets.member.points_per_second,
            graphql_documents: None,
            graphql_documents_only: false,
            rejection_details_days: 90,
            delivery_attempts_days: 30,
            dead_letters_days: 90,
            introspection: false,
            log: None,
            config: None,
        }
    }
}

impl Settings {
    /// Reads the file, if one is given, and the environment.
    pub fn read(file: Option<&Path>) -> Result<Self> {
        let mut sources = config::Config::builder();
        if let Some(file) = file {
            sources = sources.add_source(config::File::from(file));
        }
        let environment = config::Environment::with_prefix("CARTULARY").list_separator(",");
        let environment = ["token_keys", "webhook_targets_allowed", "webhook_targets_refused"]
            .into_iter()
            .fold(environment, config::Environment::with_list_parse_key);
        let sources =
            sources.add_source(environment.try_parsing(true)).build().context("the configuration does not read")?;
        let settings: Self = sources.try_deserialize().context("the configuration does not read")?;
        settings.check()?;
        Ok(settings)
    }

    /// Refuses values out of range and values that contradict each other.
    fn check(&self) -> Result<()> {
        let counts = [
            ("connections_most", u64::from(self.connections_most), 2, 1_000),
            ("scribe_loops", self.scribe_loops as u64, 1, LaneCount::MOST.get() as u64),
            ("queue_commands_most", self.queue_commands_most as u64, 1, 10_000_000),
            ("batch_commands_most", self.batch_commands_most as u64, 1, 100_000),
            ("state_mb_most", self.state_mb_most as u64, 1, 1_000_000),
            ("row_cache_ms", self.row_cache_ms.unwrap_or_default().into(), 0, row_cache::TTL_MS_MOST.into()),
            ("customer_commands_per_minute", self.customer_commands_per_minute.into(), 0, QUOTA_MOST.into()),
            ("member_commands_per_minute", self.member_commands_per_minute.into(), 0, QUOTA_MOST.into()),
            ("tenant_commands_per_minute", self.tenant_commands_per_minute.into(), 0, QUOTA_MOST.into()),
            ("customer_query_points", self.customer_query_points.into(), 1, u32::MAX.into()),
            ("customer_query_points_per_second", self.customer_query_points_per_second.into(), 1, u32::MAX.into()),
            ("member_query_points", self.member_query_points.into(), 1, u32::MAX.into()),
            ("member_query_points_per_second", self.member_query_points_per_second.into(), 1, u32::MAX.into()),
            ("sold_out_hint_ms", self.sold_out_hint_ms.into(), 0, sold_out::LIFETIME_MS_MOST.into()),
            ("rejection_details_days", self.rejection_details_days.into(), 1, DAYS_MOST),
            ("delivery_attempts_days", self.delivery_attempts_days.into(), 1, DAYS_MOST),
            ("dead_letters_days", self.dead_letters_days.into(), 1, DAYS_MOST),
            ("lease_ms", u64::try_from(self.lease_ms).unwrap_or_default(), 1_000, 600_000),
        ];
        for (name, value, least, most) in counts {
            ensure!((least..=most).contains(&value), "{name} must be from {least} to {most}");
        }
        ensure!(!self.owner.trim().is_empty(), "owner must be a name");
        let port = |address: &str| {
            address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
        };
        ensure!(self.peer_address.as_deref().is_none_or(port), "peer_address must be written host:port");
        self.check_secured()?;
        let plain = |name: &str| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        ensure!(
            self.redis_namespace.as_deref().is_none_or(plain),
            "redis_namespace must be made of letters, digits, `-`, `_` and `.`"
        );
        self.webhooks().map(drop)
    }

    /// The configuration of a process with these roles. Only a process that serves the API needs token keys.
    pub fn configuration(&self, roles: Roles) -> Result<Configuration> {
        let auth = if roles.serve { self.auth()? } else { self.auth_with(vec![]) };
        self.configuration_with(roles, self.database_url()?.to_owned(), self.outer_key()?, auth)
    }

    /// The configuration of a process with a database and keys that the settings do not name.
    pub fn configuration_with(
        &self,
        roles: Roles,
        url: String,
        outer_key: OuterKey,
        auth: AuthConfig,
    ) -> Result<Configuration> {
        let (connections_most, owner, lease_ms) = (self.connections_most, self.owner.clone(), self.lease_ms);
        Ok(Configuration {
            registries: Registries::all(),
            roles,
            clock: Clock::default(),
            database: DatabaseConfig { url, connections_most, owner, lease_ms },
            outer_key,
            auth,
            introspection: self.introspection,
            query_budgets: self.query_budgets(),
            registered_documents: self.registered_documents()?,
            scribe: ScribeConfig {
                limits: self.limits(),
                loops: self.scribe_loops,
                data: self.database_data.clone(),
                peer_listen: self.peer_listen,
                peer_address: self.peer_address.clone(),
            },
            kafka: self.kafka()?,
            edge: EdgeConfig {
                redis: self.redis()?,
                redis_namespace: self.redis_namespace.clone(),
                quotas: self.quotas(),
                row_cache: self.row_cache(),
                sold_out: Some(Duration::from_millis(self.sold_out_hint_ms.into())).filter(|life| !life.is_zero()),
            },
            webhooks: self.webhooks()?,
            retention: RetentionPeriods::of_days(
                self.rejection_details_days,
                self.delivery_attempts_days,
                self.dead_letters_days,
            ),
        })
    }

    fn registered_documents(&self) -> Result<RegisteredDocuments> {
        let Some(file) = &self.graphql_documents else {
            ensure!(!self.graphql_documents_only, "graphql_documents_only needs the file graphql_documents");
            return Ok(RegisteredDocuments::default());
        };
        let cannot_read = || format!("cannot read the GraphQL documents in {}", file.display());
        let text = std::fs::read_to_string(file).with_context(cannot_read)?;
        let documents = serde_json::from_str(&text).with_context(cannot_read)?;
        RegisteredDocuments::new(documents, self.graphql_documents_only).with_context(cannot_read)
    }

    fn query_budgets(&self) -> QueryBudgets {
        let customer = QueryBudget {
            points: self.customer_query_points,
            points_per_second: self.customer_query_points_per_second,
        };
        let member =
            QueryBudget { points: self.member_query_points, points_per_second: self.member_query_points_per_second };
        QueryBudgets { customer, member }
    }

    pub fn database_url(&self) -> Result<&str> {
        self.database_url.as_deref().context("no database: set CARTULARY_DATABASE_URL, or start `cartulary dev` here")
    }

    pub(crate) fn outer_key(&self) -> Result<OuterKey> {
        match (&self.outer_key, &self.outer_key_file) {
            (Some(text), None) => OuterKey::from_base64(text),
            (None, Some(file)) if file.exists() => OuterKey::from_file(file),
            (None, Some(file)) => bail!("the key file {} does not exist", file.display()),
            (Some(_), Some(_)) => bail!("set CARTULARY_OUTER_KEY or CARTULARY_OUTER_KEY_FILE, not both"),
            (None, None) => bail!("no outer key: set CARTULARY_OUTER_KEY_FILE; `openssl rand -base64 32` makes a key"),
        }
    }

    pub(crate) fn auth(&self) -> Result<AuthConfig> {
        let keys = self.token_keys.iter().map(|named| {
            let (kid, path) = named.split_once('=').context("token keys are written kid=path/to/key.pem")?;
            let pem = std::fs::read_to_string(path).with_context(|| format!("cannot read the token key {path}"))?;
            Ok(PublicKey::from_pem(kid, &pem)?)
        });
        let keys: Vec<_> = keys.collect::<Result<_>>()?;
        if keys.is_empty() {
            bail!("no token key: set CARTULARY_TOKEN_KEYS=kid=path/to/public-key.pem");
        }
        Ok(self.auth_with(keys))
    }

    /// Accepts tokens that are signed with one of these keys.
    pub fn auth_with(&self, keys: Vec<PublicKey>) -> AuthConfig {
        AuthConfig {
            issuer: self.token_issuer.clone(),
            audience: self.token_audience.clone(),
            keys,
            lifetime_most: Seconds(self.token_lifetime_s_most),
        }
    }

    fn webhooks(&self) -> Result<WebhookConfig> {
        let allowed = AddressList::parse(&self.webhook_targets_allowed).context("webhook_targets_allowed")?;
        let refused = AddressList::parse(&self.webhook_targets_refused).context("webhook_targets_refused")?;
        Ok(WebhookConfig { allowed, refused })
    }

    fn row_cache(&self) -> Option<Duration> {
        let default = if self.redis_url.is_some() { ROW_CACHE_MS } else { 0 };
        Some(Duration::from_millis(self.row_cache_ms.unwrap_or(default).into())).filter(|life| !life.is_zero())
    }

    fn quotas(&self) -> Quotas {
        Quotas {
            customer: self.customer_commands_per_minute,
            member: self.member_commands_per_minute,
            tenant: self.tenant_commands_per_minute,
        }
    }

    /// The limits of the scribe.
    pub fn limits(&self) -> Limits {
        Limits {
            queue_commands_most: self.queue_commands_most,
            batch_commands_most: self.batch_commands_most,
            state_bytes_most: self.state_mb_most.saturating_mul(1024 * 1024),
            ..Limits::default()
        }
    }
}

/// The name of this machine.
pub(crate) fn machine() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_range_are_refused() {
        assert!(Settings::default().check().is_ok());
        let wrong: [fn(&mut Settings); 17] = [
            |settings| settings.connections_most = 0,
            |settings| settings.scribe_loops = 0,
            |settings| settings.scribe_loops = 257,
            |settings| settings.queue_commands_most = 0,
            |settings| settings.batch_commands_most = 0,
            |settings| settings.lease_ms = -1,
            |settings| settings.lease_ms = i64::MAX,
            |settings| settings.owner = " ".into(),
            |settings| settings.peer_address = Some("nonsense".into()),
            |settings| settings.webhook_targets_allowed = vec!["everything".into()],
            |settings| settings.webhook_targets_refused = vec!["10.0.0.0/40".into()],
            |settings| settings.redis_url = Some("127.0.0.1:6379".into()),
            |settings| settings.redis_url = Some("http://127.0.0.1:6379".into()),
            |settings| settings.row_cache_ms = Some(60_001),
            |settings| settings.customer_commands_per_minute = u32::MAX,
            |settings| settings.sold_out_hint_ms = 5_001,
            |settings| settings.redis_namespace = Some("a:b".into()),
        ];
        for change in wrong {
            let mut settings = Settings::default();
            change(&mut settings);
            assert!(settings.check().is_err(), "{settings:?}");
        }
    }
}
