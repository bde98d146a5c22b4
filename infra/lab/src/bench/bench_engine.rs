//! Engine of a benchmark: the roles of this process, and tenants with many products on sale.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail, ensure};
use api::auth::{AuthConfig, Claims, SigningKey};
use api::registries::Registries;
use cartulary::process::{Running, listen};
use cartulary::roles::Roles;
use cartulary::settings::Settings;
use commands::catalogue::{CreateProduct, PublishProduct};
use commands::inventory::{AdjustStock, OpenStockItem, ReceiveStock};
use commands::scribe::{Accepted, Answer, Envelope, Settled};
use domain::inventory::StockItem;
use domain::shared::{CommandId, Money, Price, ProductId, Quantity, Role, TenantId};
use domain::tenancy::Tenant;
use platform::clock::{new_id, now};
use sqlx::PgPool;
use vault::OuterKey;

use super::scratch_server::ScratchDatabase;
use super::scribe_contender::{SETTLE_TIME, open_tenant};
use super::workload::Workload;

/// Products of each tenant: so many that no stock item reaches the limit of 50,000 open reservations.
const PRODUCTS: usize = 50;
/// Fixed outer key; the data of a benchmark need no secrecy.
pub(super) const OUTER_KEY: &str = "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const TOKEN_KEY: (&str, [u8; 32]) = ("bench", [7; 32]);

/// Default settings, with a free port.
pub(super) fn on_any_port() -> Settings {
    Settings { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..Settings::default() }
}

/// Running engine with tenants, products and tokens.
pub(super) struct BenchEngine {
    pub(super) running: Running,
    pub(super) workload: Workload,
    pub(super) outer: OuterKey,
    pub(super) tokens: Vec<String>,
    products: Vec<ProductId>,
    settings: Settings,
    key: SigningKey,
}

impl BenchEngine {
    /// Starts every role on an empty database, creates the products, and waits for `SETTLE_TIME`.
    pub(super) async fn open(database: &ScratchDatabase) -> Result<Self> {
        Self::open_with(database, Roles::ALONE).await
    }

    /// Starts only these roles; no other process has the remaining ones.
    pub(super) async fn open_with(database: &ScratchDatabase, roles: Roles) -> Result<Self> {
        Self::open_as(database, on_any_port(), roles, OuterKey::from_base64(OUTER_KEY)?).await
    }

    /// Starts every role with other registries than the built-in ones.
    pub(super) async fn open_of(database: &ScratchDatabase, registries: Registries) -> Result<Self> {
        Self::start(database, on_any_port(), Roles::ALONE, OuterKey::from_base64(OUTER_KEY)?, registries).await
    }

    /// Starts only these roles; other processes with the same outer key have the remaining ones.
    pub(super) async fn open_as(
        database: &ScratchDatabase,
        settings: Settings,
        roles: Roles,
        outer: OuterKey,
    ) -> Result<Self> {
        Self::start(database, settings, roles, outer, Registries::all()).await
    }

    async fn start(
        database: &ScratchDatabase,
        settings: Settings,
        roles: Roles,
        outer: OuterKey,
        registries: Registries,
    ) -> Result<Self> {
        let key = SigningKey::from_seed(TOKEN_KEY.0, TOKEN_KEY.1);
        let auth = settings.auth_with(vec![key.public()?]);
        let listener = listen(settings.listen).await?;
        let mut config = settings.configuration_with(roles, database.url.clone(), outer.clone(), auth)?;
        config.registries = registries;
        let running = Running::start(config, listener).await?;
        let workload = Workload::new()?;
        let tokens =
            workload.tenants.iter().map(|tenant| token(&key, *tenant, &workload, &settings)).collect::<Result<_>>()?;
        let products = (0..PRODUCTS).map(|_| ProductId::new(new_id())).collect();
        let engine = Self { running, workload, outer, tokens, products, settings, key };
        for (number, &tenant) in engine.workload.tenants.iter().enumerate() {
            engine.execute(tenant, engine.setup_commands(number, tenant)?).await?;
        }
        tokio::time::sleep(SETTLE_TIME).await;
        Ok(engine)
    }

    fn setup_commands(&self, number: usize, tenant: TenantId) -> Result<Vec<Envelope>> {
        let price = Price::try_from(Money { minor: 900, currency: "USD".parse()? })?;
        let store = Tenant::first_store(tenant);
        let mut commands = vec![self.workload.envelope(open_tenant(&self.workload, number)?)];
        for (number, &product) in self.products.iter().enumerate() {
            let (name, sku) = (format!("Mug {number}").parse()?, format!("MUG-{number}").parse()?);
            let create = CreateProduct { product, name, sku, price, description: None };
            commands.push(self.workload.envelope(create));
            commands.push(self.workload.envelope(PublishProduct { product }));
            commands.push(self.workload.envelope(OpenStockItem { product, store }));
            let item = StockItem::id(product, store);
            commands.push(self.workload.envelope(ReceiveStock { item, units: Quantity::MOST, reason: None }));
        }
        Ok(commands)
    }

    /// Removes one unit with this command id. True if it was accepted, false if the answer was "not now".
    pub(super) async fn adjust_as(&self, number: usize, id: CommandId) -> Result<bool> {
        let (tenant, _, product) = self.round_robin(number);
        let item = StockItem::id(product, Tenant::first_store(tenant));
        let adjust = AdjustStock { item, change: (-1).try_into()?, reason: "broken".parse()?, force: false };
        let envelope = Envelope { id, ..self.workload.envelope(adjust) };
        match self.running.dispatch.submit(tenant, false, vec![envelope]).await.pop() {
            Some(Answer::Settled { settled: Settled::Accepted(_), .. }) => Ok(true),
            Some(Answer::NotNow(_)) => Ok(false),
            other => bail!("not accepted: {other:?}"),
        }
    }

    /// Submits commands of one tenant, all of which must be accepted.
    pub(super) async fn execute(&self, tenant: TenantId, commands: Vec<Envelope>) -> Result<Accepted> {
        let answers = self.running.dispatch.submit(tenant, false, commands).await;
        let mut last = None;
        for answer in answers {
            match answer {
                Answer::Settled { settled: Settled::Accepted(accepted), .. } => last = Some(accepted),
                other => ensure!(false, "not accepted: {other:?}"),
            }
        }
        last.context("no command was given")
    }

    /// Tenant, token and product for a request number, round robin.
    pub(super) fn round_robin(&self, number: usize) -> (TenantId, &str, ProductId) {
        let tenants = self.workload.tenants.len();
        (self.workload.tenant(number), &self.tokens[number % tenants], self.products[number / tenants % PRODUCTS])
    }

    /// Removes one unit of a product, which is one event.
    pub(super) async fn adjust(&self, number: usize) -> Result<(TenantId, Accepted)> {
        let (tenant, _, product) = self.round_robin(number);
        let item = StockItem::id(product, Tenant::first_store(tenant));
        let adjust = AdjustStock { item, change: (-1).try_into()?, reason: "broken".parse()?, force: false };
        Ok((tenant, self.execute(tenant, vec![self.workload.envelope(adjust)]).await?))
    }

    /// Authentication settings that accept the tokens of this engine.
    pub(super) fn auth(&self) -> Result<AuthConfig> {
        Ok(self.settings.auth_with(vec![self.key.public()?]))
    }

    pub(super) fn pool(&self) -> &PgPool {
        &self.running.pool
    }

    pub(super) async fn close(self) {
        self.running.stop().await;
    }
}

/// Token for the owner of a tenant, valid for an hour.
fn token(key: &SigningKey, tenant: TenantId, workload: &Workload, settings: &Settings) -> Result<String> {
    let seconds = now().micros().div_euclid(1_000_000);
    let claims = Claims {
        iss: settings.token_issuer.clone(),
        aud: settings.token_audience.clone(),
        sub: workload.principal,
        tenant,
        roles: vec![Role::Owner],
        customer: None,
        exp: seconds + 60 * 60,
        nbf: None,
        iat: seconds,
    };
    Ok(key.sign(&claims)?)
}
