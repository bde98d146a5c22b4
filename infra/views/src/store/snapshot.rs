//! Rows and checkpoint of one moment, for whoever missed how rows changed.

use domain::shared::TenantId;
use projections::kernel::{Model, Place};
use projections::ports::{Checkpoint, Epochs, Fault, RawEvent};
use sqlx::{PgPool, PgTransaction};

use super::fault;
use super::rows::load;
use super::tables::Table;
use event_log::history;

/// One read model as it is at one moment, in one lane, and the log behind it. All of it is read over one connection:
/// whoever held one and waited for a second could wait for herself.
pub(crate) struct Snapshot<'m> {
    transaction: PgTransaction<'static>,
    model: &'m Model,
    /// How far the model has come at this moment.
    pub(crate) at: Checkpoint,
}

const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

impl<'m> Snapshot<'m> {
    /// Nothing where the model has no table yet.
    pub(crate) async fn take(pool: &PgPool, model: &'m Model, lane: i16) -> Result<Option<Self>, Fault> {
        let doing = || format!("reading the checkpoint of {}", model.name);
        let mut transaction = pool.begin_with(BEGIN).await.map_err(fault(doing()))?;
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

    /// The histories of the lane.
    pub(crate) async fn epochs(&mut self) -> Result<Epochs, Fault> {
        history::epochs(&mut *self.transaction, self.at.lane).await
    }

    /// The events of the lane after a position, at most so many.
    pub(crate) async fn events(&mut self, after: i64, most: usize) -> Result<Vec<RawEvent>, Fault> {
        history::page(&mut *self.transaction, self.at.lane, after, most).await
    }

    /// A tenant's own position where she wrote at this one of the lane; nothing where somebody else did.
    pub(crate) async fn written(&mut self, tenant: TenantId, position: i64) -> Result<Option<i64>, Fault> {
        let text = "SELECT tenant_position FROM log.events WHERE lane = $1 AND tenant = $2 AND position = $3";
        self.tenant_position(text, tenant, position).await
    }

    /// The last of a tenant's own positions that the model has taken.
    pub(crate) async fn last_taken(&mut self, tenant: TenantId) -> Result<Option<i64>, Fault> {
        let text = "SELECT tenant_position FROM log.events WHERE lane = $1 AND tenant = $2 AND position <= $3
                    ORDER BY tenant_position DESC LIMIT 1";
        self.tenant_position(text, tenant, self.at.position).await
    }

    async fn tenant_position(&mut self, text: &str, tenant: TenantId, position: i64) -> Result<Option<i64>, Fault> {
        let position = sqlx::query_scalar(text).bind(self.at.lane).bind(tenant.uuid()).bind(position);
        position.fetch_optional(&mut *self.transaction).await.map_err(fault("reading how far a tenant has come"))
    }

    /// The events that concern the model, between two of a tenant's own positions.
    pub(crate) async fn events_of(&mut self, tenant: TenantId, after: i64, upto: i64) -> Result<Vec<RawEvent>, Fault> {
        let streams = &self.model.streams;
        history::events_of_tenant(&mut *self.transaction, (self.at.lane, tenant), (after, upto), streams).await
    }

    /// The rows at these places, in their order, as JSON text.
    pub(crate) async fn rows(mut self, places: &[Place]) -> Result<Vec<Option<String>>, Fault> {
        let loaded = load(&mut *self.transaction, &Table::live(self.model), places).await?;
        self.transaction.commit().await.map_err(fault(format!("reading rows of {}", self.model.name)))?;
        Ok(loaded.into_iter().map(|loaded| loaded.row).collect())
    }
}
