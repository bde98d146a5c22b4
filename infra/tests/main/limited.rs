//! Limits: what is counted, what is told, and that two processes count together while there is a Redis.

use anyhow::{Result, ensure};
use api::auth::Caller;
use domain::kernel::Actor;
use domain::shared::{CustomerId, Principal, Role, TenantId};
use infra::cli::Bearer;
use infra::limits::{Limits, Quotas};
use infra::scribe::new_id;
use infra::settings::Settings;
use serde_json::{Value, json};

use crate::house::{FrontDoor, Got, Sent};
use crate::redis::{RedisServer, connected};
use crate::shop::{Shop, eventually};

fn customer(tenant: TenantId) -> Caller {
    let customer = CustomerId::new(new_id());
    Caller {
        tenant,
        principal: Principal::new(customer.uuid()),
        actor: Actor::Customer(customer),
        roles: vec![Role::Customer],
        customer: Some(customer),
    }
}

/// How many of these one caller gets from either process.
async fn granted(processes: &[&Limits], caller: &Caller, times: u32) -> u32 {
    let mut granted = 0;
    for process in processes.iter().cycle().take(times as usize) {
        granted += process.allow(caller, 1).await.granted;
    }
    granted
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_count_together_and_each_for_itself_without_redis() -> Result<()> {
    let mut server = RedisServer::start().await?;
    // A quota of which next to nothing comes back while the test runs.
    let quotas = Quotas { customer: 50, member: 0, tenant: 100 };
    let first = Limits::new(quotas, Some(connected(&server.url).await?));
    let second = Limits::new(quotas, Some(connected(&server.url).await?));
    let (tenant, both) = (TenantId::new(new_id()), [&first, &second]);
    let ada = customer(tenant);
    let got = granted(&both, &ada, 40).await;
    assert!((10..=11).contains(&got), "a fifth of 50 at once, from both processes: {got}");
    // The tenant's own count stands at half of its twenty by now; another tenant's is untouched.
    let got = granted(&both, &customer(tenant), 10).await + granted(&both, &customer(tenant), 10).await;
    assert!((10..=13).contains(&got), "twenty for a tenant: {got}");
    assert_eq!(granted(&both, &customer(TenantId::new(new_id())), 10).await, 10);

    // Foreign numbers, foreign types and nothing at all lock nobody out and open no second door in this process.
    for key in server.keys(":limit:").await? {
        server.run::<()>(&["SET", &key, "nan"]).await?;
    }
    assert!(granted(&[&first], &ada, 10).await <= 11);
    for key in server.keys(":limit:").await? {
        server.run::<()>(&["DEL", &key]).await?;
        server.run::<()>(&["LPUSH", &key, "x"]).await?;
    }
    let eve = customer(TenantId::new(new_id()));
    assert_eq!(granted(&both, &eve, 40).await, 10);

    server.kill().await?;
    let alone = customer(TenantId::new(new_id()));
    let got = granted(&both, &alone, 60).await;
    assert!((20..=23).contains(&got), "each process for itself: {got}");
    let got = granted(&both, &eve, 40).await;
    assert!(got <= 16, "what a process has seen it remembers: {got}");
    server.come_back().await?;
    eventually("processes count together again", async || {
        Ok(granted(&both, &customer(TenantId::new(new_id())), 40).await <= 11)
    })
    .await
}

#[tokio::test]
async fn a_caller_without_a_limit_is_not_counted() -> Result<()> {
    let limits = Limits::new(Quotas { customer: 1, member: 0, tenant: 0 }, None);
    let member = Caller { customer: None, roles: vec![Role::Owner], ..customer(TenantId::new(new_id())) };
    assert!(!limits.apply_to(&member));
    let allowance = limits.allow(&member, 1_000_000).await;
    assert_eq!((allowance.granted, allowance.standing), (1_000_000, None));
    Ok(())
}

fn header<'a>(got: &'a Got, name: &str) -> &'a str {
    got.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// A shop at a front door that takes two commands at once from a customer, and one more every three seconds.
async fn front() -> Result<(FrontDoor, Shop, String)> {
    let settings = Settings { customer_commands_per_minute: 10, ..Settings::default() };
    let house = FrontDoor::open_with(settings).await?;
    let (tenant, _) = house.tenant().await?;
    let (shop, owner) = (Shop::new(tenant), house.token(&Bearer::of(tenant, Role::Owner))?);
    for (name, body) in shop.putting_on_sale(1_000) {
        house.done(&owner, name, &body).await?;
    }
    Ok((house, shop, owner))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_too_many_is_put_off_and_leaves_no_trace() -> Result<()> {
    let (house, shop, owner) = front().await?;
    let ada = new_id();
    let token = house.token(&Bearer::customer(shop.tenant, CustomerId::new(ada)))?;
    let mut last = None;
    for left in ["r=1", "r=0"] {
        let got = house.command(&token, "PlaceOrder", new_id(), &shop.order(new_id(), ada)).await?;
        ensure!(got.status == 200, "{}", got.json());
        assert_eq!(header(&got, "ratelimit-policy"), "\"customer\";q=10;w=60");
        assert!(header(&got, "ratelimit").contains(left), "{}", header(&got, "ratelimit"));
    }
    let (key, order) = (new_id(), shop.order(new_id(), ada));
    let written = house.written(shop.tenant.uuid()).await?;
    for _ in 0..3 {
        last = Some(house.command(&token, "PlaceOrder", key, &order).await?);
    }
    let got = last.expect("three");
    assert_eq!((got.status, &got.json()["code"], &got.json()["retry"]), (429, &json!("THROTTLED"), &json!("SAME_ID")));
    assert!((1..=6).contains(&header(&got, "retry-after").parse::<u64>()?), "{:?}", got.headers);
    assert_eq!(house.written(shop.tenant.uuid()).await?, written);

    // Others are not touched, and the same id is decided when its time has come.
    let eve = new_id();
    let other = house.token(&Bearer::customer(shop.tenant, CustomerId::new(eve)))?;
    let got = house.command(&other, "PlaceOrder", new_id(), &shop.order(new_id(), eve)).await?;
    assert_eq!(got.status, 200);
    for _ in 0..20 {
        house.done(&owner, "ReceiveStock", &json!({ "item": shop.item, "units": 1 })).await?;
    }
    eventually("it is decided", async || {
        let got = house.command(&token, "PlaceOrder", key, &order).await?;
        Ok(got.status == 200 && got.json()["receipt"]["replayed"] == false)
    })
    .await?;
    house.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_count_one_by_one_within_a_batch_and_within_a_document() -> Result<()> {
    let (house, shop, _) = front().await?;
    let token = |customer| house.token(&Bearer::customer(shop.tenant, CustomerId::new(customer)));
    let ada = new_id();
    let line = |_| json!({ "name": "PlaceOrder", "body": shop.order(new_id(), ada) }).to_string();
    let lines: Vec<String> = (0..1_000).map(line).collect();
    let batch = Sent::post("/v1/commands", &token(ada)?, "application/x-ndjson", lines.join("\n"));
    let got = house.send(&batch).await?;
    let answers = got.lines()?;
    let accepted = answers.iter().take_while(|answer| answer["outcome"] == "accepted").count();
    assert!(answers.len() == 1_000 && accepted == 2, "{accepted} of {}", answers.len());
    assert!(answers[2..].iter().all(|answer| answer["problem"]["code"] == "THROTTLED"));
    assert_eq!(house.send(&batch).await?.status, 429);

    let eve = new_id();
    let mutation = |name: &str| {
        let order = shop.order(new_id(), eve);
        let (store, product) = (&order["store"], &order["lines"][0]["product"]);
        format!(
            "{name}: placeOrder(input: {{ order: {}, customer: {}, store: {store}, \
             lines: [{{ product: {product}, quantity: 1 }}] }}) {{ receipt {{ token }} }} ",
            order["order"], order["customer"]
        )
    };
    let document = format!("mutation {{ {}{}{}}}", mutation("a"), mutation("b"), mutation("c"));
    let body = json!({ "query": document }).to_string();
    let answer = house.send(&Sent::post("/graphql", &token(eve)?, "application/json", body)).await?.json();
    assert!(answer["data"]["a"]["receipt"].is_object() && answer["data"]["b"]["receipt"].is_object(), "{answer}");
    assert_eq!(answer["data"]["c"], Value::Null, "{answer}");
    let extensions = &answer["errors"][0]["extensions"];
    assert_eq!((&extensions["code"], &extensions["retry"]), (&json!("THROTTLED"), &json!("SAME_ID")));
    assert!(extensions["retryAfter"].as_u64().is_some_and(|seconds| seconds >= 1));
    house.close().await;
    Ok(())
}
