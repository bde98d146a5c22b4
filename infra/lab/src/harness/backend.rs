//! Parts of the engine in the test's process, without HTTP: the scribe, and the roles that a test adds.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use commands::kernel::{Commands, StateRegistry};
use commands::scribe::{Accepted, Answer, Envelope, Limits, Settled};
use domain::kernel::Actor;
use domain::shared::{CommandId, Principal, TenantId};
use event_log::{LaneCount, PgHistory, StoreFeed};
use outside::webhooks::{AddressList, Guard, HttpClient, WebhookGateway, WebhookLimits};
use platform::clock::new_id;
use platform::clock_monitor::ClockMonitor;
use platform::health::Health;
use projections::kernel::Models;
use replay::rebuild::{Options, rebuild};
use scribe::forwarding::{Dispatch, ForwardingKey};
use scribe::presence;
use scribe::{Owner, ScribeHandle, ScribeSettings};
use serde_json::{Value, json};
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection, PgConnection, PgPool};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinHandle;
use tokio::time::{Duration, Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use vault::{OuterKey, Vault};
use views::follower::ReadModelFollower;
use views::store::{PgTableBuilder, digest};
use work::{Lanes, PolicyRunner, RetentionPeriods, Targets};

use super::{OUTER_KEY, Shop, WAIT_TIMEOUT, eventually};

/// Bounds the number of engines that run at a time in one test binary: a backend takes one slot, a cluster three.
pub(super) static SLOTS: Semaphore = Semaphore::const_new(4);
/// Connections of one backend beside those of its scribe.
const CONNECTIONS_MOST: u32 = 6;
/// Principal of the commands that a backend sends.
const CLERK: Principal = Principal::new(Uuid::from_u128(0xc1e2_0001));

/// Parts of the engine in the test's process: a scribe, and the roles that a test starts with `run_…`.
pub struct Backend {
    /// Connections to the database, beside those of the scribe.
    pub pool: PgPool,
    /// Writes all lanes.
    pub scribe: ScribeHandle,
    /// Health report of its read models, policies and timers.
    pub health: Health,
    lanes: LaneCount,
    dispatch: Dispatch,
    vault: Arc<Vault>,
    commands: Arc<Commands>,
    stop: CancellationToken,
    roles: Vec<JoinHandle<()>>,
    _slot: SemaphorePermit<'static>,
}

/// Settings of a scribe that owns all lanes of a database with the usual number of them.
pub fn scribe_settings(url: &str) -> ScribeSettings {
    let owner = Owner { name: "test".into(), lease_ms: 10_000, address: String::new() };
    ScribeSettings {
        url: url.to_owned(),
        owner,
        limits: Limits::default(),
        states: StateRegistry::all(),
        loops: 2,
        assigned_lanes: presence::all_lanes(LaneCount::DEFAULT),
        data: None,
        clock: ClockMonitor::default(),
    }
}

impl Backend {
    /// Starts a scribe. Its loops connect to the URL in the settings, such as that of a proxy; the pool connects to `url`.
    pub async fn start_with(url: &str, settings: &ScribeSettings) -> Result<Self> {
        let slot = SLOTS.acquire().await?;
        let pool = PgPoolOptions::new().max_connections(CONNECTIONS_MOST).connect(url).await?;
        let (lanes, scribe) = (LaneCount::read(&pool).await?, scribe::start(settings, &pool).await?);
        let outer = OuterKey::from_base64(OUTER_KEY)?;
        let vault = Arc::new(Vault::new(pool.clone(), &outer));
        let (commands, stop) = (Arc::new(Commands::all()), CancellationToken::new());
        let (key, states) = (ForwardingKey::new(&outer), settings.states.clone());
        let dispatch =
            Dispatch::start(pool.clone(), Some(scribe.clone()), key, states, settings.clock.clone(), stop.clone())
                .await?;
        let health = Health::default();
        Ok(Self { pool, scribe, health, lanes, dispatch, vault, commands, stop, roles: vec![], _slot: slot })
    }

    /// Starts a scribe that owns all lanes of a database.
    pub async fn start(url: &str) -> Result<Self> {
        let mut connection = PgConnection::connect(url).await?;
        let lanes = LaneCount::read(&mut connection).await?;
        connection.close().await?;
        let settings = ScribeSettings { assigned_lanes: presence::all_lanes(lanes), ..scribe_settings(url) };
        Self::start_with(url, &settings).await
    }

    /// Keeps the read models up to date from now on.
    pub fn run_read_models(&mut self) {
        let feed = StoreFeed::new(self.pool.clone(), Some(self.scribe.tail().clone()));
        let (models, lanes, written) =
            (Arc::new(Models::all()), presence::all_lanes(self.lanes), self.scribe.written());
        let reads = ReadModelFollower::new(self.pool.clone(), models, feed, lanes, written);
        let reads = reads.with_health(self.health.clone());
        self.roles.push(tokio::spawn(reads.run(self.stop.clone())));
    }

    /// Runs policies and timers from now on.
    pub fn run_policies(&mut self) {
        self.run_policies_with(self.commands.clone(), Arc::default());
    }

    /// Runs policies and timers in these lanes from now on, as a process without a scribe does.
    pub fn run_policies_in(&mut self, lanes: Lanes) {
        self.run_policies_of(lanes, self.commands.clone(), Arc::default());
    }

    /// Runs the policies, timers and effects of these commands from now on, with these targets.
    pub fn run_policies_with(&mut self, commands: Arc<Commands>, targets: Arc<Targets>) {
        self.run_policies_of(Lanes::Written(self.scribe.clone()), commands, targets);
    }

    fn run_policies_of(&mut self, lanes: Lanes, commands: Arc<Commands>, targets: Arc<Targets>) {
        let (pool, dispatch, vault) = (self.pool.clone(), self.dispatch.clone(), self.vault.clone());
        let (kafka, health) = (None, self.health.clone());
        let runner = PolicyRunner {
            pool,
            dispatch,
            lanes,
            kafka,
            health,
            vault,
            commands,
            targets,
            restore_hooks: vec![],
            retention: RetentionPeriods::default(),
        };
        self.roles.push(tokio::spawn(runner.run(self.stop.clone())));
    }

    /// Runs policies and timers and sends webhooks from now on, also to loopback addresses.
    pub fn run_webhooks(&mut self, limits: WebhookLimits) -> Result<WebhookGateway> {
        self.run_webhooks_over(limits, None)
    }

    /// The same with an HTTP client of the test, such as one that trusts other certificates.
    pub fn run_webhooks_over(&mut self, limits: WebhookLimits, client: Option<HttpClient>) -> Result<WebhookGateway> {
        let outer = OuterKey::from_base64(OUTER_KEY)?;
        let gateway = WebhookGateway::open(&self.pool, self.dispatch.routes(), loopback_guard()?, &outer);
        let (pool, dispatch, vault) = (self.pool.clone(), self.dispatch.clone(), self.vault.clone());
        let (lanes, commands) = (Lanes::Written(self.scribe.clone()), self.commands.clone());
        let targets = Targets::default().with("webhooks", gateway.reconciler(&self.pool)).into();
        let (kafka, health) = (None, self.health.clone());
        let policies = PolicyRunner {
            pool,
            dispatch,
            lanes,
            kafka,
            health,
            vault,
            commands,
            targets,
            restore_hooks: gateway.restore_hooks(),
            retention: RetentionPeriods::default(),
        };
        let mut deliveries = gateway.runner(&policies)?;
        deliveries.limits = limits;
        deliveries.client = client.map_or(deliveries.client, Arc::new);
        self.roles.push(tokio::spawn(deliveries.run(self.stop.clone())));
        self.roles.push(tokio::spawn(policies.run(self.stop.clone())));
        Ok(gateway)
    }

    /// Stops everything in order and waits until it has stopped.
    pub async fn close(self) {
        self.stop.cancel();
        self.scribe.stop().await;
        for role in self.roles {
            role.await.ok();
        }
        self.pool.close().await;
    }

    /// Envelope of a command, with sealed personal fields, as the scribe expects it.
    pub async fn envelope(&self, tenant: TenantId, name: &str, id: Uuid, body: &Value) -> Result<Envelope> {
        let body = body.to_string();
        let kind = self.commands.get(name).with_context(|| format!("there is no command {name}"))?;
        let mut command = kind.parse(&body)?;
        let fingerprint = self.vault.fingerprint(&kind.canonical(&*command, &body)?).into();
        let person_keys = self.vault.seal(tenant, &mut *command).await?;
        Ok(Envelope {
            id: CommandId::new(id),
            command,
            fingerprint,
            principal: CLERK,
            actor: Actor::Member(CLERK),
            correlation: None,
            causation: None,
            deadline: None,
            id_is_new: false,
            person_keys,
        })
    }

    /// Sends a command once.
    pub async fn send_once(&self, tenant: TenantId, name: &str, id: Uuid, body: &Value) -> Result<Answer> {
        let envelope = self.envelope(tenant, name, id, body).await?;
        self.scribe.submit(tenant, false, vec![envelope]).await.pop().context("one answer for one command")
    }

    /// Sends a command until it is decided: again after every not-now.
    pub async fn send(&self, tenant: TenantId, name: &str, id: Uuid, body: &Value) -> Result<Answer> {
        let begun = Instant::now();
        loop {
            match self.send_once(tenant, name, id, body).await? {
                Answer::NotNow(reason) if begun.elapsed() > WAIT_TIMEOUT => {
                    bail!("{name} is not decided within {WAIT_TIMEOUT:?}: {reason}")
                }
                Answer::NotNow(_) => sleep(Duration::from_millis(20)).await,
                answer => return Ok(answer),
            }
        }
    }

    /// Sends a command that must be accepted.
    pub async fn execute(&self, tenant: TenantId, name: &str, body: &Value) -> Result<Accepted> {
        match self.send(tenant, name, new_id(), body).await? {
            Answer::Settled { settled: Settled::Accepted(accepted), .. } => Ok(accepted),
            other => bail!("{name} was answered {other:?}"),
        }
    }

    /// Opens a tenant with one product on sale.
    pub async fn shop(&self, units: i64) -> Result<Shop> {
        let tenant = TenantId::new(new_id());
        let subdomain = format!("shop-{}", &tenant.to_string()[24..]);
        let open = json!({ "name": "Corner shop", "subdomain": subdomain, "currency": "USD", "zone": "Europe/Berlin" });
        self.execute(tenant, "OpenTenant", &open).await?;
        let shop = Shop::new(tenant);
        for (name, body) in shop.setup_commands(units) {
            self.execute(tenant, name, &body).await?;
        }
        Ok(shop)
    }
}

/// Guard that permits webhooks to loopback addresses, which the product refuses by default.
pub fn loopback_guard() -> Result<Guard> {
    Ok(Guard::new(AddressList::parse(&["127.0.0.0/8".to_owned()])?, AddressList::default()))
}

/// Waits until every read model has reached the end of the log in every lane.
pub async fn caught_up(pool: &PgPool) -> Result<()> {
    let text = "SELECT count(*) FROM reads.live v JOIN reads.checkpoints c USING (model, shape)
                JOIN LATERAL (SELECT coalesce(max(e.position), 0) AS position FROM log.events e
                              WHERE e.lane = c.lane) head ON head.position = c.position";
    let every = i64::try_from(Models::all().iter().count() * LaneCount::read(pool).await?.get())?;
    eventually("every read model is at the end of the log", async || {
        Ok(sqlx::query_scalar::<_, i64>(text).fetch_one(pool).await? == every)
    })
    .await
}

/// Name, digest and number of rows of every read model.
pub async fn digests(pool: &PgPool) -> Result<Vec<(String, String, u64)>> {
    let mut digests = Vec::new();
    for model in Models::all().iter() {
        let found = digest(pool, model).await?;
        digests.push((model.name.clone(), found.to_string(), found.rows));
    }
    Ok(digests)
}

/// Rebuilds all read models in one scan with pages of `page` events and at most `page` rows in memory.
pub async fn rebuild_all(pool: &PgPool, page: usize) -> Result<()> {
    let (history, builds) = (PgHistory::new(pool.clone()), PgTableBuilder::new(pool.clone()));
    let options = Options { rows_most: page, page, resume: false };
    rebuild(&Models::all().iter().collect::<Vec<_>>(), &history, &builds, options).await?;
    Ok(())
}
