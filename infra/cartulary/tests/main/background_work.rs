//! Background work in the product's binary: dead letters over GraphQL and `cartulary work`, and a process of the role
//! `policies` that is stopped while the store is unsafe.

use std::time::Duration;

use anyhow::{Context, Result};
use domain::inventory::HOLD_TIME;
use lab::harness::{Cluster, age_by, database, eventually, pending_timers, send_once, send_until_decided};
use platform::clock::new_id;
use serde_json::{Value, json};
use sqlx::PgPool;

/// Time within which a process of the role `policies` must end: the attempts of effects in progress, and no more.
const GRACE: Duration = Duration::from_secs(20);

/// Output of `cartulary work` as JSON, and true if it succeeded.
async fn work(cluster: &Cluster, words: &[&str]) -> Result<(bool, Value)> {
    let output = cluster.cartulary().arg("work").args(words).arg("--json").output().await?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok((output.status.success(), serde_json::from_str(&text).with_context(|| format!("no JSON: {output:?}"))?))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_listed_requeued_and_discarded_over_graphql_and_on_the_command_line() -> Result<()> {
    let url = database().await;
    let (cluster, pool) = (Cluster::new(&url).await?, platform::database::connect(&url).await?);
    let engine = cluster.start_ready(&[]).await?;
    let (shop, owner) = cluster.shop(&engine, &pool, 2).await?;
    let orders = [new_id(), new_id()];
    for order in orders {
        send_until_decided(&[&owner], "PlaceOrder", new_id(), &shop.order(order, new_id())).await?;
    }
    eventually("the timers are set", async || Ok(pending_timers(&pool).await? == 4)).await?;
    engine.kill().await?;
    age_by(&pool, HOLD_TIME.0 + 1).await?;
    let break_them = "UPDATE log.events SET payload = json_build_object('broken', payload) WHERE type = 'order.placed'";
    sqlx::query(break_them).execute(&pool).await?;

    let engine = cluster.start_ready(&[]).await?;
    let owner = cluster.owner(&engine, shop.tenant).await?;
    let query = "{ deadLetters { id kind source name body reason } }";
    let mut listed = json!([]);
    eventually("both commands are dead letters", async || {
        listed = owner.query(query, json!({})).await?["deadLetters"].clone();
        let commands = listed.as_array().into_iter().flatten().filter(|letter| letter["kind"] == "COMMAND");
        Ok(commands.count() == 2)
    })
    .await?;
    let of = |order: usize| {
        let letters = listed.as_array().into_iter().flatten();
        let letter = letters.into_iter().find(|letter| letter["body"]["order"] == json!(orders[order]));
        letter.and_then(|letter| letter["id"].as_str()).context("a letter of the order")
    };
    let (requeued, discarded) = (of(0)?, of(1)?);
    let (succeeded, shown) = work(&cluster, &["list", "--tenant", &shop.tenant.to_string()]).await?;
    let shown = shown.as_array().context("a list")?.iter().filter(|letter| letter["name"] == "ExpireOrder").count();
    assert!(succeeded && shown == 2);
    assert!(!work(&cluster, &["discard", discarded, &new_id().to_string()]).await?.0, "one letter is unknown");
    let (succeeded, again) = work(&cluster, &["requeue", discarded]).await?;
    assert!(!succeeded && again[0]["done"] == false, "it was discarded: {again}");
    engine.kill().await?;

    let repair = "UPDATE log.events SET payload = payload->'broken' WHERE type = 'order.placed'";
    sqlx::query(repair).execute(&pool).await?;
    let engine = cluster.start_ready(&[]).await?;
    let owner = cluster.owner(&engine, shop.tenant).await?;
    let requeue = "mutation($id: UUID!) { requeueDeadLetter(id: $id) { name } }";
    let answer = owner.query(requeue, json!({ "id": requeued })).await?;
    assert_eq!(answer["requeueDeadLetter"]["name"], "ExpireOrder");
    eventually("the order has expired", async || Ok(shop.count(&pool, "order.cancelled").await? == 1)).await?;
    assert_eq!(work(&cluster, &["list"]).await?, (true, json!([])));
    proofs::proven("ES-12 dead letters are requeued and discarded over GraphQL and on the command line");
    engine.stop().await
}

/// Changes a setting of the database.
async fn set(pool: &PgPool, change: &str) -> Result<()> {
    let name: String = sqlx::query_scalar("SELECT current_database()").fetch_one(pool).await?;
    sqlx::query(&format!("ALTER DATABASE {name} {change}")).execute(pool).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_with_a_due_timer_end_in_time_while_the_store_is_unsafe() -> Result<()> {
    let url = database().await;
    let pool = platform::database::connect(&format!("{url}&application_name=witness")).await?;
    let cluster = Cluster::new(&url).await?;
    let serve = cluster.start_unready("serve", "serve-1", &[]).await?;
    let scribe = cluster.start_role("scribe", "scribe-1", &[]).await?;
    let policies = cluster.start_role("policies", "policies-1", &[]).await?;
    let (shop, owner) = cluster.shop(&serve, &pool, 1).await?;
    send_until_decided(&[&owner], "PlaceOrder", new_id(), &shop.order(new_id(), new_id())).await?;
    eventually("the timers are set", async || Ok(pending_timers(&pool).await? == 2)).await?;
    policies.stop().await?;

    set(&pool, "SET synchronous_commit = off").await?;
    eventually("commands are refused", async || {
        let answer = send_once(&owner, "ReserveStock", new_id(), &shop.reservation(new_id())).await;
        Ok(answer.is_some_and(|(status, answer)| status == 503 && answer["code"] == "STORE_UNSAFE"))
    })
    .await?;
    for text in
        ["UPDATE work.timers SET due_at = now()", "UPDATE work.queues SET due_at = now() WHERE kind = 'commands'"]
    {
        sqlx::query(text).execute(&pool).await?;
    }
    let policies = cluster.start_unready("policies", "policies-1", &[]).await?;
    let refused = "SELECT failures FROM work.queues WHERE kind = 'commands' AND tenant = $1";
    eventually("the timer was tried and refused", async || {
        Ok(sqlx::query_scalar::<_, i32>(refused).bind(shop.tenant.uuid()).fetch_one(&pool).await? >= 2)
    })
    .await?;
    // A command is decided outside of any transaction.
    let open = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                AND state LIKE 'idle in transaction%' AND now() - state_change > interval '2 seconds'";
    assert_eq!(sqlx::query_scalar::<_, i64>(open).fetch_one(&pool).await?, 0);
    tokio::time::timeout(GRACE, policies.stop()).await.context("the process did not end in time")??;
    assert_eq!((pending_timers(&pool).await?, shop.count(&pool, "order.cancelled").await?), (2, 0));

    set(&pool, "RESET synchronous_commit").await?;
    scribe.stop().await?;
    serve.stop().await
}
