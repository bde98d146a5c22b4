//! How a subscription begins: first it joins those who watch, then it reads, so that nothing falls between.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::port::Freshness;
use api::port::{LiveRow, LiveUpdates, Update};
use domain::shared::{CustomerId, TenantId};
use futures::{StreamExt, stream};
use projections::kernel::{Key, Model};
use projections::ports::{Cause, Checkpoint, Fault};
use projections::query::{Conditions, Page, QueryError, RowQuery};
use serde_json::Value;
use sqlx::PgPool;

use super::Live;
use super::mailbox::Mailbox;
use super::missed::{Missed, missed_by};
use super::watchers::Group;
use crate::store::PgReader;

impl Live {
    /// The page that a question asks for, and then every change of a row that fits it. Where not all rows that fit
    /// are on the page, those that have changed since a position of the lane, where the tenant wrote, are added to it.
    pub async fn watch(
        &self,
        model: &Model,
        question: &RowQuery,
        since: Option<i64>,
    ) -> Result<LiveUpdates, QueryError> {
        let lane = self.routes.lane(question.tenant).await.map_err(unavailable("finding the lane of a tenant"))?.0;
        let conditions = Conditions::of(model, question)?;
        let group = Group { model: model.name.clone(), tenant: question.tenant, key: conditions.key(model) };
        let seat = self.watchers.join(group, Mailbox::new(lane, conditions.clone(), model.appends)).await;
        let page = PgReader::new(self.pool.clone()).page(model, question).await?;
        let mut at = Checkpoint { lane, ..page.at };
        let (mut rows, mut gone) = (rows(model, &page), Vec::new());
        if let Some(position) = since.filter(|since| page.more && *since < at.position) {
            let since = Checkpoint { position, ..at };
            (at, gone) = self.add_changed(model, question, &conditions, since, &mut rows).await?;
        }
        let told = told_up_to(&self.pool, question.tenant, at).await?;
        let rows = rows.into_values().collect();
        seat.mailbox.begin(at.position, Update { rows, gone, more: page.more, at: told });
        self.watchers.begun((model.name.clone(), lane), at);
        let updates = stream::unfold(Some(seat), async |seat| {
            let seat = seat?;
            let update = seat.next().await;
            let more = update.is_ok();
            Some((update, more.then_some(seat)))
        });
        Ok(updates.boxed())
    }

    /// Brings rows up to date with what has changed since, and says up to where that is and what does not fit any more.
    /// Whoever never saw one of those learns nothing by it.
    async fn add_changed(
        &self,
        model: &Model,
        question: &RowQuery,
        conditions: &Conditions,
        since: Checkpoint,
        rows: &mut BTreeMap<Key, Arc<LiveRow>>,
    ) -> Result<(Checkpoint, Vec<Key>), QueryError> {
        let _turn = self.resumes.acquire().await.ok();
        let mut gone = Vec::new();
        let at = match missed_by(&self.pool, model, question.tenant, since).await? {
            Missed::Nothing => since,
            Missed::Everything => {
                let text = "too much has happened since; subscribe without it, and begin anew".into();
                return Err(QueryError::Misuse { field: "min_position".into(), text });
            }
            Missed::Changes(at, changes) => {
                for (change, _) in changes {
                    let key = change.place.key;
                    let json = change.row.and_then(|row| serde_json::from_str::<Value>(&row).ok());
                    match json {
                        Some(json) if conditions.matches(&json) => {
                            rows.insert(key.clone(), Arc::new(LiveRow::new(key, json)));
                        }
                        other => {
                            rows.remove(&key);
                            if may_miss(model, question.owner, other.as_ref()) {
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

/// Whether a reader who comes back is told that a row is gone. Customers are told nothing of others' rows, not even a key;
/// whose a row was that went away altogether cannot be known. Where rows stay as they are, none ceases to fit.
fn may_miss(model: &Model, owner: Option<CustomerId>, row: Option<&Value>) -> bool {
    match (owner, model.owner) {
        _ if model.appends => false,
        (Some(owner), Some(field)) => row.is_some_and(|row| row[field] == owner.to_string()),
        _ => true,
    }
}

fn rows(model: &Model, page: &Page) -> BTreeMap<Key, Arc<LiveRow>> {
    let row = |json: &str| {
        let json: Value = serde_json::from_str(json).unwrap_or_default();
        let key = model.key_of(&json);
        (key.clone(), Arc::new(LiveRow::new(key, json)))
    };
    page.rows.iter().map(|found| row(&found.json)).collect()
}

/// A tenant's own position at a checkpoint of its lane.
async fn told_up_to(pool: &PgPool, tenant: TenantId, at: Checkpoint) -> Result<Freshness, Fault> {
    let text = "SELECT tenant_position, epoch FROM log.events WHERE lane = $1 AND tenant = $2 AND position <= $3
                ORDER BY tenant_position DESC LIMIT 1";
    let last: Option<(i64, i64)> = sqlx::query_as(text)
        .bind(at.lane)
        .bind(tenant.uuid())
        .bind(at.position)
        .fetch_optional(pool)
        .await
        .map_err(unavailable("reading how far a tenant has come"))?;
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
    fn customers_are_told_no_keys_of_others() {
        let (ada, bob) = (CustomerId::new(Uuid::from_u128(1)), CustomerId::new(Uuid::from_u128(2)));
        let of = |customer: CustomerId| json!({ "customer": customer });
        for model in [Model::of::<Order>(), Model::of::<PointsBalance>()] {
            assert!(may_miss(&model, Some(ada), Some(&of(ada))));
            assert!(!may_miss(&model, Some(ada), Some(&of(bob))));
            assert!(!may_miss(&model, Some(ada), None), "whose it was cannot be known");
            assert!(may_miss(&model, None, Some(&of(bob))) && may_miss(&model, None, None));
        }
        assert!(!may_miss(&Model::of::<PointsEntry>(), None, Some(&of(ada))), "entries stay as they are");
    }
}
