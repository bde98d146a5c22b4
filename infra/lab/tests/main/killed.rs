//! Kills of processes in the middle of their work, which other processes then continue.

use std::path::PathBuf;
use std::process::Stdio;
use std::{env, fs, process};

use anyhow::{Result, ensure};
use cartulary::embedded::{EmbeddedServer, EmbeddedSettings};
use lab::harness::victim::{EFFECT_LIMITS, WEBHOOK_LIMITS, run_samples};
use lab::harness::{Backend, Partner, PartnerReply, Receiver, ReceiverReply, Shop, database, eventually, place_orders};
use lab::log_invariants::check_log_invariants;
use platform::clock::new_id;
use serde_json::json;
use sqlx::{Connection, PgConnection, PgPool};
use tokio::process::{Child, Command};

/// Starts a task of [`lab::harness::victim`] as a process.
fn victim(words: &[&str]) -> Result<Child> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cartulary-lab"));
    command.arg("victim").args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(command.kill_on_drop(true).spawn()?)
}

/// Numbers of samples that the shop's log records as sent, and as refused.
async fn recorded(shop: &Shop, pool: &PgPool) -> Result<(i64, i64)> {
    let text = "SELECT count(*) FILTER (WHERE payload->>'reason' = 'sample sent'),
                       count(*) FILTER (WHERE payload->>'reason' = 'sample refused')
                FROM log.events WHERE tenant = $1 AND type = 'stock.adjusted'";
    Ok(sqlx::query_as(text).bind(shop.tenant.uuid()).fetch_one(pool).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn effect_of_a_killed_process_is_requested_again_under_the_same_key() -> Result<()> {
    let (url, partner) = (database().await, Partner::open().await?);
    let backend = Backend::start(&url).await?;
    let (shop, other) = (backend.shop(10).await?, backend.shop(10).await?);
    backend.close().await;
    partner.replies(shop.tenant, &[PartnerReply::DoneWithoutAnswer], PartnerReply::Done);
    partner.replies(other.tenant, &[PartnerReply::Failed], PartnerReply::Done);

    let mut victim = victim(&["effects", &url, &partner.address.to_string()])?;
    eventually("the partner performs it without an answer", async || Ok(partner.seen(shop.tenant).1 == 1)).await?;
    victim.kill().await?;
    let pool = platform::database::connect(&url).await?;
    assert_eq!(recorded(&shop, &pool).await?, (0, 0));

    let mut backend = Backend::start(&url).await?;
    run_samples(&mut backend, &partner.address.to_string(), EFFECT_LIMITS)?;
    eventually("both are recorded", async || {
        Ok((recorded(&shop, &pool).await?, recorded(&other, &pool).await?) == ((1, 0), (1, 0)))
    })
    .await?;
    let open = "SELECT count(*) FROM work.effects";
    eventually("no effect is open", async || Ok(sqlx::query_scalar::<_, i64>(open).fetch_one(&pool).await? == 0))
        .await?;
    let (asked, done) = partner.seen(shop.tenant);
    assert_eq!(done, 1);
    assert!(asked.len() == 2 && asked[0] == asked[1], "{asked:?}");
    backend.close().await;
    check_log_invariants(&pool).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhook_of_a_killed_process_is_sent_again_under_the_same_id() -> Result<()> {
    let (url, receiver) = (database().await, Receiver::open().await?);
    let mut backend = Backend::start(&url).await?;
    let shop = backend.shop(100).await?;
    backend.run_webhooks(WEBHOOK_LIMITS)?;
    let body = json!({
        "subscription": new_id(), "url": receiver.url(), "events": ["order.placed"], "description": null,
    });
    backend.execute(shop.tenant, "Subscribe", &body).await?;
    place_orders(&backend, &shop, 1).await?;
    eventually("the first order is delivered", async || Ok(receiver.accepted_positions().len() == 1)).await?;
    backend.close().await;
    receiver.replies(&[ReceiverReply::Accepted, ReceiverReply::NoAnswer], ReceiverReply::Accepted);
    let backend = Backend::start(&url).await?;
    place_orders(&backend, &shop, 5).await?;
    backend.close().await;

    let mut victim = victim(&["webhooks", &url])?;
    eventually("the receiver has a message that it does not answer", async || Ok(receiver.received().len() == 3))
        .await?;
    victim.kill().await?;

    let mut backend = Backend::start(&url).await?;
    backend.run_webhooks(WEBHOOK_LIMITS)?;
    eventually("all orders are delivered", async || Ok(receiver.accepted_positions().len() >= 6)).await?;
    let placed = "SELECT tenant_position FROM log.events WHERE tenant = $1 AND type = 'order.placed' ORDER BY 1";
    let placed: Vec<i64> = sqlx::query_scalar(placed).bind(shop.tenant.uuid()).fetch_all(&backend.pool).await?;
    let mut delivered = receiver.accepted_positions();
    delivered.dedup();
    assert_eq!(delivered, placed);
    let received = receiver.received();
    assert_eq!(received[2].id, received[3].id, "the message without an answer comes again under the same id");
    backend.close().await;
    Ok(())
}

#[tokio::test]
async fn embedded_server_whose_process_was_killed_is_stopped_cleanly_by_the_next_start() -> Result<()> {
    let folder: PathBuf = env::temp_dir().join(format!("cartulary-test-orphan-{}", process::id()));
    fs::create_dir(&folder)?;
    let mut victim = victim(&["embedded", &folder.display().to_string()])?;
    eventually("the note is written", async || {
        ensure!(victim.try_wait()?.is_none(), "the process ended before it was killed");
        Ok(folder.join("written").exists())
    })
    .await?;
    victim.kill().await?;

    let again = EmbeddedServer::start(&EmbeddedSettings { project: folder.clone(), binaries: None }).await?;
    let mut connection = PgConnection::connect(&again.url()).await?;
    let note: String = sqlx::query_scalar("SELECT text FROM note").fetch_one(&mut connection).await?;
    connection.close().await?;
    assert_eq!(note, "kept");
    let log = fs::read_to_string(again.log().with_file_name("postgres.previous.log"))?;
    assert!(log.trim_end().ends_with("database system is shut down"), "{log}");
    again.stop().await?;
    Ok(fs::remove_dir_all(&folder)?)
}
