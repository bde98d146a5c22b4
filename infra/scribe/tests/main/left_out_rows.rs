//! Rows that a trigger of the database leaves out silently.

use anyhow::Result;
use commands::scribe::{Answer, Settled};
use futures::future::try_join_all;
use lab::harness::{Backend, database};
use lab::log_invariants::check_log_invariants;
use platform::clock::new_id;
use serde_json::{Value, json};
use sqlx::Executor;
use uuid::Uuid;

/// Trigger on a table that leaves out the rows that match a condition.
fn leave_out(table: &str, condition: &str) -> String {
    format!(
        "CREATE OR REPLACE FUNCTION public.leave_out() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
         CREATE TRIGGER leave_out BEFORE INSERT ON log.{table} FOR EACH ROW WHEN ({condition})
             EXECUTE FUNCTION public.leave_out()"
    )
}

fn is_accepted(answer: &Answer) -> bool {
    matches!(answer, Answer::Settled { settled: Settled::Accepted(_), .. })
}

/// Sends commands at the same time. Returns their answers in order.
async fn send_all(
    backend: &Backend,
    tenant: domain::shared::TenantId,
    all: &[(&str, Uuid, Value)],
) -> Result<Vec<Answer>> {
    try_join_all(all.iter().map(|(name, id, body)| backend.send(tenant, name, *id, body))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn command_whose_rows_are_left_out_fails_and_its_neighbours_do_not() -> Result<()> {
    let backend = Backend::start(&database().await).await?;
    let shop = backend.shop(100).await?;
    let reserve = || ("ReserveStock", new_id(), shop.reservation(new_id()));
    let receive = || ("ReceiveStock", new_id(), json!({ "item": shop.item, "units": 1 }));
    let reserve_too_much = || {
        let body = json!({ "item": shop.item, "reservation": new_id(), "units": 1_000_000 });
        ("ReserveStock", new_id(), body)
    };
    let register = || {
        let body = json!({ "customer": new_id(), "name": "Ada", "email": null, "phone": null });
        ("RegisterCustomer", new_id(), body)
    };
    for (table, condition, left_out) in [
        ("events", "NEW.type = 'stock.reserved'", [reserve(), reserve()]),
        ("receipts", "NEW.code IS NOT NULL", [reserve_too_much(), reserve_too_much()]),
        ("person_keys", "true", [register(), register()]),
    ] {
        backend.pool.execute(&*leave_out(table, condition)).await?;
        let [first, second] = left_out;
        let all = [receive(), first, receive(), second, receive()];
        let answers = send_all(&backend, shop.tenant, &all).await?;
        let kinds: Vec<_> =
            answers.iter().map(|answer| (is_accepted(answer), matches!(answer, Answer::Fault(_)))).collect();
        let (yes, fault) = ((true, false), (false, true));
        assert_eq!(kinds, [yes, fault, yes, fault, yes], "{table}: {answers:?}");
        check_log_invariants(&backend.pool).await?;
        let drop = format!("DROP TRIGGER leave_out ON log.{table}");
        backend.pool.execute(&*drop).await?;
        // The first decision of these commands: nothing of them was stored before.
        for answer in send_all(&backend, shop.tenant, &[all[1].clone(), all[3].clone()]).await? {
            assert!(matches!(answer, Answer::Settled { replayed: false, .. }), "{table}: {answer:?}");
        }
    }
    check_log_invariants(&backend.pool).await?;
    backend.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshot_that_is_left_out_fails_its_command() -> Result<()> {
    let backend = Backend::start(&database().await).await?;
    let shop = backend.shop(100).await?;
    backend.pool.execute(&*leave_out("snapshots", "true")).await?;
    let adjust = json!({ "item": shop.item, "change": 1, "reason": "r".repeat(200) });
    let mut answers = Vec::new();
    while !matches!(answers.last(), Some(Answer::Fault(_))) {
        assert!(answers.len() < 200, "no snapshot was due");
        answers.push(backend.send(shop.tenant, "AdjustStock", new_id(), &adjust).await?);
    }
    assert!(answers.len() > 1);
    backend.pool.execute("DROP TRIGGER leave_out ON log.snapshots").await?;
    assert!(is_accepted(&backend.send(shop.tenant, "AdjustStock", new_id(), &adjust).await?));
    check_log_invariants(&backend.pool).await?;
    backend.close().await;
    Ok(())
}
