//! Rows and checkpoint of one moment, for whoever missed how rows changed.

use projections::kernel::{Model, Place};
use projections::ports::{Checkpoint, Fault};
use sqlx::{PgPool, PgTransaction};

use super::fault;
use super::rows::load;
use super::tables::Table;

/// One read model as it is at one moment, in one lane.
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

    /// The rows at these places, in their order, as JSON text.
    pub(crate) async fn rows(mut self, places: &[Place]) -> Result<Vec<Option<String>>, Fault> {
        let loaded = load(&mut *self.transaction, &Table::live(self.model), places).await?;
        self.transaction.commit().await.map_err(fault(format!("reading rows of {}", self.model.name)))?;
        Ok(loaded.into_iter().map(|loaded| loaded.row).collect())
    }
}
