//! The one connection that all questions of a process share, and who brings it back.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use redis::aio::{MultiplexedConnection, PubSub};
use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{
    AsyncConnectionConfig, Client, ErrorKind, IntoConnectionInfo, RedisError, RedisResult, ServerErrorKind,
    TlsCertificates,
};
use sqlx::PgPool;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::sealing::Seal;
use platform::clock::now;
use vault::OuterKey;

/// Who has no answer by then goes on without one.
pub const ANSWERED_WITHIN: Duration = Duration::from_millis(100);
const CONNECTED_WITHIN: Duration = Duration::from_millis(500);
/// How long nobody is sent to a Redis that did not answer.
const PAUSE: Duration = Duration::from_secs(1);
/// A peer that says nothing for this long is asked whether it is still there.
const SILENT_MOST: Duration = Duration::from_secs(10);
/// Refusals are told to people at most once in this time.
const REFUSALS_TOLD_EVERY_MICROS: i64 = 60_000_000;

/// A Redis as this process sees it: there, or away for a reason. Clones share one connection.
#[derive(Clone)]
pub struct Redis {
    client: Client,
    prefix: Arc<str>,
    pub(super) seal: Seal,
    state: Arc<watch::Sender<State>>,
    refusal_told: Arc<AtomicI64>,
}

enum State {
    /// With the number of the connection, so that news of an earlier one do not touch it.
    There(u64, MultiplexedConnection),
    Away(String),
}

impl Redis {
    /// Connects, and again whenever that is needed, until `stop`. That Redis is away is no error.
    ///
    /// Every key begins with the namespace, so that several engines can share a Redis.
    pub async fn start(client: Client, namespace: &str, outer: &OuterKey, stop: CancellationToken) -> Result<Self> {
        let state = Arc::new(watch::Sender::new(State::Away("it was not reached yet".into())));
        let prefix = format!("cartulary:{namespace}").into();
        let redis = Self { client, prefix, seal: Seal::new(outer), state, refusal_told: Arc::default() };
        let first = redis.connect(0).await;
        if let Err(error) = &first {
            let reason = error.to_string();
            tracing::warn!(reason, "Redis at {} does not answer; everything goes on without it", redis.address());
            redis.state.send_replace(State::Away(reason));
        }
        metrics::gauge!("cartulary_redis_up").set(if first.is_ok() { 1 } else { 0 });
        tokio::spawn(redis.clone().keep(stop));
        Ok(redis)
    }

    /// What Redis answers; nothing where it is away, refuses, or takes longer than [`ANSWERED_WITHIN`].
    pub async fn ask<T, F>(&self, question: impl FnOnce(MultiplexedConnection) -> F) -> Option<T>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let (number, connection) = match &*self.state.borrow() {
            State::There(number, connection) => (*number, connection.clone()),
            State::Away(_) => return None,
        };
        match tokio::time::timeout(ANSWERED_WITHIN, question(connection)).await {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(error)) if is_refusal(&error) => {
                self.refused(&error);
                None
            }
            Ok(Err(error)) => self.lose(number, &error.to_string()),
            Err(_) => self.lose(number, &format!("no answer within {} ms", ANSWERED_WITHIN.as_millis())),
        }
    }

    /// A connection of its own, for whoever wants to be told of what is published.
    pub async fn subscriber(&self) -> Result<PubSub> {
        let subscriber = tokio::time::timeout(CONNECTED_WITHIN, self.client.get_async_pubsub());
        Ok(subscriber.await.context("no answer in time")??)
    }

    /// A key or a channel of ours.
    pub fn key(&self, parts: &[&str]) -> String {
        let parts = parts.iter().flat_map(|part| [":", part]);
        std::iter::once(&*self.prefix).chain(parts).collect()
    }

    /// Why it is away; nothing while it answers.
    pub fn trouble(&self) -> Option<String> {
        match &*self.state.borrow() {
            State::There(..) => None,
            State::Away(reason) => Some(format!("Redis at {} does not answer: {reason}", self.address())),
        }
    }

    /// `host:port`, without what is secret in its address.
    fn address(&self) -> String {
        self.client.get_connection_info().addr().to_string()
    }

    /// Brings the connection back whenever it was lost. The only one that ever waits for a Redis that is away.
    async fn keep(self, stop: CancellationToken) {
        let (mut state, mut number) = (self.state.subscribe(), 0);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                lost = state.wait_for(|state| matches!(state, State::Away(_))) => if lost.is_err() { return },
            }
            if tokio::time::timeout(PAUSE, stop.cancelled()).await.is_ok() {
                return;
            }
            number += 1;
            match self.connect(number).await {
                Ok(()) => {
                    metrics::gauge!("cartulary_redis_up").set(1);
                    tracing::info!("Redis at {} answers again", self.address());
                }
                Err(error) => {
                    tracing::debug!("Redis is still away: {error}");
                    self.state.send_replace(State::Away(error.to_string()));
                }
            }
        }
    }

    async fn connect(&self, number: u64) -> Result<()> {
        // `ask` watches the time itself.
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let connecting = async {
            let mut connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
            redis::cmd("PING").exec_async(&mut connection).await?;
            RedisResult::Ok(connection)
        };
        let connection = tokio::time::timeout(CONNECTED_WITHIN, connecting).await.context("no answer in time")??;
        self.state.send_replace(State::There(number, connection));
        Ok(())
    }

    /// From now on nobody is sent there, until it answers again.
    fn lose<T>(&self, number: u64, reason: &str) -> Option<T> {
        metrics::counter!("cartulary_redis_errors_total", "what" => "away").increment(1);
        let was_there = self.state.send_if_modified(|state| {
            let is_this = matches!(state, State::There(there, _) if *there == number);
            if is_this {
                *state = State::Away(reason.to_owned());
            }
            is_this
        });
        if was_there {
            metrics::gauge!("cartulary_redis_up").set(0);
            tracing::warn!(reason, "Redis at {} does not answer; everything goes on without it", self.address());
        }
        None
    }

    /// It answers and will not do it: its memory is full, or something foreign lies under our key.
    fn refused(&self, error: &RedisError) {
        metrics::counter!("cartulary_redis_errors_total", "what" => "refused").increment(1);
        let (told, now) = (self.refusal_told.load(Ordering::Relaxed), now().micros());
        let due = now - told > REFUSALS_TOLD_EVERY_MICROS;
        if due && self.refusal_told.compare_exchange(told, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            tracing::warn!(%error, "Redis refuses what it is asked to do; everything goes on without it");
        }
    }
}

/// Reads an address; nobody is called. Over TLS, those of these authorities (PEM) are trusted who signed the server's
/// certificate, or those of the system.
pub fn client(url: &str, authorities: Option<Vec<u8>>) -> Result<Client> {
    // The address may hold a password, so it is not repeated.
    let told = "the address of Redis must be redis://host:port/, or rediss:// for TLS";
    let address = url.into_connection_info().context(told)?;
    let keepalive = TcpKeepalive::new().with_time(SILENT_MOST).with_interval(SILENT_MOST);
    let socket = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
    let address = address.set_tcp_settings(socket);
    if authorities.is_none() {
        return Client::open(address).context(told);
    }
    let certificates = TlsCertificates { client_tls: None, root_cert: authorities };
    Client::build_with_tls(address, certificates).context("redis_ca_file is of use with a rediss:// address only")
}

/// What numbers and names of a database make a namespace of its own: the server's identity and the database's.
pub async fn namespace_of(pool: &PgPool) -> Result<String, sqlx::Error> {
    let text = "SELECT (SELECT system_identifier FROM pg_control_system())::text || '.' || oid::text
                FROM pg_database WHERE datname = current_database()";
    sqlx::query_scalar(text).fetch_one(pool).await
}

/// Whether Redis answers and says no to this one question only.
fn is_refusal(error: &RedisError) -> bool {
    use ServerErrorKind::{BusyLoading, MasterDown, ReadOnly};
    match error.kind() {
        // It cannot keep anything; perhaps its address leads to another one by now.
        ErrorKind::Server(BusyLoading | MasterDown | ReadOnly) => false,
        ErrorKind::Server(_) | ErrorKind::Extension | ErrorKind::UnexpectedReturnType => true,
        _ => false,
    }
}
