//! Groups of read models follow the log on their own: one that cannot be written holds up no other group.

use anyhow::Result;
use lab::harness::{Backend, caught_up, database, eventually};
use platform::clock::new_id;
use projections::kernel::Models;
use sqlx::{Connection, Executor, PgConnection};

use crate::broken_rows::receive;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locked_tables_of_one_group_hold_up_no_other_group() -> Result<()> {
    let url = database().await;
    let mut backend = Backend::start(&url).await?;
    let shop = backend.shop(10).await?;
    backend.run_read_models();
    let pool = backend.pool.clone();
    caught_up(&pool).await?;
    let models = Models::all();
    let inventory: Vec<&str> = models.groups()["inventory"].iter().map(|model| model.name.as_str()).collect();
    let tables: Vec<String> =
        models.groups()["inventory"].iter().map(|model| format!("reads.{}", model.table())).collect();
    let mut lock = PgConnection::connect(&url).await?;
    lock.execute(&*format!("BEGIN; LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", tables.join(", "))).await?;
    receive(&backend, &shop, 500).await?;
    backend.execute(shop.tenant, "PlaceOrder", &shop.order(new_id(), new_id())).await?;
    // True if all models of the group, or all others, are at the end of every lane.
    let at_the_end = "SELECT bool_and(head.position = c.position) FROM reads.checkpoints c
                      JOIN LATERAL (SELECT coalesce(max(e.position), 0) AS position FROM log.events e
                                    WHERE e.lane = c.lane) head ON true WHERE (c.model = ANY($1)) = $2";
    let reached = async |group: bool| -> Result<bool> {
        Ok(sqlx::query_scalar(at_the_end).bind(&inventory).bind(group).fetch_one(&pool).await?)
    };
    eventually("the other groups are at the end of the log", async || reached(false).await).await?;
    assert!(!reached(true).await?, "the locked group has advanced");
    lock.execute("COMMIT").await?;
    caught_up(&pool).await?;
    backend.close().await;
    Ok(())
}
