//! A whole process with every role, with shops that sell many things.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail, ensure};
use api::auth::{AuthConfig, Claims, SigningKey};
use commands::catalogue::{CreateProduct, PublishProduct};
use commands::inventory::{AdjustStock, OpenStockItem, ReceiveStock};
use commands::scribe::{Accepted, Answer, Envelope, Settled};
use domain::inventory::StockItem;
use domain::shared::{CommandId, Money, Price, ProductId, Quantity, Role, TenantId};
use domain::tenancy::Tenant;
use sqlx::PgPool;

use super::arena::Database;
use super::facts::Facts;
use super::ours::{REST, opening};
use cartulary::process::{Running, listen};
use cartulary::roles::Roles;
use cartulary::settings::Settings;
use platform::clock::{new_id, now};
use vault::OuterKey;

/// Products of each tenant: enough that no product has more open reservations than it may.
const PRODUCTS: usize = 50;
/// Nothing of a bench is worth keeping secret.
const OUTER_KEY: &str = "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const TOKEN_KEY: (&str, [u8; 32]) = ("bench", [7; 32]);

/// The settings of a bench: whatever port is free.
pub(super) fn on_any_port() -> Settings {
    Settings { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..Settings::default() }
}

pub(super) struct Shops {
    pub(super) running: Running,
    pub(super) facts: Facts,
    pub(super) outer: OuterKey,
    pub(super) tokens: Vec<String>,
    products: Vec<ProductId>,
    settings: Settings,
    key: SigningKey,
}

impl Shops {
    /// Starts every role on an empty database, puts everything on sale, and waits until the scribe is no longer new.
    pub(super) async fn open(database: &Database) -> Result<Self> {
        Self::open_with(database, Roles::ALONE).await
    }

    /// The same with some roles only; there are no others.
    pub(super) async fn open_with(database: &Database, roles: Roles) -> Result<Self> {
        Self::open_as(database, on_any_port(), roles, OuterKey::from_base64(OUTER_KEY)?).await
    }

    /// The same with some roles only; the others are other processes, with the same outer key.
    pub(super) async fn open_as(
        database: &Database,
        settings: Settings,
        roles: Roles,
        outer: OuterKey,
    ) -> Result<Self> {
        let key = SigningKey::from_seed(TOKEN_KEY.0, TOKEN_KEY.1);
        let auth = settings.auth_with(vec![key.public()?]);
        let listener = listen(settings.listen).await?;
        let config = settings.configuration_with(roles, database.url.clone(), outer.clone(), auth)?;
        let running = Running::start(config, listener).await?;
        let facts = Facts::new()?;
        let tokens =
            facts.tenants.iter().map(|tenant| token(&key, *tenant, &facts, &settings)).collect::<Result<_>>()?;
        let products = (0..PRODUCTS).map(|_| ProductId::new(new_id())).collect();
        let shops = Self { running, facts, outer, tokens, products, settings, key };
        for (number, &tenant) in shops.facts.tenants.iter().enumerate() {
            shops.ask(tenant, shops.putting_on_sale(number, tenant)?).await?;
        }
        tokio::time::sleep(REST).await;
        Ok(shops)
    }

    fn putting_on_sale(&self, number: usize, tenant: TenantId) -> Result<Vec<Envelope>> {
        let price = Price::try_from(Money { minor: 900, currency: "USD".parse()? })?;
        let store = Tenant::first_store(tenant);
        let mut commands = vec![self.facts.envelope(opening(&self.facts, number)?)];
        for (number, &product) in self.products.iter().enumerate() {
            let (name, sku) = (format!("Mug {number}").parse()?, format!("MUG-{number}").parse()?);
            let create = CreateProduct { product, name, sku, price, description: None };
            commands.push(self.facts.envelope(create));
            commands.push(self.facts.envelope(PublishProduct { product }));
            commands.push(self.facts.envelope(OpenStockItem { product, store }));
            let item = StockItem::id(product, store);
            commands.push(self.facts.envelope(ReceiveStock { item, units: Quantity::MOST }));
        }
        Ok(commands)
    }

    /// The same under an id of the caller's; whether it was accepted, for it may also be put off.
    pub(super) async fn adjust_as(&self, number: usize, id: CommandId) -> Result<bool> {
        let (tenant, _, product) = self.turn(number);
        let item = StockItem::id(product, Tenant::first_store(tenant));
        let adjust = AdjustStock { item, change: (-1).try_into()?, reason: "broken".parse()?, force: false };
        let envelope = Envelope { id, ..self.facts.envelope(adjust) };
        match self.running.dispatch.submit(tenant, false, vec![envelope]).await.pop() {
            Some(Answer::Settled { settled: Settled::Accepted(_), .. }) => Ok(true),
            Some(Answer::NotNow(_)) => Ok(false),
            other => bail!("not accepted: {other:?}"),
        }
    }

    async fn ask(&self, tenant: TenantId, commands: Vec<Envelope>) -> Result<Accepted> {
        let answers = self.running.dispatch.submit(tenant, false, commands).await;
        let mut last = None;
        for answer in answers {
            match answer {
                Answer::Settled { settled: Settled::Accepted(accepted), .. } => last = Some(accepted),
                other => ensure!(false, "not accepted: {other:?}"),
            }
        }
        last.context("no command, no answer")
    }

    /// Tenant, token and product take turns.
    pub(super) fn turn(&self, number: usize) -> (TenantId, &str, ProductId) {
        let tenants = self.facts.tenants.len();
        (self.facts.tenant(number), &self.tokens[number % tenants], self.products[number / tenants % PRODUCTS])
    }

    /// One unit less of something: one event.
    pub(super) async fn adjust(&self, number: usize) -> Result<(TenantId, Accepted)> {
        let (tenant, _, product) = self.turn(number);
        let item = StockItem::id(product, Tenant::first_store(tenant));
        let adjust = AdjustStock { item, change: (-1).try_into()?, reason: "broken".parse()?, force: false };
        Ok((tenant, self.ask(tenant, vec![self.facts.envelope(adjust)]).await?))
    }

    /// Whose tokens are good here.
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

/// A token for the owner of a tenant, good for an hour.
fn token(key: &SigningKey, tenant: TenantId, facts: &Facts, settings: &Settings) -> Result<String> {
    let seconds = now().micros().div_euclid(1_000_000);
    let claims = Claims {
        iss: settings.token_issuer.clone(),
        aud: settings.token_audience.clone(),
        sub: facts.principal,
        tenant,
        roles: vec![Role::Owner],
        customer: None,
        exp: seconds + 60 * 60,
        nbf: None,
        iat: seconds,
    };
    Ok(key.sign(&claims)?)
}
