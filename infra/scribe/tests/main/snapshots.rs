//! Snapshots of long streams.

use anyhow::{Context, Result};
use domain::loyalty::LoyaltyAccount;
use domain::shared::CustomerId;
use futures::stream::{self, StreamExt, TryStreamExt};
use lab::harness::{Backend, Shop, database};
use platform::clock::new_id;
use serde_json::json;

/// Events of the long stream.
const EVENTS: i64 = 10_000;
/// Most events after a snapshot: its bytes are at most four times those of the snapshot, plus those of one batch.
const TAIL_MOST: i64 = 1_500;
/// Commands sent at the same time.
const AT_ONCE: usize = 256;

/// An account with one point for each of its events, and a reward that costs all of them.
async fn long_account(backend: &Backend, customer: CustomerId) -> Result<Shop> {
    let shop = backend.shop(1).await?;
    let adjust = json!({ "customer": customer, "change": 1, "reason": "a gift" });
    let adjust = &adjust;
    stream::iter(0..EVENTS)
        .map(|_| async move { backend.execute(shop.tenant, "AdjustPoints", adjust).await.map(drop) })
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<_>>()
        .await?;
    Ok(shop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_stream_is_loaded_from_one_snapshot_and_the_events_after_it() -> Result<()> {
    let url = database().await;
    let backend = Backend::start(&url).await?;
    let customer = CustomerId::new(new_id());
    let shop = long_account(&backend, customer).await?;
    backend.close().await;

    let pool = platform::database::connect(&url).await?;
    let (tenant, account) = (shop.tenant.uuid(), LoyaltyAccount::id(customer).uuid());
    let text = "SELECT sequence FROM log.snapshots WHERE tenant = $1 AND stream_id = $2";
    let snapshots: Vec<i64> = sqlx::query_scalar(text).bind(tenant).bind(account).fetch_all(&pool).await?;
    let [snapshot] = snapshots[..] else { anyhow::bail!("expected one snapshot, found {snapshots:?}") };
    assert!((EVENTS - TAIL_MOST..=EVENTS).contains(&snapshot), "{} events after the snapshot", EVENTS - snapshot);

    // The account is whole without the events before its snapshot, so they are not read.
    let text = "DELETE FROM log.events WHERE tenant = $1 AND stream_id = $2 AND sequence <= $3";
    let gone = sqlx::query(text).bind(tenant).bind(account).bind(snapshot).execute(&pool).await?;
    assert_eq!(i64::try_from(gone.rows_affected())?, snapshot);
    let backend = Backend::start(&url).await?;
    let (reward, value) = (new_id(), json!({ "minor": 100, "currency": "USD" }));
    let add = json!({ "reward": reward, "name": "Everything", "cost": EVENTS, "value": value });
    backend.execute(shop.tenant, "AddReward", &add).await?;
    let redeem = json!({ "customer": customer, "redemption": new_id(), "reward": reward });
    backend.execute(shop.tenant, "RedeemReward", &redeem).await.context("the balance is not that of all events")?;
    let one_more = json!({ "customer": customer, "redemption": new_id(), "reward": reward });
    assert!(backend.execute(shop.tenant, "RedeemReward", &one_more).await.is_err(), "no point is left");
    backend.close().await;
    proofs::proven("ES-09 a stream of 10,000 events is loaded from one snapshot and the events after it");
    Ok(())
}
