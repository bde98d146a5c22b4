//! Composition root: starts and stops one process with its roles.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;
use std::{io, thread};

use anyhow::{Context, Result, anyhow, bail};
use api::state::AppState;
use axum::Router;
use futures::future::select_all;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use platform::http_server;
use scribe::ScribeHandle;
use scribe::forwarding::Dispatch;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use vault::{MonitorToken, Vault};
use views::live;
use views::store::keep_tables;
use work::{Operations, SearchIndex};

use crate::components::{ComponentBuilder, at_capacity};
use crate::configuration::Configuration;
use crate::database_pools::DatabasePools;
use crate::edge_protection::EdgeProtection;
use crate::engine::Engine;

/// Time limit for WebSockets to answer the closing frame.
const SOCKETS_CLOSED_WITHIN: Duration = Duration::from_secs(2);
/// Time limit for the pools to close their connections: one over a silent network must not keep the process from ending.
const POOL_CLOSED_WITHIN: Duration = Duration::from_secs(5);

/// A running process.
pub struct Running {
    pub address: SocketAddr,
    /// Connections with the privileges of the login, for those who examine a running process.
    pub pool: PgPool,
    pub dispatch: Dispatch,
    /// Router of the HTTP server, for requests from inside this process.
    pub(crate) router: Router,
    scribe: Option<ScribeHandle>,
    state: AppState,
    pools: DatabasePools,
    stop: CancellationToken,
    servers: Vec<JoinHandle<()>>,
    tasks: Tasks,
}

/// Tasks that run until they are asked to stop, each with its name.
#[derive(Default)]
struct Tasks(Vec<(&'static str, JoinHandle<()>)>);

/// Binds the address of the process. This is the first step of a start, because it fails if the port is taken.
pub async fn listen(address: SocketAddr) -> Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    let advice = "is another Cartulary running? Another address is set with CARTULARY_LISTEN";
    listener.with_context(|| format!("cannot listen on {address}; {advice}"))
}

impl Running {
    /// Starts the roles of the configuration on a migrated database. A process without the role `serve` answers only
    /// health requests on the listener.
    pub async fn start(config: Configuration, listener: TcpListener) -> Result<Self> {
        // The recorder comes first: a metric that is counted without a recorder is lost.
        let metrics = recorder();
        let roles = config.roles;
        let builder = ComponentBuilder::connect(config).await?;
        let (pools, stop) = (builder.pools.clone(), builder.stop.clone());
        let (redis, mut servers) = (builder.start_redis().await?, Vec::new());
        let scribe = builder.start_scribe(&mut servers).await?;
        let dispatch = builder.start_dispatch(scribe.clone()).await?;
        let config = &builder.config;
        let vault = Arc::new(Vault::new(pools.shared.clone(), &config.outer_key));
        let (registries, models) = (config.registries.clone(), config.registries.models.clone());
        let follower = builder.build_follower(&models, scribe.as_ref(), &dispatch).await?;
        let (changes, projected) = (follower.row_notices(), follower.progress());
        let live = builder.build_subscriptions(&dispatch, &changes, redis.clone());
        let webhooks = builder.build_webhooks(&dispatch);
        let edge = EdgeProtection::new(&config.edge, redis.as_ref());
        edge.follow(&pools.reader, &changes, &models, &stop);
        let engine = Engine {
            readers: pools.reader.clone(),
            clock: config.clock.clone(),
            dispatch: dispatch.clone(),
            vault: vault.clone(),
            webhooks: webhooks.clone(),
            operations: Operations::new(pools.operations.clone(), registries.commands.clone()),
            states: registries.states.clone(),
            progress: projected.clone(),
            redis: redis.clone(),
            edge,
            live: live.clone(),
            metrics,
            monitor: MonitorToken::new(&config.outer_key),
            health: builder.health.clone(),
            stop: stop.clone(),
        };
        let state = AppState::new(Arc::new(engine), config.auth.clone(), registries, config.api());
        let state = state.context("the GraphQL schema cannot be built")?;
        let address = listener.local_addr()?;
        // These tasks start only after all components were created.
        let mut tasks = Tasks::default();
        if roles.serve {
            tasks.add("subscriptions", tokio::spawn(live.run(stop.clone())));
        }
        if roles.project {
            let kept = keep_tables(pools.worker.clone(), models.clone(), stop.clone());
            tasks.add("tables", tokio::spawn(kept));
            tasks.add("read models", tokio::spawn(follower.run(stop.clone())));
            let (pool, vault, health) = (pools.worker.clone(), vault.clone(), builder.health.clone());
            let index = SearchIndex { pool, vault, progress: projected, health };
            tasks.add("search index", tokio::spawn(index.run(stop.clone())));
            // A process that runs alone has no other process to publish row notices to.
            if let Some(redis) = redis.filter(|_| !roles.alone) {
                tasks.add("row changes", tokio::spawn(live::publish(redis, changes, stop.clone())));
            }
        }
        if roles.policies {
            let [policies, webhook_runner] =
                builder.start_policies(scribe.clone(), &dispatch, vault, &webhooks).await?;
            tasks.add("policies", policies);
            tasks.add("webhooks", webhook_runner);
        }
        if roles.relay {
            tasks.add("relay", builder.start_relay()?);
        }
        let router = if roles.serve { api::http::router } else { api::http::health };
        let router = router(state.clone());
        servers.push(tokio::spawn(http_server::serve(listener, router.clone(), at_capacity, stop.clone())));
        let pool = pools.login.clone();
        Ok(Self { address, pool, pools, dispatch, router, scribe, state, stop, servers, tasks })
    }

    /// Number of GraphQL requests that were answered by a read plan.
    pub fn planned_answers(&self) -> u64 {
        self.state.planned_answers()
    }

    /// Waits until the process is asked to stop. A task of a role that ends by itself is an error: the presence of this
    /// process keeps others from taking over its lanes, so it must be restarted.
    pub async fn until_stopped(&mut self) -> Result<()> {
        tokio::select! {
            requested = stop_requested() => requested,
            role = self.tasks.ended() => Err(role),
        }
    }

    /// Accepts no more requests, answers those in progress, and ends all tasks and connections.
    pub async fn stop(self) {
        self.stop.cancel();
        for server in self.servers {
            server.await.ok();
        }
        tokio::time::timeout(SOCKETS_CLOSED_WITHIN, self.state.sockets_closed()).await.ok();
        if let Some(scribe) = &self.scribe {
            scribe.stop().await;
        }
        self.tasks.finish().await;
        tokio::time::timeout(POOL_CLOSED_WITHIN, self.pools.close()).await.ok();
    }
}

impl Tasks {
    fn add(&mut self, name: &'static str, task: JoinHandle<()>) {
        self.0.push((name, task));
    }

    /// Waits until a task ends by itself and returns an error with its name and its end; without a task, waits for
    /// ever.
    async fn ended(&mut self) -> anyhow::Error {
        if self.0.is_empty() {
            return std::future::pending().await;
        }
        let (outcome, index, _) = select_all(self.0.iter_mut().map(|(_, task)| task)).await;
        let (name, _) = self.0.swap_remove(index);
        match outcome {
            Ok(()) => anyhow!("{name}: ended without being asked to"),
            Err(panic) => anyhow!("{name}: {panic}; the log has more"),
        }
    }

    async fn finish(self) {
        for (_, task) in self.0 {
            task.await.ok();
        }
    }
}

/// Waits for Ctrl-C or SIGTERM. From the first call on, a signal that arrives between two calls is remembered for the
/// next.
pub async fn stop_requested() -> Result<()> {
    static REQUESTED: LazyLock<io::Result<CancellationToken>> = LazyLock::new(listen_for_signals);
    match &*REQUESTED {
        Ok(requested) => requested.cancelled().await,
        Err(error) => bail!("signals cannot be listened for: {error}"),
    }
    Ok(())
}

/// Listens for signals on a thread of its own, because a task ends with the runtime that started it.
fn listen_for_signals() -> io::Result<CancellationToken> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (mut interrupt, mut terminate) = {
        let _entered = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    let requested = CancellationToken::new();
    let sender = requested.clone();
    thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        sender.cancel();
    })?;
    Ok(requested)
}

/// Installs the recorder of metrics and returns its handle, which all starts in one process share, as in tests.
fn recorder() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    let install = || {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("another library of this process records the metrics");
        }
        handle
    };
    HANDLE.get_or_init(install).clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn task_that_ends_or_panics_is_named_and_the_others_still_finish() {
        let (mut tasks, stop) = (Tasks::default(), CancellationToken::new());
        tasks.add("relay", tokio::spawn(stop.clone().cancelled_owned()));
        tasks.add("read models", tokio::spawn(async { panic!("on purpose") }));
        let error = tasks.ended().await.to_string();
        assert!(error.starts_with("read models: ") && error.contains("panicked"), "{error}");
        tasks.add("policies", tokio::spawn(async {}));
        assert!(tasks.ended().await.to_string().starts_with("policies: ended"));
        stop.cancel();
        tasks.finish().await;
    }
}
