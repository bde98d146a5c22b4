//! One process with every role: HTTP, scribes, read models, policies and timers, put together and taken apart.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use std::{io, thread};

use anyhow::{Context, Result, anyhow, bail};
use api::auth::AuthConfig;
use api::error::Problem;
use api::front::Front;
use axum::response::{IntoResponse, Response};
use commands::kernel::{Kinds, NotNow};
use futures::future::select_all;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use projections::kernel::Models;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use platform::database::{CONNECTIONS_MOST, connect};

use crate::engine::Engine;
use crate::parts::Process;
use crate::relief::Relief;
use crate::settings::Settings;
pub use event_log::{migrate, require_migrated};
use outside::webhooks::WebhookDesk;
use platform::http_server;
use scribe::ScribeHandle;
use scribe::peers::Dispatch;
use vault::{OuterKey, Vault};
use views::live::{self, Live};

/// Sockets are told goodbye; who does not answer is not waited for any longer.
const SOCKETS_CLOSED_WITHIN: Duration = Duration::from_secs(2);

/// The pool waits for each of its connections; one on which nobody answers keeps nobody from ending.
const POOL_CLOSED_WITHIN: Duration = Duration::from_secs(5);

/// What a process does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles {
    /// Serves the API.
    pub front: bool,
    /// Writes lanes.
    pub scribe: bool,
    /// Keeps read models.
    pub reads: bool,
    /// Reacts to events, and to the time.
    pub policies: bool,
    /// Puts the log on Kafka.
    pub relay: bool,
    /// Nobody else is there to share the lanes with, so nobody is told.
    pub alone: bool,
}

impl Roles {
    /// What a laptop needs: all of them but the relay.
    pub const ALONE: Self = Self { alone: true, ..Self::ALL };
    /// The same, beside other processes. A relay is a process of its own.
    pub const ALL: Self = Self { front: true, scribe: true, reads: true, policies: true, relay: false, alone: false };
}

/// A process that runs.
pub struct Running {
    pub address: SocketAddr,
    pub pool: PgPool,
    pub dispatch: Dispatch,
    scribe: Option<ScribeHandle>,
    front: Arc<Front>,
    stop: CancellationToken,
    servers: Vec<JoinHandle<()>>,
    roles: Tasks,
}

/// What runs until it is told to stop, each with its name.
#[derive(Default)]
struct Tasks(Vec<(&'static str, JoinHandle<()>)>);

/// Takes the port; first of all, because everything after it is in vain if somebody else has it.
pub async fn listen(settings: &Settings) -> Result<TcpListener> {
    let listener = TcpListener::bind(settings.listen).await;
    let advice = "is another Cartulary running? Another address is set with CARTULARY_LISTEN";
    listener.with_context(|| format!("cannot listen on {}; {advice}", settings.listen))
}

impl Running {
    /// Starts these roles on a migrated database. All of them answer on the listener, if only to say how they are.
    pub async fn start(
        settings: &Settings,
        listener: TcpListener,
        roles: Roles,
        url: &str,
        outer: &OuterKey,
        auth: AuthConfig,
    ) -> Result<Self> {
        // What is counted before somebody records it is lost.
        let metrics = recorder();
        let process = Process::open(settings, roles, url, outer).await?;
        let (pool, stop) = (process.pool.clone(), process.stop.clone());
        let redis = process.redis().await?;
        let mut servers = Vec::new();
        let scribe = process.scribe(&mut servers).await?;
        let dispatch = process.dispatch(scribe.clone()).await?;
        let (vault, models) = (Arc::new(Vault::new(pool.clone(), outer)), Arc::new(Models::all()));
        let reads = process.reads(&models, scribe.as_ref(), &dispatch).await?;
        let (routes, changes) = (dispatch.routes(), reads.changes());
        let live = Live::new(pool.clone(), routes.clone(), changes.clone(), redis.clone(), roles.alone);
        let webhooks = WebhookDesk::open(&pool, routes, settings.guard()?, outer);
        let relief = Relief::new(settings, redis.as_ref());
        relief.follow(&changes, &models, &stop);
        let engine = Engine {
            pool: pool.clone(),
            scribe: dispatch.clone(),
            vault: vault.clone(),
            webhooks: webhooks.clone(),
            kinds: Kinds::all(),
            progress: reads.progress(),
            redis: redis.clone(),
            relief,
            live: live.clone(),
            metrics,
            health: process.health.clone(),
            stop: stop.clone(),
        };
        let front = api::front::Settings { introspection: settings.introspection, ..api::front::Settings::default() };
        let front = Arc::new(Front::new(Arc::new(engine), auth, front).context("the GraphQL schema cannot be built")?);
        let address = listener.local_addr()?;
        // Nothing runs before everything stands.
        let mut running = Tasks::default();
        if roles.front {
            running.add("subscriptions", tokio::spawn(live.run(stop.clone())));
        }
        if roles.reads {
            running.add("read models", tokio::spawn(reads.run(stop.clone())));
            // Who is alone has nobody to tell.
            if let Some(redis) = redis.filter(|_| !roles.alone) {
                running.add("news of rows", tokio::spawn(live::publish(redis, changes, stop.clone())));
            }
        }
        if roles.policies {
            let [policies, deliveries] = process.policies(scribe.clone(), &dispatch, vault, &webhooks).await?;
            running.add("policies", policies);
            running.add("webhooks", deliveries);
        }
        if roles.relay {
            running.add("relay", process.relay()?);
        }
        let serve = if roles.front { api::http::router } else { api::http::health };
        servers.push(tokio::spawn(http_server::serve(listener, serve(Arc::clone(&front)), at_capacity, stop.clone())));
        Ok(Self { address, pool, dispatch, scribe, front, stop, servers, roles: running })
    }

    /// Waits until somebody wants the process to end. That a role ended by itself is an error: nobody else takes its
    /// part while this process says that it is there, and starting again is the cure.
    pub async fn until_stopped(&mut self) -> Result<()> {
        tokio::select! {
            asked = asked_to_stop() => asked,
            role = self.roles.ended() => Err(role),
        }
    }

    /// Takes no more requests, answers those under way, and lets go of everything.
    pub async fn stop(self) {
        self.stop.cancel();
        for server in self.servers {
            server.await.ok();
        }
        tokio::time::timeout(SOCKETS_CLOSED_WITHIN, self.front.sockets_closed()).await.ok();
        if let Some(scribe) = &self.scribe {
            scribe.stop().await;
        }
        self.roles.finish().await;
        tokio::time::timeout(POOL_CLOSED_WITHIN, self.pool.close()).await.ok();
    }
}

impl Tasks {
    fn add(&mut self, name: &'static str, task: JoinHandle<()>) {
        self.0.push((name, task));
    }

    /// Waits until one ends that nobody told to, and says which and how; for ever where there is none.
    async fn ended(&mut self) -> anyhow::Error {
        if self.0.is_empty() {
            return std::future::pending().await;
        }
        let (how, place, _) = select_all(self.0.iter_mut().map(|(_, task)| task)).await;
        let (name, _) = self.0.swap_remove(place);
        match how {
            Ok(()) => anyhow!("{name}: ended, though nobody told it to"),
            Err(panic) => anyhow!("{name}: {panic}; the log has more"),
        }
    }

    async fn finish(self) {
        for (_, task) in self.0 {
            task.await.ok();
        }
    }
}

/// Answers a request for which the process has no capacity.
pub fn at_capacity() -> Response {
    Problem::from(NotNow::Overloaded { retry_after_s: 1 }).into_response()
}

/// Waits until somebody wants the process to end: Ctrl-C or SIGTERM. From the first call on that is remembered: whoever says
/// so while nobody waits, between waiting for the database and serving, is heard by the next who does.
pub async fn asked_to_stop() -> Result<()> {
    static ASKED: LazyLock<io::Result<CancellationToken>> = LazyLock::new(listen_for_signals);
    match &*ASKED {
        Ok(asked) => asked.cancelled().await,
        Err(error) => bail!("signals cannot be listened for: {error}"),
    }
    Ok(())
}

/// Listens on a thread of its own, because a task ends with the runtime it was started in.
fn listen_for_signals() -> io::Result<CancellationToken> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (mut pressed, mut terminated) = {
        let _entered = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    let asked = CancellationToken::new();
    let told = asked.clone();
    thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = pressed.recv() => {}
                _ = terminated.recv() => {}
            }
        });
        told.cancel();
    })?;
    Ok(asked)
}

/// The process has one recorder; a second start in the same process, as in tests, gets a view of its own.
fn recorder() -> PrometheusHandle {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    if metrics::set_global_recorder(recorder).is_err() {
        tracing::debug!("metrics are recorded by an earlier start of this process");
    }
    handle
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_role_that_breaks_or_ends_is_named_and_the_others_can_still_be_finished() {
        let (mut tasks, stop) = (Tasks::default(), CancellationToken::new());
        tasks.add("relay", tokio::spawn(stop.clone().cancelled_owned()));
        tasks.add("read models", tokio::spawn(async { panic!("on purpose") }));
        let told = tasks.ended().await.to_string();
        assert!(told.starts_with("read models: ") && told.contains("panicked"), "{told}");
        tasks.add("policies", tokio::spawn(async {}));
        assert!(tasks.ended().await.to_string().starts_with("policies: ended"));
        stop.cancel();
        tasks.finish().await;
    }
}
