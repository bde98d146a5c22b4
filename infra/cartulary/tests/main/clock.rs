//! A process whose clock is not that of the database.

use anyhow::Result;
use cartulary::cli::Bearer;
use domain::shared::{ProductId, Role};
use lab::harness::{Engine, HttpRequest, eventually};
use platform::clock::new_id;
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn process_whose_clock_is_off_refuses_commands_and_says_so_until_it_is_right() -> Result<()> {
    let engine = Engine::start().await?;
    let (tenant, store) = engine.tenant().await?;
    let owner = engine.token(&Bearer::of(tenant, Role::Owner))?;
    engine.shift_clock(3_000_000);
    eventually("the difference is reported", async || {
        Ok(engine
            .reason()
            .await?
            .to_string()
            .contains("the clock of this process: it is 3.0 s ahead of the database's"))
    })
    .await?;
    let body = json!({ "product": ProductId::new(new_id()), "store": store });
    let refused = engine.command(&owner, "OpenStockItem", new_id(), &body).await?;
    assert_eq!(
        (refused.status, &refused.json()["code"], &refused.json()["retry"]),
        (503, &json!("CLOCK_OFF"), &json!("SAME_ID"))
    );
    let get = |path: &str| HttpRequest { method: "GET".into(), path: path.into(), ..HttpRequest::default() };
    assert_eq!(engine.send(&get("/ready")).await?.status, 503);
    let metrics = String::from_utf8(engine.monitor("/metrics").await?.body.to_vec())?;
    assert!(metrics.lines().any(|line| line.starts_with("cartulary_clock_off ")), "{metrics}");

    engine.shift_clock(0);
    eventually("the process is ready again", async || Ok(engine.send(&get("/ready")).await?.status == 200)).await?;
    let decided = engine.command(&owner, "OpenStockItem", new_id(), &body).await?;
    assert!(matches!(decided.status, 200 | 409 | 422), "{}: {}", decided.status, decided.json());
    engine.close().await;
    Ok(())
}
