//! Progress of the read models in the history of one tenant.

use std::collections::HashMap;

use api::port::{ProjectionState, ProjectionStatus};
use domain::shared::TenantId;
use event_log::fault;
use projections::kernel::{Model, Models};
use projections::ports::Fault;
use sqlx::PgConnection;

/// Progress of all read models of this binary, in the order of their names. A model that has no table of its shape is being
/// built.
pub async fn projection_status(
    connection: &mut PgConnection,
    models: &Models,
    tenant: TenantId,
) -> Result<Vec<ProjectionStatus>, Fault> {
    let text = "WITH tenant AS (SELECT lane FROM log.routes WHERE tenant = $3)
                SELECT m.model, c.position IS NOT NULL,
                       coalesce((SELECT e.tenant_position FROM log.events e WHERE e.lane = c.lane AND e.tenant = $3
                                 AND e.position <= c.position ORDER BY e.tenant_position DESC LIMIT 1), 0),
                       coalesce((SELECT e.tenant_position FROM log.events e, tenant t WHERE e.lane = t.lane
                                 AND e.tenant = $3 ORDER BY e.tenant_position DESC LIMIT 1), 0),
                       (SELECT count(DISTINCT p.key) FILTER (WHERE p.stream_id IS NULL) FROM reads.parked p
                        WHERE p.model = m.model AND p.shape = m.shape AND p.tenant = $3),
                       (SELECT count(DISTINCT p.stream_id) FROM reads.parked p
                        WHERE p.model = m.model AND p.shape = m.shape AND p.tenant = $3)
                FROM unnest($1::text[], $2::text[]) AS m(model, shape)
                LEFT JOIN reads.checkpoints c ON c.model = m.model AND c.shape = m.shape
                    AND c.lane = (SELECT lane FROM tenant)";
    let (names, shapes) = models.shapes();
    let rows: Vec<(String, bool, i64, i64, i64, i64)> = sqlx::query_as(text)
        .bind(names)
        .bind(shapes)
        .bind(tenant.uuid())
        .fetch_all(connection)
        .await
        .map_err(fault("reading the status of read models"))?;
    let rows: HashMap<String, _> = rows
        .into_iter()
        .map(|(model, is_built, position, head, rows, streams)| (model, (is_built, position, head, rows, streams)))
        .collect();
    let status = |model: &Model| {
        let (is_built, position, head, parked_rows, parked_streams) = rows.get(&model.name).copied()?;
        Some(ProjectionStatus {
            model: model.name.clone(),
            group: model.context,
            shape: model.shape.clone(),
            state: if is_built { ProjectionState::Following } else { ProjectionState::Building },
            position,
            behind: head - position,
            parked_rows,
            parked_streams,
        })
    };
    Ok(models.iter().filter_map(status).collect())
}
