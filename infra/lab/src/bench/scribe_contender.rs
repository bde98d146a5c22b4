//! Contender: commands submitted to the scribe, as the API does.

use std::time::Duration;

use anyhow::{Result, bail};
use cartulary::settings::Settings;
use commands::inventory::{OpenStockItem, ReceiveStock};
use commands::kernel::{AnyCommand, StateRegistry};
use commands::scribe::{Accepted, Answer, Settled};
use commands::tenancy::OpenTenant;
use domain::shared::{Quantity, TenantId};
use event_log::LaneCount;
use futures::FutureExt;
use futures::future::BoxFuture;
use platform::clock_monitor::ClockMonitor;
use scribe::presence;
use scribe::{Owner, ScribeHandle, ScribeSettings, start};
use sqlx::PgPool;

use super::load_generator::Contender;
use super::scratch_server::ScratchDatabase;
use super::workload::Workload;

/// Pause between the start of a scribe and a measurement. In its first twelve seconds a scribe looks up each command id in
/// the log, because the id may be older than the start.
pub(super) const SETTLE_TIME: Duration = Duration::from_secs(13);

/// Scribe with the settings of `cartulary dev`, without the other roles.
pub(super) struct BenchScribe {
    pub(super) scribe: ScribeHandle,
    pub(super) pool: PgPool,
    pub(super) workload: Workload,
}

impl BenchScribe {
    /// Starts a scribe on an empty database, opens the tenants, and waits for `SETTLE_TIME`.
    pub(super) async fn open(database: &ScratchDatabase) -> Result<Self> {
        let pool = platform::database::connect(&database.url).await?;
        let defaults = Settings::default();
        let settings = ScribeSettings {
            url: database.url.clone(),
            owner: Owner { name: defaults.owner.clone(), lease_ms: defaults.lease_ms, address: String::new() },
            limits: defaults.limits(),
            states: StateRegistry::all(),
            loops: defaults.scribe_loops,
            assigned_lanes: presence::all_lanes(LaneCount::read(&pool).await?),
            data: None,
            clock: ClockMonitor::default(),
        };
        let scribe = Self { scribe: start(&settings, &pool).await?, pool, workload: Workload::new()? };
        scribe.prepare().await?;
        tokio::time::sleep(SETTLE_TIME).await;
        Ok(scribe)
    }

    async fn prepare(&self) -> Result<()> {
        for (number, &tenant) in self.workload.tenants.iter().enumerate() {
            self.execute(tenant, open_tenant(&self.workload, number)?).await?;
        }
        let (tenant, item) = (self.workload.tenant(0), self.workload.hot_item);
        self.execute(tenant, self.workload.create_product()?).await?;
        self.execute(tenant, OpenStockItem { product: self.workload.product, store: self.workload.store(0) }).await?;
        self.execute(tenant, ReceiveStock { item, units: Quantity::try_from(1_000)?, reason: None }).await?;
        Ok(())
    }

    /// Submits one command. Any answer but "accepted" is an error.
    pub(super) async fn execute(&self, tenant: TenantId, command: impl AnyCommand + 'static) -> Result<Accepted> {
        let answers = self.scribe.submit(tenant, false, vec![self.workload.envelope(command)]).await;
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

/// Command that opens the tenant with this number.
pub(super) fn open_tenant(workload: &Workload, number: usize) -> Result<OpenTenant> {
    Ok(OpenTenant {
        name: format!("Shop {number}").parse()?,
        subdomain: format!("shop-{number}").parse()?,
        currency: "USD".parse()?,
        zone: workload.zone.clone(),
    })
}

/// Contender that sends every command to a new stream.
pub(super) struct ScribeDistinctStreams(pub(super) BenchScribe);

impl Contender for ScribeDistinctStreams {
    async fn call(&self, client: usize) -> Result<()> {
        let tenant = self.0.workload.tenant(client);
        self.0.execute(tenant, self.0.workload.register_customer()).await.map(drop)
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        self.0.close().boxed()
    }
}

/// Contender that sends every command to one stream.
pub(super) struct ScribeHotStream(pub(super) BenchScribe);

impl Contender for ScribeHotStream {
    async fn call(&self, _: usize) -> Result<()> {
        self.0.execute(self.0.workload.tenant(0), self.0.workload.adjust()).await.map(drop)
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        self.0.close().boxed()
    }
}
