//! Several processes that share one Redis.

use anyhow::{Context, Result, ensure};
use lab::demo::client::Client;
use lab::harness::{Cluster, RedisServer, Shop, database, eventually, send_once};
use platform::clock::new_id;
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

/// Commands per minute of a customer, and how many of them may come at once.
const PER_MINUTE: u32 = 40;
const BURST: u32 = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_share_cached_rows_and_counts_through_redis_and_go_on_without_it() -> Result<()> {
    let (server, url) = (RedisServer::start().await?, database().await);
    let (cluster, pool) = (Cluster::new(&url).await?, platform::database::connect(&url).await?);
    // Rows are cached for longer than a look at them may take, and eight orders may come at once.
    let variables = [
        ("CARTULARY_REDIS_URL", server.url.as_str()),
        ("CARTULARY_ROW_CACHE_MS", "60000"),
        ("CARTULARY_CUSTOMER_COMMANDS_PER_MINUTE", "40"),
    ];
    let mut processes = Vec::new();
    for (role, name) in
        [("scribe", "scribe"), ("policies", "policies"), ("project", "project"), ("serve", "one"), ("serve", "two")]
    {
        processes.push(cluster.start_role(role, name, &variables).await?);
    }
    let [.., one, two] = processes.as_slice() else { anyhow::bail!("five processes") };
    let (shop, owner) = cluster.shop(one, &pool, 10_000).await?;
    let fronts = [owner, cluster.owner(two, shop.tenant).await?];
    let query = format!("{{ stockLevel(stockItem: \"{}\") {{ available }} }}", shop.item);
    for available in 10_001..=10_005 {
        fronts[0].execute("ReceiveStock", new_id(), &json!({ "item": shop.item, "units": 1 })).await?;
        for front in &fronts {
            eventually("both processes show the change", async || {
                Ok(front.query(&query, json!({})).await?["stockLevel"]["available"] == available)
            })
            .await?;
        }
    }
    ensure!(!server.keys(":row:StockLevel").await?.is_empty(), "the serving processes cache rows");

    // Sends orders to both processes in turn until both have put one off: how many were accepted, and the most that a
    // burst and what was refilled meanwhile allow for one process.
    let count = async |customer| {
        let fronts =
            [cluster.customer(one, shop.tenant, customer).await?, cluster.customer(two, shop.tenant, customer).await?];
        let (begun, mut accepted, mut put_off) = (Instant::now(), 0, [false; 2]);
        for number in 0..200 {
            let front = number % 2;
            match send_once(&fronts[front], "PlaceOrder", new_id(), &shop.order(new_id(), customer)).await {
                Some((200, _)) => accepted += 1,
                Some((429, answer)) if answer["code"] == "THROTTLED" => put_off[front] = true,
                other => anyhow::bail!("an order was answered {other:?}"),
            }
            if put_off == [true; 2] {
                break;
            }
        }
        ensure!(accepted >= BURST && put_off == [true; 2], "{accepted} accepted, put off: {put_off:?}");
        Ok((accepted, BURST + (f64::from(PER_MINUTE) * begun.elapsed().as_secs_f64() / 60.0).ceil() as u32))
    };
    eventually("two processes accept what one would", async || {
        let (accepted, most) = count(new_id()).await?;
        Ok(accepted <= most)
    })
    .await?;
    server.kill().await?;
    let (accepted, most) = count(new_id()).await?;
    ensure!((2 * BURST..=2 * most).contains(&accepted), "each counts for itself: {accepted} of {}", 2 * most);
    for process in processes {
        process.stop().await?;
    }
    Ok(())
}

/// Two serving processes that share sold-out hints; the shop's owner orders at each.
struct TwoFronts {
    shop: Shop,
    fronts: [Client; 2],
}

impl TwoFronts {
    async fn order(&self, front: usize, order: Uuid, customer: Uuid) -> Result<(u16, Value)> {
        let body = self.shop.order(order, customer);
        send_once(&self.fronts[front], "PlaceOrder", order, &body).await.context("an order is answered")
    }

    /// Sends a new order to a process: true if it is put off.
    async fn puts_off(&self, front: usize) -> Result<bool> {
        let (status, answer) = self.order(front, new_id(), new_id()).await?;
        Ok(status == 503 && answer["code"] == "SOLD_OUT_FOR_NOW")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_share_sold_out_hints_through_redis() -> Result<()> {
    let (server, url) = (RedisServer::start().await?, database().await);
    let (cluster, pool) = (Cluster::new(&url).await?, platform::database::connect(&url).await?);
    let variables = [("CARTULARY_REDIS_URL", server.url.as_str()), ("CARTULARY_SOLD_OUT_HINT_MS", "5000")];
    let mut processes = Vec::new();
    for (role, name) in
        [("scribe", "scribe"), ("policies", "policies"), ("project", "project"), ("serve", "one"), ("serve", "two")]
    {
        processes.push(cluster.start_role(role, name, &variables).await?);
    }
    let [.., one, two] = processes.as_slice() else { anyhow::bail!("five processes") };
    let (shop, owner) = cluster.shop(one, &pool, 1).await?;
    let two = TwoFronts { shop, fronts: [owner, cluster.owner(two, shop.tenant).await?] };

    let (first, customer) = (new_id(), new_id());
    eventually("the first order is accepted", async || Ok(two.order(0, first, customer).await?.0 == 200)).await?;
    eventually("both processes put new orders off", async || Ok(two.puts_off(0).await? && two.puts_off(1).await?))
        .await?;
    // The accepted order keeps its answer, also in the other process.
    let (status, again) = two.order(1, first, customer).await?;
    assert_eq!((status, &again["receipt"]["replayed"]), (200, &json!(true)), "{again}");

    // Later commands of a request are put off with the order before them.
    let line = |name: &str, body: Value| json!({ "name": name, "id": new_id(), "body": body }).to_string();
    eventually("an order is put off", async || {
        let order = new_id();
        let cancel = json!({ "order": order, "customer": customer, "reason": "changed their mind" });
        let lines = [line("PlaceOrder", shop.order(order, customer)), line("CancelOrder", cancel)];
        let answers = two.fronts[1].batch(lines.join("\n")).await?;
        let is_put_off = |answer: &Value| answer["problem"]["code"] == "SOLD_OUT_FOR_NOW";
        ensure!(is_put_off(&answers[0]) == is_put_off(&answers[1]), "{answers:?}");
        Ok(is_put_off(&answers[0]))
    })
    .await?;

    two.fronts[0].execute("ReceiveStock", new_id(), &json!({ "item": shop.item, "units": 2 })).await?;
    eventually("an order is accepted", async || Ok(two.order(1, new_id(), customer).await?.0 == 200)).await?;
    eventually("there is no hint", async || Ok(server.keys(":gone:").await?.is_empty())).await?;
    for process in processes {
        process.stop().await?;
    }
    Ok(())
}
