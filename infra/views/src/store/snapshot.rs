//! Snapshot of a read model: its rows, its checkpoint and the log at one moment, for the recovery of missed changes.

use domain::shared::TenantId;
use event_log::{fault, history};
use platform::database::tenant_scope;
use projections::kernel::{Model, Place};
use projections::ports::{Checkpoint, Epochs, Fault, RawEvent};
use sqlx::{PgPool, PgTransaction};

use super::rows::load;
use super::table::Table;

/// One read model in one lane, and the log of that lane, in one read-only transaction over one connection. Tasks that
/// hold one connection of the pool and wait for a second could wait for each other for ever.
pub(crate) struct Snapshot<'m> {
    transaction: PgTransaction<'static>,
    model: &'m Model,
    /// Checkpoint of the model in this snapshot.
    pub(crate) at: Checkpoint,
}

const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

impl<'m> Snapshot<'m> {
    /// Begins a snapshot of all tenants, which a reader cannot see; `None` if the model has no checkpoint in this lane.
    pub(crate) async fn take(pool: &PgPool, model: &'m Model, lane: i16) -> Result<Option<Self>, Fault> {
        Self::begin(pool, model, lane, BEGIN.to_owned()).await
    }

    /// Begins a snapshot of one tenant; `None` if the model has no checkpoint in this lane.
    pub(crate) async fn take_for(
        pool: &PgPool,
        model: &'m Model,
        lane: i16,
        tenant: TenantId,
    ) -> Result<Option<Self>, Fault> {
        Self::begin(pool, model, lane, format!("{BEGIN}; {}", tenant_scope(tenant))).await
    }

    async fn begin(pool: &PgPool, model: &'m Model, lane: i16, begin: String) -> Result<Option<Self>, Fault> {
        let doing = || format!("reading the checkpoint of {}", model.name);
        let mut transaction = pool.begin_with(begin).await.map_err(fault(doing()))?;
        let text = "SELECT position, epoch FROM reads.checkpoints WHERE model = $1 AND shape = $2 AND lane = $3";
        let found: Option<(i64, i64)> = sqlx::query_as(text)
            .bind(&model.name)
            .bind(&model.shape)
            .bind(lane)
            .fetch_optional(&mut *transaction)
            .await
            .map_err(fault(doing()))?;
        Ok(found.map(|(position, epoch)| Self { transaction, model, at: Checkpoint { lane, position, epoch } }))
    }

    /// Epochs of the lane.
    pub(crate) async fn epochs(&mut self) -> Result<Epochs, Fault> {
        history::epochs(&mut *self.transaction, self.at.lane).await
    }

    /// Events of the lane after a position, at most `most`.
    pub(crate) async fn events(&mut self, after: i64, most: usize) -> Result<Vec<RawEvent>, Fault> {
        history::page(&mut *self.transaction, self.at.lane, after, most).await
    }

    /// Tenant position of the event at a position of the lane; `None` if the tenant has no event there.
    pub(crate) async fn tenant_position_at(&mut self, tenant: TenantId, position: i64) -> Result<Option<i64>, Fault> {
        let text = "SELECT tenant_position FROM log.events WHERE lane = $1 AND tenant = $2 AND position = $3";
        self.fetch_tenant_position(text, tenant, position).await
    }

    /// Tenant position of the tenant's last event that the checkpoint covers.
    pub(crate) async fn last_processed(&mut self, tenant: TenantId) -> Result<Option<i64>, Fault> {
        let text = "SELECT tenant_position FROM log.events WHERE lane = $1 AND tenant = $2 AND position <= $3
                    ORDER BY tenant_position DESC LIMIT 1";
        self.fetch_tenant_position(text, tenant, self.at.position).await
    }

    async fn fetch_tenant_position(
        &mut self,
        text: &str,
        tenant: TenantId,
        position: i64,
    ) -> Result<Option<i64>, Fault> {
        let position = sqlx::query_scalar(text).bind(self.at.lane).bind(tenant.uuid()).bind(position);
        position.fetch_optional(&mut *self.transaction).await.map_err(fault("reading the position of a tenant"))
    }

    /// Events of a tenant in the streams of this model, after one tenant position and up to another.
    pub(crate) async fn events_of(&mut self, tenant: TenantId, after: i64, end: i64) -> Result<Vec<RawEvent>, Fault> {
        let streams = &self.model.streams;
        history::events_of_tenant(&mut *self.transaction, (self.at.lane, tenant), (after, end), streams).await
    }

    /// Rows at these places, in the order of the places, as JSON text; `None` for a place without a row. Ends the
    /// snapshot.
    pub(crate) async fn rows(mut self, places: &[Place]) -> Result<Vec<Option<String>>, Fault> {
        let loaded = load(&mut *self.transaction, &Table::live(self.model), places).await?;
        self.transaction.commit().await.map_err(fault(format!("reading rows of {}", self.model.name)))?;
        Ok(loaded.into_iter().map(|loaded| loaded.row).collect())
    }
}
