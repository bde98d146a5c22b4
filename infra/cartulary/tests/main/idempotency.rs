//! Idempotency: one command id has one effect and one answer, however often it is sent, also after a restart.

use anyhow::{Context, Result};
use futures::future::join_all;
use lab::demo::client::Client;
use lab::harness::{Cluster, database, send_once};
use lab::log_invariants::check_log_invariants;
use platform::clock::new_id;
use serde_json::{Value, json};
use uuid::Uuid;

const PARALLEL: usize = 50;

/// An answer without `replayed`, and the value of `replayed`.
fn split(mut answer: Value) -> (Value, bool) {
    let replayed = answer["receipt"].as_object_mut().and_then(|receipt| receipt.remove("replayed"));
    (answer, replayed == Some(Value::Bool(true)))
}

/// Sends the same command over many connections at once. Returns the answer, which is the same on all of them.
async fn send_in_parallel(owner: &Client, name: &str, id: Uuid, body: &Value) -> Result<Value> {
    let answers = join_all((0..PARALLEL).map(|_| send_once(owner, name, id, body))).await;
    let mut seen = Vec::new();
    let mut firsts = 0;
    for answer in answers {
        let (status, answer) = answer.context("an answer")?;
        assert!(matches!(status, 200 | 409), "{status}: {answer}");
        let (answer, replayed) = split(answer);
        firsts += usize::from(!replayed);
        seen.push(answer);
    }
    assert_eq!(firsts, 1, "exactly one was the first");
    assert!(seen.iter().all(|answer| *answer == seen[0]), "{seen:?}");
    seen.pop().context("some answers")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_parallel_sends_of_one_id_have_one_effect_and_equal_answers() -> Result<()> {
    const ROUNDS: i64 = 40;
    let url = database().await;
    let (cluster, pool) = (Cluster::new(&url).await?, platform::database::connect(&url).await?);
    let engine = cluster.start_ready(&[]).await?;
    // The second half of the rounds finds no stock, so that rejections are compared as well.
    let (shop, owner) = cluster.shop(&engine, &pool, ROUNDS / 2).await?;
    let mut answers = Vec::new();
    for round in 0..ROUNDS {
        // Ids of version 7 and of version 5 take different paths through the engine.
        let id = if round % 4 < 2 { new_id() } else { Uuid::new_v5(&new_id(), b"old") };
        let body = shop.reservation(new_id());
        let answer = send_in_parallel(&owner, "ReserveStock", id, &body).await?;
        let outcome = if round < ROUNDS / 2 { "accepted" } else { "rejected" };
        assert_eq!(answer["outcome"], outcome, "{answer}");
        answers.push((id, body, answer));
    }
    assert_eq!(shop.count(&pool, "stock.reserved").await?, ROUNDS / 2);
    engine.stop().await?;

    // Another process has nothing in memory and gives the same answers.
    let again = cluster.start_ready(&[]).await?;
    let owner = cluster.owner(&again, shop.tenant).await?;
    for (id, body, answer) in answers {
        let (_, repeated) = send_once(&owner, "ReserveStock", id, &body).await.context("an answer")?;
        assert_eq!(split(repeated), (answer, true));
    }
    assert_eq!(shop.count(&pool, "stock.reserved").await?, ROUNDS / 2);
    again.stop().await?;
    check_log_invariants(&pool).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_body_under_a_known_id_is_refused_and_ids_are_per_tenant() -> Result<()> {
    let url = database().await;
    let (cluster, pool) = (Cluster::new(&url).await?, platform::database::connect(&url).await?);
    let engine = cluster.start_ready(&[]).await?;
    let (shop, owner) = cluster.shop(&engine, &pool, 5).await?;
    let (other, other_owner) = cluster.shop(&engine, &pool, 5).await?;
    let id = new_id();
    let (first, second) = (shop.reservation(new_id()), shop.reservation(new_id()));
    let mix = (0..PARALLEL)
        .map(|number| send_once(&owner, "ReserveStock", id, if number % 2 == 0 { &first } else { &second }));
    let answers: Vec<_> = join_all(mix).await.into_iter().collect::<Option<_>>().context("answers")?;
    let accepted = answers.iter().filter(|(status, _)| *status == 200).count();
    let refused = answers.iter().filter(|(status, answer)| *status == 422 && answer["code"] == "COMMAND_ID_REUSED");
    assert_eq!((accepted, refused.count()), (PARALLEL / 2, PARALLEL / 2), "{answers:?}");
    assert_eq!(shop.count(&pool, "stock.reserved").await?, 1);

    // The name of the command is part of what must be equal.
    let release = json!({ "item": shop.item, "reservation": new_id() });
    let (status, answer) = send_once(&owner, "ReleaseReservation", id, &release).await.context("an answer")?;
    assert_eq!((status, &answer["code"]), (422, &json!("COMMAND_ID_REUSED")));

    let answer = send_in_parallel(&other_owner, "ReserveStock", id, &other.reservation(new_id())).await?;
    assert_eq!(answer["outcome"], "accepted");
    assert_eq!((shop.count(&pool, "stock.reserved").await?, other.count(&pool, "stock.reserved").await?), (1, 1));
    engine.stop().await?;
    check_log_invariants(&pool).await
}
