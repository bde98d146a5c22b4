//! Several processes with one Redis between them.

use anyhow::{Result, ensure};
use cartulary::running;
use platform::clock::new_id;
use serde_json::json;

use crate::process::{Desk, once};
use crate::redis::RedisServer;
use crate::server::database;
use crate::shop::eventually;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_share_copies_and_counts_through_redis_and_go_on_without_it() -> Result<()> {
    let (server, url) = (RedisServer::start().await?, database().await);
    let (desk, pool) = (Desk::new(&url).await?, running::connect(&url).await?);
    // Only the projector's word can end a copy in time, and only a count for both lets eight through in all.
    let variables = [
        ("CARTULARY_REDIS_URL", server.url.as_str()),
        ("CARTULARY_ROW_CACHE_MS", "60000"),
        ("CARTULARY_CUSTOMER_COMMANDS_PER_MINUTE", "40"),
    ];
    let mut processes = Vec::new();
    for (role, name) in
        [("scribe", "scribe"), ("policies", "policies"), ("project", "project"), ("serve", "one"), ("serve", "two")]
    {
        processes.push(desk.start_role(role, name, &variables).await?);
    }
    let [.., one, two] = processes.as_slice() else { anyhow::bail!("five processes") };
    let (shop, owner) = desk.shop(one, &pool, 10_000).await?;
    let fronts = [owner, desk.owner(two, shop.tenant).await?];
    let query = format!("{{ stockLevel(stockItem: \"{}\") {{ available }} }}", shop.item);
    for available in 10_001..=10_005 {
        fronts[0].do_it("ReceiveStock", new_id(), &json!({ "item": shop.item, "units": 1 })).await?;
        for front in &fronts {
            eventually("everybody sees it", async || {
                Ok(front.query(&query, json!({})).await?["stockLevel"]["available"] == available)
            })
            .await?;
        }
    }
    ensure!(!server.keys(":row:StockLevel").await?.is_empty(), "the serving processes keep copies");

    let count = async |customer| {
        let (mut accepted, mut put_off) = (0, 0);
        let fronts =
            [desk.customer(one, shop.tenant, customer).await?, desk.customer(two, shop.tenant, customer).await?];
        for front in fronts.iter().cycle().take(24) {
            match once(front, "PlaceOrder", new_id(), &shop.order(new_id(), customer)).await {
                Some((200, _)) => accepted += 1,
                Some((429, answer)) if answer["code"] == "THROTTLED" => put_off += 1,
                other => anyhow::bail!("an order was answered {other:?}"),
            }
        }
        ensure!(accepted >= 8 && put_off > 0, "{accepted} accepted, {put_off} put off");
        Ok(accepted)
    };
    eventually("two processes let through what one would", async || Ok(count(new_id()).await? <= 12)).await?;
    server.kill().await?;
    let accepted = count(new_id()).await?;
    ensure!((16..=22).contains(&accepted), "each counts for itself: {accepted}");
    for process in processes {
        process.stop().await?;
    }
    Ok(())
}
