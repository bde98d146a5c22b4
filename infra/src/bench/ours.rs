//! Our contender: commands through the scribe.

use anyhow::{Result, bail};
use commands::kernel::{AnyCommand, Command, Context, Desk, Hint, Refusal, Subject};
use commands::scribe::{Answer, Limits, Settled};
use domain::shared::{Permission, Principal, TenantId};
use sqlx::PgPool;

use super::arena::Database;
use super::clients::Contender;
use super::facts;
use crate::scribe::{Owner, ScribeHandle, ScribeSettings, start};

/// A running scribe with what it is asked for.
pub(super) struct Ours<W> {
    scribe: ScribeHandle,
    pool: PgPool,
    tenants: Vec<TenantId>,
    principal: Principal,
    wish: W,
}

/// The scribe as `cartulary dev` runs it.
pub(super) async fn scribe(database: &Database, pool: &PgPool) -> Result<ScribeHandle> {
    let mut limits = Limits::default();
    if let Ok(n) = std::env::var("X_BATCH") { limits.batch_commands_most = n.parse()?; }
    let loops = std::env::var("X_LOOPS").ok().map_or(2, |n| n.parse().unwrap());
    let settings = ScribeSettings {
        url: database.url.clone(),
        owner: Owner { name: "bench".into(), lease_ms: 10_000 },
        limits,
        loops,
        data: None,
    };
    Ok(start(&settings, pool).await?)
}

impl<W> Ours<W> {
    pub(super) async fn start(database: &Database, wish: W) -> Result<Self> {
        let pool = database.pool(10).await?;
        let scribe = scribe(database, &pool).await?;
        Ok(Self { scribe, pool, tenants: facts::tenants(), principal: Principal::new(facts::fresh_id()), wish })
    }

    pub(super) async fn stop(&self) {
        self.scribe.stop().await;
        self.pool.close().await;
    }

    async fn ask(&self, tenant: TenantId, command: impl AnyCommand + 'static) -> Result<()> {
        let envelope = facts::envelope(command, self.principal);
        let answers = self.scribe.submit(tenant, false, vec![envelope]).await;
        match answers.as_slice() {
            [Answer::Settled { settled: Settled::Accepted(_), .. }] => Ok(()),
            other => bail!("not accepted: {other:?}"),
        }
    }
}

/// Every command on a stream of its own.
pub(super) struct Imports;

impl Contender for Ours<Imports> {
    async fn call(&self, client: usize) -> Result<()> {
        let tenant = self.tenants[client % self.tenants.len()];
        let Imports = self.wish;
        self.ask(tenant, ImportOrder { order: facts::order(), import: facts::import()? }).await
    }
}

struct ImportOrder { order: domain::shared::OrderId, import: domain::orders::Import }
impl serde::Serialize for ImportOrder { fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> { unimplemented!() } }
impl<'de> serde::Deserialize<'de> for ImportOrder { fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> { unimplemented!() } }
impl schemars::JsonSchema for ImportOrder { fn schema_name() -> std::borrow::Cow<'static, str> { "ImportOrder".into() } fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema { unimplemented!() } }
impl Command for ImportOrder {
    const NEEDS: Permission = Permission::ManageStock;
    fn subject(&self) -> Subject { Subject::Tenant }
    fn streams(&self, hint: &mut Hint) { hint.stream::<domain::orders::Order>(self.order); }
    fn decide(&self, desk: &mut Desk, _: &Context) -> Result<(), Refusal> {
        desk.decide::<domain::orders::Order>(self.order, |order| order.import(self.import.clone()))
    }
}
