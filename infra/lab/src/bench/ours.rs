//! Our contender: commands through the scribe, as the front door hands them over.

use std::time::Duration;

use anyhow::{Result, bail};
use commands::inventory::{OpenStockItem, ReceiveStock};
use commands::kernel::AnyCommand;
use commands::scribe::{Accepted, Answer, Settled};
use commands::tenancy::OpenTenant;
use domain::shared::{Quantity, TenantId};
use futures::FutureExt;
use futures::future::BoxFuture;
use sqlx::PgPool;

use super::arena::Database;
use super::clients::Contender;
use super::facts::Facts;
use cartulary::settings::Settings;
use scribe::presence;
use scribe::{Owner, ScribeHandle, ScribeSettings, start};

/// The ids of a scribe's first ten seconds may have been used before it began, so it looks them up. The runs are
/// about the time after that; the bench of the start is about the time before.
pub(super) const REST: Duration = Duration::from_secs(11);

/// A scribe as `cartulary dev` runs it, without the other roles.
pub(super) struct House {
    pub(super) scribe: ScribeHandle,
    pub(super) pool: PgPool,
    pub(super) facts: Facts,
}

impl House {
    /// Starts a scribe on an empty database, opens the tenants, and waits until it is no longer new.
    pub(super) async fn open(database: &Database) -> Result<Self> {
        let pool = platform::database::connect(&database.url).await?;
        let defaults = Settings::default();
        let settings = ScribeSettings {
            url: database.url.clone(),
            owner: Owner { name: defaults.owner.clone(), lease_ms: defaults.lease_ms, address: String::new() },
            limits: defaults.limits(),
            loops: defaults.scribe_loops,
            share: presence::all_lanes(),
            data: None,
        };
        let house = Self { scribe: start(&settings, &pool).await?, pool, facts: Facts::new()? };
        house.prepare().await?;
        tokio::time::sleep(REST).await;
        Ok(house)
    }

    async fn prepare(&self) -> Result<()> {
        for (number, &tenant) in self.facts.tenants.iter().enumerate() {
            self.ask(tenant, opening(&self.facts, number)?).await?;
        }
        let (tenant, item) = (self.facts.tenant(0), self.facts.hot_item);
        self.ask(tenant, OpenStockItem { product: self.facts.product, store: self.facts.store(0) }).await?;
        self.ask(tenant, ReceiveStock { item, units: Quantity::try_from(1_000)? }).await?;
        Ok(())
    }

    pub(super) async fn ask(&self, tenant: TenantId, command: impl AnyCommand + 'static) -> Result<Accepted> {
        let answers = self.scribe.submit(tenant, false, vec![self.facts.envelope(command)]).await;
        match answers.into_iter().next() {
            Some(Answer::Settled { settled: Settled::Accepted(accepted), .. }) => Ok(accepted),
            other => bail!("not accepted: {other:?}"),
        }
    }

    pub(super) async fn close(&self) {
        self.scribe.stop().await;
        self.pool.close().await;
    }
}

/// What lets a tenant begin to work.
pub(super) fn opening(facts: &Facts, number: usize) -> Result<OpenTenant> {
    Ok(OpenTenant {
        name: format!("Shop {number}").parse()?,
        subdomain: format!("shop-{number}").parse()?,
        currency: "USD".parse()?,
        zone: facts.zone.clone(),
    })
}

/// Every command on a stream of its own.
pub(super) struct Distinct(pub(super) House);

impl Contender for Distinct {
    async fn call(&self, client: usize) -> Result<()> {
        let tenant = self.0.facts.tenant(client);
        self.0.ask(tenant, self.0.facts.import_order(client)).await.map(drop)
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        self.0.close().boxed()
    }
}

/// Every command on the same stream.
pub(super) struct Hot(pub(super) House);

impl Contender for Hot {
    async fn call(&self, _: usize) -> Result<()> {
        self.0.ask(self.0.facts.tenant(0), self.0.facts.adjust()).await.map(drop)
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        self.0.close().boxed()
    }
}
