//! A log that was restored to an earlier moment: readers that are ahead of it notice, go back and end right.

use anyhow::Result;
use cartulary::running;
use platform::clock::new_id;
use sqlx::{PgConnection, PgPool};

use crate::guard::cut_sessions;
use crate::laws::keeps_the_laws;
use crate::server::database;
use crate::shop::{House, Shop, caught_up, digests, eventually, rebuild_all};

/// Takes a lane back to a position, as a restored backup does; the read side stays where it was.
pub(crate) async fn restore(pool: &PgPool, lane: i16, position: i64) -> Result<()> {
    restore_by(&mut *pool.acquire().await?, lane, position).await
}

async fn restore_by(connection: &mut PgConnection, lane: i16, position: i64) -> Result<()> {
    let when = "(SELECT coalesce(max(recorded_at), '-infinity') FROM log.events WHERE lane = $1 AND position <= $2)";
    for text in [
        format!("DELETE FROM log.receipts WHERE lane = $1 AND recorded_at > {when}"),
        "DELETE FROM log.snapshots WHERE lane = $1 AND $2 >= 0".into(),
        "DELETE FROM log.epochs WHERE lane = $1 AND first_position > $2".into(),
        "DELETE FROM log.events WHERE lane = $1 AND position > $2".into(),
        "UPDATE log.lanes l SET epoch = coalesce((SELECT e.epoch FROM log.epochs e
             WHERE e.lane = l.lane ORDER BY e.since DESC LIMIT 1), 0) WHERE lane = $1 AND $2 >= 0"
            .into(),
    ] {
        sqlx::query(&text).bind(lane).bind(position).execute(&mut *connection).await?;
    }
    Ok(())
}

pub(crate) async fn head(pool: &PgPool, lane: i16) -> Result<i64> {
    let text = "SELECT coalesce(max(position), 0) FROM log.events WHERE lane = $1";
    Ok(sqlx::query_scalar(text).bind(lane).fetch_one(pool).await?)
}

pub(crate) async fn sell(house: &House, shop: &Shop, orders: i64) -> Result<()> {
    for _ in 0..orders {
        house.done(shop.tenant, "PlaceOrder", &shop.order(new_id(), new_id())).await?;
    }
    Ok(())
}

/// The checkpoints that no history of today's log can have led to.
const ASTRAY: &str = "SELECT count(*) FROM reads.checkpoints c JOIN reads.live v USING (model, shape)
    LEFT JOIN log.events e ON e.lane = c.lane AND e.position = c.position
    WHERE c.position > 0 AND c.epoch IS DISTINCT FROM e.epoch";

/// What is written after the restore, compared with what was lost.
#[derive(Clone, Copy, Debug)]
enum Then {
    Nothing,
    Less,
    /// Exactly as many events, so that positions alone tell nothing.
    AsMuch,
    More,
}

async fn go_back_and_end_right(then: Then) -> Result<()> {
    let url = database().await;
    let mut house = House::with_defaults(&url).await?;
    house.read();
    let shop = house.shop(1_000).await?;
    sell(&house, &shop, 10).await?;
    let lane = shop.lane(&house.pool).await?;
    let kept = head(&house.pool, lane).await?;
    sell(&house, &shop, 20).await?;
    caught_up(&house.pool).await?;
    house.close().await;

    let pool = running::connect(&url).await?;
    let before = head(&pool, lane).await?;
    restore(&pool, lane, kept).await?;
    let mut house = House::with_defaults(&url).await?;
    let orders = match then {
        Then::Nothing => 0,
        Then::Less => 5,
        Then::AsMuch => 20,
        Then::More => 40,
    };
    sell(&house, &shop, orders).await?;
    let after = head(&pool, lane).await?;
    assert_eq!(after.cmp(&before), orders.cmp(&20), "{then:?}: {before} and then {after} events");
    assert!(sqlx::query_scalar::<_, i64>(ASTRAY).fetch_one(&pool).await? > 0, "the readers are ahead");
    house.read();
    eventually("every model has gone back", async || {
        Ok(sqlx::query_scalar::<_, i64>(ASTRAY).fetch_one(&pool).await? == 0)
    })
    .await?;
    caught_up(&pool).await?;
    // And it stays so while life goes on.
    sell(&house, &shop, 1).await?;
    caught_up(&pool).await?;
    house.close().await;
    let live = digests(&pool).await?;
    rebuild_all(&pool, 1_000).await?;
    assert_eq!(digests(&pool).await?, live, "{then:?}");
    keeps_the_laws(&pool).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_of_a_restored_lane_go_back_before_anything_new_is_written() -> Result<()> {
    go_back_and_end_right(Then::Nothing).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_of_a_restored_lane_go_back_though_it_is_still_shorter_than_it_was() -> Result<()> {
    go_back_and_end_right(Then::Less).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_of_a_restored_lane_go_back_though_it_is_exactly_as_long_as_it_was() -> Result<()> {
    go_back_and_end_right(Then::AsMuch).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_of_a_restored_lane_go_back_when_it_has_grown_beyond_what_was_lost() -> Result<()> {
    go_back_and_end_right(Then::More).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_writes_trusts_nothing_it_remembers_when_another_server_took_over() -> Result<()> {
    let url = database().await;
    let witness = running::connect(&format!("{url}&application_name=witness")).await?;
    let mut house = House::with_defaults(&url).await?;
    house.read();
    let shop = house.shop(1_000).await?;
    sell(&house, &shop, 10).await?;
    let lane = shop.lane(&witness).await?;
    let kept = head(&witness, lane).await?;
    sell(&house, &shop, 20).await?;
    caught_up(&witness).await?;

    // As a standby that lagged does: every session ends, and where the next ones lead to, the last commits are missing.
    let mut fail_over = witness.begin().await?;
    sqlx::query("SELECT FROM log.lanes FOR UPDATE").execute(&mut *fail_over).await?;
    restore_by(&mut fail_over, lane, kept).await?;
    cut_sessions(&mut *fail_over).await?;
    let lease = "SELECT lease::text FROM log.lanes WHERE lane = $1";
    let before: String = sqlx::query_scalar(lease).bind(lane).fetch_one(&mut *fail_over).await?;
    fail_over.commit().await?;
    // Nothing was under way whose failure could have told it.
    eventually("whoever writes the lane has found the server", async || {
        Ok(sqlx::query_scalar::<_, String>(lease).bind(lane).fetch_one(&witness).await? != before)
    })
    .await?;
    eventually("the lane is written again", async || Ok(sell(&house, &shop, 1).await.is_ok())).await?;
    sell(&house, &shop, 4).await?;
    let dense = "SELECT count(*) = max(position) FROM log.events WHERE lane = $1";
    assert!(sqlx::query_scalar::<_, bool>(dense).bind(lane).fetch_one(&witness).await?, "positions without gaps");
    eventually("every model has gone back", async || {
        Ok(sqlx::query_scalar::<_, i64>(ASTRAY).fetch_one(&witness).await? == 0)
    })
    .await?;
    caught_up(&witness).await?;
    house.close().await;
    let live = digests(&witness).await?;
    rebuild_all(&witness, 1_000).await?;
    assert_eq!(digests(&witness).await?, live);
    keeps_the_laws(&witness).await
}
