//! A crowd is kept away from what is gone, for a short time, and nobody is refused for good by that.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cartulary::cli::Bearer;
use cartulary::running;
use cartulary::settings::Settings;
use domain::shared::{CustomerId, Role};
use lab::demo::client::Client;
use platform::clock::new_id;
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use crate::house::{FrontDoor, Got};
use crate::process::{Desk, once};
use crate::redis::RedisServer;
use crate::server::database;
use crate::shop::{Shop, eventually};

struct Sale {
    house: FrontDoor,
    shop: Shop,
    owner: String,
}

impl Sale {
    async fn of_one_unit(redis_url: Option<String>, sold_out_hint_ms: u32) -> Result<Self> {
        let house = FrontDoor::open_with(Settings { redis_url, sold_out_hint_ms, ..Settings::default() }).await?;
        let (tenant, _) = house.tenant().await?;
        let (shop, owner) = (Shop::new(tenant), house.token(&Bearer::of(tenant, Role::Owner))?);
        for (name, body) in shop.putting_on_sale(1) {
            house.done(&owner, name, &body).await?;
        }
        Ok(Self { house, shop, owner })
    }

    /// Orders the first unit, which a mark from before it was there may put off.
    async fn first_order(&self, order: Uuid) -> Result<()> {
        eventually("the first one has it", async || {
            let got = self.order(order).await?;
            ensure!(got.status == 200 || is_put_off(&got), "{}", got.json());
            Ok(got.status == 200)
        })
        .await
    }

    async fn order(&self, order: Uuid) -> Result<Got> {
        let token = self.house.token(&Bearer::customer(self.shop.tenant, CustomerId::new(order)))?;
        self.house.command(&token, "PlaceOrder", order, &self.shop.order(order, order)).await
    }
}

fn is_put_off(got: &Got) -> bool {
    got.status == 503 && got.json()["code"] == "SOLD_OUT_FOR_NOW"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_is_told_to_come_back_and_nothing_is_stored() -> Result<()> {
    let sale = Sale::of_one_unit(None, 5_000).await?;
    let (first, late) = (new_id(), new_id());
    sale.first_order(first).await?;
    eventually("the others are told to come back", async || Ok(is_put_off(&sale.order(new_id()).await?))).await?;
    let written = sale.house.written(sale.shop.tenant.uuid()).await?;
    for _ in 0..20 {
        let got = sale.order(late).await?;
        ensure!(is_put_off(&got) && got.json()["retry"] == "SAME_ID", "{}", got.json());
        let seconds: u32 = got.headers["retry-after"].to_str()?.parse()?;
        ensure!((1..=5).contains(&seconds), "{seconds}");
    }
    assert_eq!(sale.house.written(sale.shop.tenant.uuid()).await?, written, "nothing is stored");
    // Who has it gets her receipt, as often as she asks.
    let again = sale.order(first).await?;
    assert_eq!((again.status, &again.json()["receipt"]["replayed"]), (200, &json!(true)));

    let begun = Instant::now();
    sale.house.done(&sale.owner, "ReceiveStock", &json!({ "item": sale.shop.item, "units": 1 })).await?;
    eventually("there is one again", async || Ok(sale.order(late).await?.status == 200)).await?;
    assert!(begun.elapsed() < Duration::from_secs(4), "at once, and not when the mark has passed");
    sale.house.close().await;
    Ok(())
}

/// Two processes that serve and share what they have seen; the shop's owner orders at each of them.
struct TwoFronts {
    shop: Shop,
    fronts: [Client; 2],
}

impl TwoFronts {
    async fn order(&self, front: usize, order: Uuid, customer: Uuid) -> Result<(u16, Value)> {
        let body = self.shop.order(order, customer);
        once(&self.fronts[front], "PlaceOrder", order, &body).await.context("an order is answered")
    }

    /// Whether a new order is put off here.
    async fn puts_off(&self, front: usize) -> Result<bool> {
        let (status, answer) = self.order(front, new_id(), new_id()).await?;
        Ok(status == 503 && answer["code"] == "SOLD_OUT_FOR_NOW")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_is_told_the_same_by_all_processes_with_redis() -> Result<()> {
    let (server, url) = (RedisServer::start().await?, database().await);
    let (desk, pool) = (Desk::new(&url).await?, running::connect(&url).await?);
    let variables = [("CARTULARY_REDIS_URL", server.url.as_str()), ("CARTULARY_SOLD_OUT_HINT_MS", "5000")];
    let mut processes = Vec::new();
    for (role, name) in
        [("scribe", "scribe"), ("policies", "policies"), ("project", "project"), ("serve", "one"), ("serve", "two")]
    {
        processes.push(desk.start_role(role, name, &variables).await?);
    }
    let [.., one, two] = processes.as_slice() else { anyhow::bail!("five processes") };
    let (shop, owner) = desk.shop(one, &pool, 1).await?;
    let two = TwoFronts { shop, fronts: [owner, desk.owner(two, shop.tenant).await?] };

    let (first, customer) = (new_id(), new_id());
    eventually("the first one has it", async || Ok(two.order(0, first, customer).await?.0 == 200)).await?;
    eventually("both tell the others to come back", async || Ok(two.puts_off(0).await? && two.puts_off(1).await?))
        .await?;
    // Who has it gets her receipt also where nobody has seen her.
    let (status, again) = two.order(1, first, customer).await?;
    assert_eq!((status, &again["receipt"]["replayed"]), (200, &json!(true)), "{again}");

    // What stands behind an order in a request is not decided before it.
    let line = |name: &str, body: Value| json!({ "name": name, "id": new_id(), "body": body }).to_string();
    eventually("an order is put off", async || {
        let order = new_id();
        let cancel = json!({ "order": order, "customer": customer, "reason": "changed my mind" });
        let lines = [line("PlaceOrder", shop.order(order, customer)), line("CancelOrder", cancel)];
        let answers = two.fronts[1].batch(lines.join("\n")).await?;
        let is_put_off = |answer: &Value| answer["problem"]["code"] == "SOLD_OUT_FOR_NOW";
        ensure!(is_put_off(&answers[0]) == is_put_off(&answers[1]), "{answers:?}");
        Ok(is_put_off(&answers[0]))
    })
    .await?;

    two.fronts[0].do_it("ReceiveStock", new_id(), &json!({ "item": shop.item, "units": 2 })).await?;
    eventually("there is one again", async || Ok(two.order(1, new_id(), customer).await?.0 == 200)).await?;
    eventually("the mark is gone", async || Ok(server.keys(":gone:").await?.is_empty())).await?;
    for process in processes {
        process.stop().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_put_off_is_decided_truly_after_a_bounded_time() -> Result<()> {
    let server = RedisServer::start().await?;
    let sale = Sale::of_one_unit(Some(server.url.clone()), 500).await?;
    sale.first_order(new_id()).await?;
    let late = new_id();
    eventually("it is refused by the business in the end", async || {
        let got = sale.order(late).await?;
        ensure!(is_put_off(&got) || got.status == 409, "{}", got.json());
        Ok(got.status == 409 && got.json()["rejection"]["code"] == "OUT_OF_STOCK")
    })
    .await?;

    // A mark that somebody made up, or put back, keeps nobody away; neither does a Redis that is gone.
    let mark = eventually_marked(&sale, &server).await?;
    tokio::time::sleep(Duration::from_millis(600)).await;
    sale.house.done(&sale.owner, "ReceiveStock", &json!({ "item": sale.shop.item, "units": 10 })).await?;
    eventually("the mark is gone", async || Ok(server.keys(":gone:").await?.is_empty())).await?;
    for forged in [mark.1.as_slice(), b"sold out", &[0; 40]] {
        let client = redis::Client::open(server.url.as_str())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        redis::cmd("SET").arg(&mark.0).arg(forged).exec_async(&mut connection).await?;
        ensure!(sale.order(new_id()).await?.status == 200, "a forged mark kept somebody away");
    }
    server.kill().await?;
    ensure!(sale.order(new_id()).await?.status == 200, "nobody needs Redis to buy");
    sale.house.close().await;
    Ok(())
}

/// Waits until something is marked; its key and its value.
async fn eventually_marked(sale: &Sale, server: &RedisServer) -> Result<(String, Vec<u8>)> {
    let mut mark = None;
    eventually("it is marked", async || {
        sale.order(new_id()).await?;
        let Some(key) = server.keys(":gone:").await?.pop() else { return Ok(false) };
        mark = Some((key.clone(), server.run::<Option<Vec<u8>>>(&["GET", &key]).await?));
        Ok(mark.as_ref().is_some_and(|(_, value)| value.is_some()))
    })
    .await?;
    match mark {
        Some((key, Some(value))) => Ok((key, value)),
        _ => anyhow::bail!("no mark"),
    }
}
