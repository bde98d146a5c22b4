//! An engine and a shop to break.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use commands::kernel::Commands;
use commands::scribe::{Accepted, Answer, Envelope, Limits, Settled};
use domain::inventory::StockItem;
use domain::kernel::Actor;
use domain::shared::{CommandId, Principal, ProductId, StockItemId, TenantId};
use domain::tenancy::Tenant;
use event_log::PgHistory;
use event_log::StoreFeed;
use outside::webhooks::{Guard, Line, Places, WebhookDesk, WebhookLimits};
use platform::clock::new_id;
use platform::health::Health;
use projections::kernel::Models;
use replay::rebuild::{Budget, rebuild};
use scribe::peers::{Dispatch, PeerSeal};
use scribe::presence;
use scribe::{Owner, ScribeHandle, ScribeSettings};
use serde_json::{Value, json};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use vault::{OuterKey, Vault};
use views::reads::ReadSide;
use views::store::{PgBuilds, digest};
use work::{Lanes, PolicyRunner, Targets};

/// What the one server and the cores of a laptop bear at a time: a house takes one place, a desk three.
pub(crate) static PLACES: Semaphore = Semaphore::const_new(4);
/// Connections of one house beside those of its scribes.
const CONNECTIONS_MOST: u32 = 6;
/// How long anything may take before a test gives it up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Who sends the commands of these tests.
pub(crate) const CLERK: Principal = Principal::new(Uuid::from_u128(0xc1e2_0001));

/// An engine without its front door, in the process of the test.
pub(crate) struct House {
    pub(crate) pool: PgPool,
    pub(crate) scribe: ScribeHandle,
    dispatch: Dispatch,
    pub(crate) vault: Arc<Vault>,
    commands: Arc<Commands>,
    stop: CancellationToken,
    roles: Vec<JoinHandle<()>>,
    _place: SemaphorePermit<'static>,
}

/// How a house is made.
pub(crate) fn settings(url: &str) -> ScribeSettings {
    let owner = Owner { name: "test".into(), lease_ms: 10_000, address: String::new() };
    ScribeSettings {
        url: url.to_owned(),
        owner,
        limits: Limits::default(),
        loops: 2,
        share: presence::alone(),
        data: None,
    }
}

impl House {
    /// Scribes only. They write through the address in the settings; everything else reads from `url`.
    pub(crate) async fn open(url: &str, settings: &ScribeSettings) -> Result<Self> {
        let place = PLACES.acquire().await?;
        let pool = PgPoolOptions::new().max_connections(CONNECTIONS_MOST).connect(url).await?;
        let scribe = scribe::start(settings, &pool).await?;
        let outer = OuterKey::from_base64("AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")?;
        let vault = Arc::new(Vault::new(pool.clone(), &outer));
        let (commands, stop) = (Arc::new(Commands::all()), CancellationToken::new());
        let seal = PeerSeal::new(&outer);
        let dispatch = Dispatch::start(pool.clone(), Some(scribe.clone()), seal, stop.clone()).await?;
        Ok(Self { pool, scribe, dispatch, vault, commands, stop, roles: vec![], _place: place })
    }

    pub(crate) async fn with_defaults(url: &str) -> Result<Self> {
        Self::open(url, &settings(url)).await
    }

    /// Keeps the read models from now on.
    pub(crate) fn read(&mut self) {
        let feed = StoreFeed::new(self.pool.clone(), Some(self.scribe.tail().clone()));
        let (models, lanes, written) = (Arc::new(Models::all()), presence::alone(), self.scribe.written());
        let reads = ReadSide::new(self.pool.clone(), models, feed, lanes, written);
        self.roles.push(tokio::spawn(reads.run(self.stop.clone())));
    }

    /// Runs policies and timers from now on.
    pub(crate) fn react(&mut self) {
        self.react_with(self.commands.clone(), Arc::default());
    }

    /// The same with policies of the test's own, and with partners.
    pub(crate) fn react_with(&mut self, commands: Arc<Commands>, targets: Arc<Targets>) {
        let (pool, scribe, vault) = (self.pool.clone(), self.dispatch.clone(), self.vault.clone());
        let lanes = Lanes::Written(self.scribe.clone());
        let (kafka, health) = (None, Health::default());
        let runner = PolicyRunner { pool, scribe, lanes, kafka, health, vault, commands, targets };
        self.roles.push(tokio::spawn(runner.run(self.stop.clone())));
    }

    /// Runs policies and timers and sends webhooks from now on, also to this machine.
    pub(crate) fn tell(&mut self, limits: WebhookLimits) -> Result<WebhookDesk> {
        self.tell_over(limits, None)
    }

    /// The same over a line that trusts other certificates than the world does.
    pub(crate) fn tell_over(&mut self, limits: WebhookLimits, line: Option<Line>) -> Result<WebhookDesk> {
        let outer = OuterKey::from_base64("AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")?;
        let desk = WebhookDesk::open(&self.pool, self.dispatch.routes(), to_this_machine()?, &outer);
        let (pool, scribe, vault) = (self.pool.clone(), self.dispatch.clone(), self.vault.clone());
        let (lanes, commands) = (Lanes::Written(self.scribe.clone()), self.commands.clone());
        let targets = Targets::default().with("webhooks", desk.keeper()).into();
        let (kafka, health) = (None, Health::default());
        let policies = PolicyRunner { pool, scribe, lanes, kafka, health, vault, commands, targets };
        let mut deliveries = desk.runner(&policies)?;
        deliveries.limits = limits;
        deliveries.line = line.map_or(deliveries.line, Arc::new);
        self.roles.push(tokio::spawn(deliveries.run(self.stop.clone())));
        self.roles.push(tokio::spawn(policies.run(self.stop.clone())));
        Ok(desk)
    }

    /// Stops everything in good order.
    pub(crate) async fn close(self) {
        self.stop.cancel();
        self.scribe.stop().await;
        for role in self.roles {
            role.await.ok();
        }
        self.pool.close().await;
    }

    pub(crate) async fn envelope(&self, tenant: TenantId, name: &str, id: Uuid, body: &Value) -> Result<Envelope> {
        let body = body.to_string();
        let kind = self.commands.get(name).with_context(|| format!("there is no command {name}"))?;
        let mut command = kind.parse(&body)?;
        let person_keys = self.vault.seal(tenant, &mut *command).await?;
        Ok(Envelope {
            id: CommandId::new(id),
            command,
            fingerprint: self.vault.fingerprint(format!("{name}\n{body}").as_bytes()).into(),
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
    pub(crate) async fn send_once(&self, tenant: TenantId, name: &str, id: Uuid, body: &Value) -> Result<Answer> {
        let envelope = self.envelope(tenant, name, id, body).await?;
        self.scribe.submit(tenant, false, vec![envelope]).await.pop().context("one answer for one command")
    }

    /// Sends a command until it is decided, as a careful client does.
    pub(crate) async fn send(&self, tenant: TenantId, name: &str, id: Uuid, body: &Value) -> Result<Answer> {
        let begun = Instant::now();
        loop {
            match self.send_once(tenant, name, id, body).await? {
                Answer::NotNow(reason) if begun.elapsed() > PATIENCE => bail!("{name} is put off for ever: {reason}"),
                Answer::NotNow(_) => sleep(Duration::from_millis(20)).await,
                answer => return Ok(answer),
            }
        }
    }

    /// Sends a command that must be accepted.
    pub(crate) async fn done(&self, tenant: TenantId, name: &str, body: &Value) -> Result<Accepted> {
        match self.send(tenant, name, new_id(), body).await? {
            Answer::Settled { settled: Settled::Accepted(accepted), .. } => Ok(accepted),
            other => bail!("{name} was answered {other:?}"),
        }
    }

    /// An open tenant with one product on sale.
    pub(crate) async fn shop(&self, units: i64) -> Result<Shop> {
        let tenant = TenantId::new(new_id());
        let subdomain = format!("shop-{}", &tenant.to_string()[24..]);
        let open = json!({ "name": "Corner shop", "subdomain": subdomain, "currency": "USD", "zone": "Europe/Berlin" });
        self.done(tenant, "OpenTenant", &open).await?;
        let shop = Shop::new(tenant);
        for (name, body) in shop.putting_on_sale(units) {
            self.done(tenant, name, &body).await?;
        }
        Ok(shop)
    }
}

/// Lets webhooks be sent to this machine.
pub(crate) fn to_this_machine() -> Result<Guard> {
    Ok(Guard::new(Places::read(&["127.0.0.0/8".to_owned()])?, Places::default()))
}

/// Waits until every read model stands where the log ends.
pub(crate) async fn caught_up(pool: &PgPool) -> Result<()> {
    let text = "SELECT count(*) FROM reads.live v JOIN reads.checkpoints c USING (model, shape)
                JOIN LATERAL (SELECT coalesce(max(e.position), 0) AS position FROM log.events e
                              WHERE e.lane = c.lane) head ON head.position = c.position";
    let every = i64::try_from(Models::all().iter().count())? * 16;
    eventually("every read model stands at the end of the log", async || {
        Ok(sqlx::query_scalar::<_, i64>(text).fetch_one(pool).await? == every)
    })
    .await
}

/// The digest of every read model and the number of its rows, by name.
pub(crate) async fn digests(pool: &PgPool) -> Result<Vec<(String, String, u64)>> {
    let mut digests = Vec::new();
    for model in Models::all().iter() {
        let found = digest(pool, model).await?;
        digests.push((model.name.clone(), found.to_string(), found.rows));
    }
    Ok(digests)
}

/// Builds every read model anew, reading and keeping so many events and rows at a time.
pub(crate) async fn rebuild_all(pool: &PgPool, at_a_time: usize) -> Result<()> {
    let (history, builds) = (PgHistory::new(pool.clone()), PgBuilds::new(pool.clone()));
    let budget = Budget { rows_most: at_a_time, page: at_a_time };
    for model in Models::all().iter() {
        rebuild(model, &history, &builds, budget).await?;
    }
    Ok(())
}

/// A tenant with one product in its first store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shop {
    pub(crate) tenant: TenantId,
    pub(crate) product: ProductId,
    pub(crate) item: StockItemId,
}

impl Shop {
    pub(crate) fn new(tenant: TenantId) -> Self {
        let product = ProductId::new(new_id());
        Self { tenant, product, item: StockItem::id(product, Tenant::first_store(tenant)) }
    }

    pub(crate) fn putting_on_sale(&self, units: i64) -> Vec<(&'static str, Value)> {
        let (product, store) = (self.product, Tenant::first_store(self.tenant));
        let price = json!({ "minor": 900, "currency": "USD" });
        let sku = format!("MUG-{}", &product.to_string()[24..]);
        vec![
            (
                "CreateProduct",
                json!({ "product": product, "name": "Mug", "sku": sku, "price": price, "description": null }),
            ),
            ("PublishProduct", json!({ "product": product })),
            ("OpenStockItem", json!({ "product": product, "store": store })),
            ("ReceiveStock", json!({ "item": self.item, "units": units })),
        ]
    }

    pub(crate) fn order(&self, order: Uuid, customer: Uuid) -> Value {
        let lines = json!([{ "product": self.product, "quantity": 1 }]);
        json!({ "order": order, "customer": customer, "store": Tenant::first_store(self.tenant), "lines": lines })
    }

    pub(crate) fn payment(&self, order: Uuid) -> Value {
        let reference = format!("pay-{order}");
        json!({ "order": order, "amount": { "minor": 900, "currency": "USD" }, "reference": reference })
    }

    pub(crate) fn reservation(&self, reservation: Uuid) -> Value {
        json!({ "item": self.item, "reservation": reservation, "units": 1 })
    }

    /// How often an event was recorded in this tenant.
    pub(crate) async fn count(&self, pool: &PgPool, event: &str) -> Result<i64> {
        let text = "SELECT count(*) FROM log.events WHERE tenant = $1 AND type = $2";
        Ok(sqlx::query_scalar(text).bind(self.tenant.uuid()).bind(event).fetch_one(pool).await?)
    }

    pub(crate) async fn lane(&self, pool: &PgPool) -> Result<i16> {
        let text = "SELECT lane FROM log.routes WHERE tenant = $1";
        Ok(sqlx::query_scalar(text).bind(self.tenant.uuid()).fetch_one(pool).await?)
    }
}

/// Waits for a condition, and says which one never came.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    while !holds().await? {
        ensure!(begun.elapsed() < PATIENCE, "never came: {what}");
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
