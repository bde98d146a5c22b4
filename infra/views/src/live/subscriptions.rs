//! Subscriptions to rows. Each is registered before its initial rows are read, so that no change between the two is
//! missed.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::port::{Freshness, LiveRow, LiveUpdates, Update};
use domain::shared::{CustomerId, TenantId};
use edge::redis::Redis;
use event_log::Routes;
use futures::{StreamExt, stream};
use platform::database::begin_for;
use projections::kernel::{Key, Model, Models};
use projections::ports::{Cause, Checkpoint, Fault};
use projections::query::{Conditions, Page, QueryError, RowQuery};
use serde_json::Value;
use sqlx::PgPool;
use tokio::sync::Semaphore;

use super::gap_recovery::{Recovery, recover_tenant};
use super::registry::{SubscriptionRegistry, Topic};
use super::row_notices::RowNotices;
use super::subscriber_queue::SubscriberQueue;
use crate::store::PgReader;

/// Maximum number of resuming subscribers that are recovered at a time: each holds a connection of the pool.
const RESUMES_MOST: usize = 4;

/// Subscriptions served by this process.
#[derive(Clone)]
pub struct Subscriptions {
    /// Connections of readers, for the rows of one subscriber.
    readers: PgPool,
    /// Connections of auditors, for the recovery of missed changes of all subscribers.
    pub(super) auditors: PgPool,
    pub(super) models: Arc<Models>,
    routes: Routes,
    pub(super) notices: RowNotices,
    pub(super) redis: Option<Redis>,
    /// True if this process projects all read models, so that it publishes every change itself.
    pub(super) projects_all: bool,
    pub(super) registry: Arc<SubscriptionRegistry>,
    resumes: Arc<Semaphore>,
}

impl Subscriptions {
    pub fn new(
        (readers, auditors): (PgPool, PgPool),
        models: Arc<Models>,
        routes: Routes,
        notices: RowNotices,
        redis: Option<Redis>,
        projects_all: bool,
    ) -> Self {
        let (registry, resumes) = (SubscriptionRegistry::new(), Arc::new(Semaphore::new(RESUMES_MOST)));
        Self { readers, auditors, models, routes, notices, redis, projects_all, registry, resumes }
    }

    /// The read models of this process.
    pub fn models(&self) -> &Models {
        &self.models
    }

    /// Sends the page of a query, and then every change of the rows that match it. `since` is the lane position of an
    /// event of the tenant: if more rows match than the page holds, the first update also contains the rows that
    /// changed after it.
    pub async fn subscribe(
        &self,
        model: &Model,
        query: &RowQuery,
        since: Option<i64>,
    ) -> Result<LiveUpdates, QueryError> {
        let lane = self.routes.lane(query.tenant).await.map_err(unavailable("finding the lane of a tenant"))?.0;
        let conditions = Conditions::of(model, query)?;
        let topic = Topic { model: model.name.clone(), tenant: query.tenant, key: conditions.key(model) };
        let queue = SubscriberQueue::new(lane, model.appends);
        let subscription = self.registry.add(topic, conditions.clone(), queue).await;
        let page = PgReader::new(self.readers.clone()).page(model, query).await?;
        let mut at = Checkpoint { lane, ..page.at };
        let (mut rows, mut gone) = (rows_by_key(model, &page), Vec::new());
        if let Some(position) = since.filter(|since| page.more && *since < at.position) {
            let since = Checkpoint { position, ..at };
            (at, gone) = self.add_changed(model, query, &conditions, since, &mut rows).await?;
        }
        let freshness = freshness_at(&self.readers, query.tenant, at).await?;
        let rows = rows.into_values().collect();
        subscription.queue.start(at.position, Update { rows, gone, more: page.more, at: freshness });
        self.registry.start_at((model.name.clone(), lane), at);
        let updates = stream::unfold(Some(subscription), async |subscription| {
            let subscription = subscription?;
            let update = subscription.next().await;
            let more = update.is_ok();
            Some((update, more.then_some(subscription)))
        });
        Ok(updates.boxed())
    }

    /// Applies the changes since a checkpoint to the rows. Returns the checkpoint reached, and the keys of changed rows
    /// that do not match. Some of these the subscriber may never have received, which is harmless.
    async fn add_changed(
        &self,
        model: &Model,
        query: &RowQuery,
        conditions: &Conditions,
        since: Checkpoint,
        rows: &mut BTreeMap<Key, Arc<LiveRow>>,
    ) -> Result<(Checkpoint, Vec<Key>), QueryError> {
        let _permit = self.resumes.acquire().await.ok();
        let mut gone = Vec::new();
        let at = match recover_tenant(&self.readers, model, query.tenant, since).await? {
            Recovery::UpToDate => since,
            Recovery::StartOver => {
                let text = "too many changes since this position; subscribe again without it".into();
                return Err(QueryError::Misuse { field: "min_position".into(), text });
            }
            Recovery::Changes(at, changes) => {
                for (change, _) in changes {
                    let key = change.place.key;
                    let json = change.row.and_then(|row| serde_json::from_str::<Value>(&row).ok());
                    match json {
                        Some(json) if conditions.matches(&json) => {
                            rows.insert(key.clone(), Arc::new(LiveRow::new(key, json)));
                        }
                        other => {
                            rows.remove(&key);
                            if reports_gone(model, query.owner, other.as_ref()) {
                                gone.push(key);
                            }
                        }
                    }
                }
                at
            }
        };
        Ok((at, gone))
    }
}

/// True if a resuming subscriber is sent the key of a row that does not match. A customer must not receive the keys of
/// other customers' rows, and the owner of a deleted row is unknown. Rows of a model that only appends never cease to
/// match.
fn reports_gone(model: &Model, owner: Option<CustomerId>, row: Option<&Value>) -> bool {
    match (owner, model.owner) {
        _ if model.appends => false,
        (Some(owner), Some(field)) => row.is_some_and(|row| row[field] == owner.to_string()),
        _ => true,
    }
}

fn rows_by_key(model: &Model, page: &Page) -> BTreeMap<Key, Arc<LiveRow>> {
    let row = |json: &str| {
        let json: Value = serde_json::from_str(json).unwrap_or_default();
        let key = model.key_of(&json);
        (key.clone(), Arc::new(LiveRow::new(key, json)))
    };
    page.rows.iter().map(|found| row(&found.json)).collect()
}

/// The tenant's own position at a checkpoint of its lane.
async fn freshness_at(pool: &PgPool, tenant: TenantId, at: Checkpoint) -> Result<Freshness, Fault> {
    let text = "SELECT tenant_position, epoch FROM log.events WHERE lane = $1 AND tenant = $2 AND position <= $3
                ORDER BY tenant_position DESC LIMIT 1";
    let doing = "reading the position of a tenant";
    let mut transaction = begin_for(pool, tenant).await.map_err(unavailable(doing))?;
    let last: Option<(i64, i64)> = sqlx::query_as(text)
        .bind(at.lane)
        .bind(tenant.uuid())
        .bind(at.position)
        .fetch_optional(&mut *transaction)
        .await
        .map_err(unavailable(doing))?;
    transaction.commit().await.map_err(unavailable(doing))?;
    let (tenant_position, epoch) = last.unwrap_or((0, at.epoch));
    Ok(Freshness { tenant_position, epoch })
}

fn unavailable(doing: &'static str) -> impl FnOnce(sqlx::Error) -> Fault {
    move |error| Fault::caused(Cause::Unavailable, doing, error)
}

#[cfg(test)]
mod tests {
    use projections::loyalty::{PointsBalance, PointsEntry};
    use projections::orders::Order;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn customers_receive_no_keys_of_rows_of_others() {
        let (ada, bob) = (CustomerId::new(Uuid::from_u128(1)), CustomerId::new(Uuid::from_u128(2)));
        let of = |customer: CustomerId| json!({ "customer": customer });
        for model in [Model::of::<Order>(), Model::of::<PointsBalance>()] {
            assert!(reports_gone(&model, Some(ada), Some(&of(ada))));
            assert!(!reports_gone(&model, Some(ada), Some(&of(bob))));
            assert!(!reports_gone(&model, Some(ada), None), "the owner of a deleted row is unknown");
            assert!(reports_gone(&model, None, Some(&of(bob))) && reports_gone(&model, None, None));
        }
        assert!(!reports_gone(&Model::of::<PointsEntry>(), None, Some(&of(ada))), "rows of a ledger never change");
    }
}
