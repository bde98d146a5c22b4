//! Redis connection shared by all requests of a process, and the task that reconnects it.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use platform::clock::now;
use redis::aio::{MultiplexedConnection, PubSub};
use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{
    AsyncConnectionConfig, Client, ErrorKind, IntoConnectionInfo, RedisError, RedisResult, ServerErrorKind,
    TlsCertificates,
};
use sqlx::PgPool;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use vault::OuterKey;

use super::seal::Seal;

/// Time limit of a request. After it, the caller continues without an answer and the connection is replaced.
pub const ANSWER_TIMEOUT: Duration = Duration::from_millis(100);
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// Pause before each attempt to reconnect.
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);
/// TCP keepalive: idle time before the first probe, and pause between probes.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// Refusals are logged at most once in this time.
const REFUSAL_LOG_INTERVAL_MICROS: i64 = 60_000_000;

/// Connection to Redis. Clones share it.
#[derive(Clone)]
pub struct Redis {
    client: Client,
    prefix: Arc<str>,
    pub(super) seal: Seal,
    state: Arc<watch::Sender<State>>,
    refusal_logged_at: Arc<AtomicI64>,
}

enum State {
    /// The connection with its number. An error of a connection with another number does not end it.
    Connected(u64, MultiplexedConnection),
    /// The reason of the outage.
    Disconnected(String),
}

impl Redis {
    /// Connects, and reconnects until `stop`. An outage of Redis is not an error.
    ///
    /// Every key begins with the namespace, so that several installations can share a Redis.
    pub async fn start(client: Client, namespace: &str, outer: &OuterKey, stop: CancellationToken) -> Result<Self> {
        let state = Arc::new(watch::Sender::new(State::Disconnected("not connected yet".into())));
        let prefix = format!("cartulary:{namespace}").into();
        let redis = Self { client, prefix, seal: Seal::new(outer), state, refusal_logged_at: Arc::default() };
        let first = redis.connect(0).await;
        if let Err(error) = &first {
            let reason = error.to_string();
            tracing::warn!(reason, "Redis at {} does not answer; continuing without it", redis.address());
            redis.state.send_replace(State::Disconnected(reason));
        }
        metrics::gauge!("cartulary_redis_up").set(if first.is_ok() { 1 } else { 0 });
        tokio::spawn(redis.clone().reconnect(stop));
        Ok(redis)
    }

    /// Executes a request; `None` during an outage, if Redis refuses the request, or after [`ANSWER_TIMEOUT`].
    pub async fn execute<T, F>(&self, request: impl FnOnce(MultiplexedConnection) -> F) -> Option<T>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let (number, connection) = match &*self.state.borrow() {
            State::Connected(number, connection) => (*number, connection.clone()),
            State::Disconnected(_) => return None,
        };
        match tokio::time::timeout(ANSWER_TIMEOUT, request(connection)).await {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(error)) if is_refusal(&error) => {
                self.record_refusal(&error);
                None
            }
            Ok(Err(error)) => self.disconnect(number, &error.to_string()),
            Err(_) => self.disconnect(number, &format!("no answer within {} ms", ANSWER_TIMEOUT.as_millis())),
        }
    }

    /// Opens a separate connection for channel subscriptions.
    pub async fn subscriber(&self) -> Result<PubSub> {
        let subscriber = tokio::time::timeout(CONNECT_TIMEOUT, self.client.get_async_pubsub());
        Ok(subscriber.await.context("no answer in time")??)
    }

    /// Joins parts to the name of a key or channel in the namespace.
    pub fn key(&self, parts: &[&str]) -> String {
        let parts = parts.iter().flat_map(|part| [":", part]);
        std::iter::once(&*self.prefix).chain(parts).collect()
    }

    /// The reason of the current outage.
    pub fn outage(&self) -> Option<String> {
        match &*self.state.borrow() {
            State::Connected(..) => None,
            State::Disconnected(reason) => Some(format!("Redis at {} does not answer: {reason}", self.address())),
        }
    }

    /// `host:port`, without the password.
    fn address(&self) -> String {
        self.client.get_connection_info().addr().to_string()
    }

    /// Reconnects after every loss of the connection, until `stop`.
    async fn reconnect(self, stop: CancellationToken) {
        let (mut state, mut number) = (self.state.subscribe(), 0);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                lost = state.wait_for(|state| matches!(state, State::Disconnected(_))) => if lost.is_err() { return },
            }
            if tokio::time::timeout(RECONNECT_PAUSE, stop.cancelled()).await.is_ok() {
                return;
            }
            number += 1;
            match self.connect(number).await {
                Ok(()) => {
                    metrics::gauge!("cartulary_redis_up").set(1);
                    tracing::info!("Redis at {} answers again", self.address());
                }
                Err(error) => {
                    tracing::debug!("cannot reconnect to Redis: {error}");
                    self.state.send_replace(State::Disconnected(error.to_string()));
                }
            }
        }
    }

    async fn connect(&self, number: u64) -> Result<()> {
        // `execute` has a time limit of its own.
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let connecting = async {
            let mut connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
            redis::cmd("PING").exec_async(&mut connection).await?;
            RedisResult::Ok(connection)
        };
        let connection = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.context("no answer in time")??;
        self.state.send_replace(State::Connected(number, connection));
        Ok(())
    }

    /// Begins an outage, unless the connection was already replaced.
    fn disconnect<T>(&self, number: u64, reason: &str) -> Option<T> {
        metrics::counter!("cartulary_redis_errors_total", "what" => "away").increment(1);
        let was_connected = self.state.send_if_modified(|state| {
            let is_current = matches!(state, State::Connected(current, _) if *current == number);
            if is_current {
                *state = State::Disconnected(reason.to_owned());
            }
            is_current
        });
        if was_connected {
            metrics::gauge!("cartulary_redis_up").set(0);
            tracing::warn!(reason, "Redis at {} does not answer; continuing without it", self.address());
        }
        None
    }

    /// Counts and logs a request that Redis refused, as when its memory is full or a key has a value of another type.
    fn record_refusal(&self, error: &RedisError) {
        metrics::counter!("cartulary_redis_errors_total", "what" => "refused").increment(1);
        let (logged_at, now) = (self.refusal_logged_at.load(Ordering::Relaxed), now().micros());
        let is_due = now - logged_at > REFUSAL_LOG_INTERVAL_MICROS;
        if is_due
            && self.refusal_logged_at.compare_exchange(logged_at, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            tracing::warn!(%error, "Redis refuses a request; continuing without it");
        }
    }
}

/// Parses an address, without connecting. Over TLS, the given certificate authorities (PEM) are trusted, or else those
/// of the system.
pub fn client(url: &str, authorities: Option<Vec<u8>>) -> Result<Client> {
    // The error does not repeat the address, which may contain a password.
    let expected = "the address of Redis must be redis://host:port/, or rediss:// for TLS";
    let address = url.into_connection_info().context(expected)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    let socket = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
    let address = address.set_tcp_settings(socket);
    if authorities.is_none() {
        return Client::open(address).context(expected);
    }
    let certificates = TlsCertificates { client_tls: None, root_cert: authorities };
    Client::build_with_tls(address, certificates).context("redis_ca_file requires a rediss:// address")
}

/// Namespace of the installation that uses a database: the identifiers of its server and of the database.
pub async fn namespace_of(pool: &PgPool) -> Result<String, sqlx::Error> {
    let text = "SELECT (SELECT system_identifier FROM pg_control_system())::text || '.' || oid::text
                FROM pg_database WHERE datname = current_database()";
    sqlx::query_scalar(text).fetch_one(pool).await
}

/// Returns whether Redis refused only this request. The connection then stays in use.
fn is_refusal(error: &RedisError) -> bool {
    use ServerErrorKind::{BusyLoading, MasterDown, ReadOnly};
    match error.kind() {
        // The server cannot store anything now. After a fail-over, a new connection to its address may lead to another
        // server.
        ErrorKind::Server(BusyLoading | MasterDown | ReadOnly) => false,
        ErrorKind::Server(_) | ErrorKind::Extension | ErrorKind::UnexpectedReturnType => true,
        _ => false,
    }
}
