//! One command id, one effect, one answer: however often, from wherever and after whatever it is sent.

use std::time::Duration;

use anyhow::{Context, Result};
use cartulary::running;
use futures::future::join_all;
use lab::demo::client::Client;
use platform::clock::new_id;
use serde_json::{Value, json};
use tokio::time::timeout;
use uuid::Uuid;

use crate::laws::keeps_the_laws;
use crate::process::{Desk, once};
use crate::server::database;
use crate::shop::House;

const PARALLEL: usize = 50;

/// An answer without the one word that may differ; with it, whether that word was there.
fn split(mut answer: Value) -> (Value, bool) {
    let replayed = answer["receipt"].as_object_mut().and_then(|receipt| receipt.remove("replayed"));
    (answer, replayed == Some(Value::Bool(true)))
}

/// Sends the same command from many connections at once. The one answer that all of them got.
async fn storm(owner: &Client, name: &str, id: Uuid, body: &Value) -> Result<Value> {
    let answers = join_all((0..PARALLEL).map(|_| once(owner, name, id, body))).await;
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
async fn fifty_parallel_sends_of_one_id_have_one_effect_and_fifty_equal_answers() -> Result<()> {
    const ROUNDS: i64 = 40;
    let url = database().await;
    let (desk, pool) = (Desk::new(&url).await?, running::connect(&url).await?);
    let engine = desk.start_ready(&[]).await?;
    // Every second round finds the shelf empty, so that refusals are told alike as well.
    let (shop, owner) = desk.shop(&engine, &pool, ROUNDS / 2).await?;
    let mut told = Vec::new();
    for round in 0..ROUNDS {
        // Old and new ids take different ways through the engine.
        let id = if round % 4 < 2 { new_id() } else { Uuid::new_v5(&new_id(), b"old") };
        let body = shop.reservation(new_id());
        let answer = storm(&owner, "ReserveStock", id, &body).await?;
        let outcome = if round < ROUNDS / 2 { "accepted" } else { "rejected" };
        assert_eq!(answer["outcome"], outcome, "{answer}");
        told.push((id, body, answer));
    }
    assert_eq!(shop.count(&pool, "stock.reserved").await?, ROUNDS / 2);
    engine.stop().await?;

    // Another process, which has none of it in memory, tells the same.
    let again = desk.start_ready(&[]).await?;
    let owner = desk.owner(&again, shop.tenant).await?;
    for (id, body, answer) in told {
        let (_, repeated) = once(&owner, "ReserveStock", id, &body).await.context("an answer")?;
        assert_eq!(split(repeated), (answer, true));
    }
    assert_eq!(shop.count(&pool, "stock.reserved").await?, ROUNDS / 2);
    again.stop().await?;
    keeps_the_laws(&pool).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_body_under_a_known_id_is_refused_and_another_tenant_has_ids_of_its_own() -> Result<()> {
    let url = database().await;
    let (desk, pool) = (Desk::new(&url).await?, running::connect(&url).await?);
    let engine = desk.start_ready(&[]).await?;
    let (shop, owner) = desk.shop(&engine, &pool, 5).await?;
    let (other, other_owner) = desk.shop(&engine, &pool, 5).await?;
    let id = new_id();
    let (first, second) = (shop.reservation(new_id()), shop.reservation(new_id()));
    let mix =
        (0..PARALLEL).map(|number| once(&owner, "ReserveStock", id, if number % 2 == 0 { &first } else { &second }));
    let answers: Vec<_> = join_all(mix).await.into_iter().collect::<Option<_>>().context("answers")?;
    let accepted = answers.iter().filter(|(status, _)| *status == 200).count();
    let refused = answers.iter().filter(|(status, answer)| *status == 422 && answer["code"] == "COMMAND_ID_REUSED");
    assert_eq!((accepted, refused.count()), (PARALLEL / 2, PARALLEL / 2), "{answers:?}");
    assert_eq!(shop.count(&pool, "stock.reserved").await?, 1);

    // The name of the command belongs to what was sent.
    let release = json!({ "item": shop.item, "reservation": new_id() });
    let (status, answer) = once(&owner, "ReleaseReservation", id, &release).await.context("an answer")?;
    assert_eq!((status, &answer["code"]), (422, &json!("COMMAND_ID_REUSED")));

    let answer = storm(&other_owner, "ReserveStock", id, &other.reservation(new_id())).await?;
    assert_eq!(answer["outcome"], "accepted");
    assert_eq!((shop.count(&pool, "stock.reserved").await?, other.count(&pool, "stock.reserved").await?), (1, 1));
    engine.stop().await?;
    keeps_the_laws(&pool).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_to_decide_is_answered_at_once_and_keeps_nobody_from_stopping() -> Result<()> {
    let house = House::with_defaults(&database().await).await?;
    let shop = house.shop(1).await?;
    let answers = timeout(Duration::from_secs(5), house.scribe.submit(shop.tenant, false, vec![])).await?;
    assert!(answers.is_empty());
    timeout(Duration::from_secs(10), house.close()).await?;
    Ok(())
}
