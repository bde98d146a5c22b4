//! Rate limits of commands and sockets, in one process and in two that count together through Redis.
//!
//! A quota refills while a test runs, so each upper bound is the burst plus the number of commands that can have been
//! refilled since the test began to count.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use api::port::Caller;
use cartulary::cli::Bearer;
use cartulary::settings::Settings;
use domain::kernel::Actor;
use domain::shared::{CustomerId, Principal, Role, TenantId, Timestamp};
use edge::rate_limiter::{Quotas, RateLimiter};
use lab::harness::{Engine, HttpRequest, HttpResponse, RedisServer, Shop, Socket, connect_redis, eventually};
use platform::clock::new_id;
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

/// Commands per minute; a fifth of them are admitted at once (the burst).
const QUOTAS: Quotas = Quotas { customer: 25, member: 0, tenant: 50 };
/// Burst of `QUOTAS.customer`.
const CUSTOMER_BURST: u32 = 5;
/// Burst of `QUOTAS.tenant`.
const TENANT_BURST: u32 = 10;

fn customer(tenant: TenantId) -> Caller {
    let customer = CustomerId::new(new_id());
    Caller {
        tenant,
        principal: Principal::new(customer.uuid()),
        actor: Actor::Customer(customer),
        roles: vec![Role::Customer],
        customer: Some(customer),
        until: Timestamp::from_micros(i64::MAX),
    }
}

/// Number of commands by which a quota per minute refills in a time, rounded up.
fn refilled(quota: u32, elapsed: Duration) -> u32 {
    (f64::from(quota) * elapsed.as_secs_f64() / 60.0).ceil() as u32
}

/// Counts the commands that one caller is granted when it asks these processes in turn.
async fn granted(processes: &[&RateLimiter], caller: &Caller, times: u32) -> u32 {
    let mut granted = 0;
    for process in processes.iter().cycle().take(times as usize) {
        granted += process.allow(caller, 1).await.granted;
    }
    granted
}

/// Checks that two processes grant a new caller one burst, and not one each.
async fn count_together(processes: &[&RateLimiter]) -> Result<bool> {
    let begun = Instant::now();
    let got = granted(processes, &customer(TenantId::new(new_id())), 20).await;
    ensure!(got >= CUSTOMER_BURST, "a new caller is granted only {got}");
    Ok(got <= CUSTOMER_BURST + refilled(QUOTAS.customer, begun.elapsed()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_count_together_with_redis_and_apart_without_it() -> Result<()> {
    let mut server = RedisServer::start().await?;
    let first = RateLimiter::new(QUOTAS, Some(connect_redis(&server.url).await?));
    let second = RateLimiter::new(QUOTAS, Some(connect_redis(&server.url).await?));
    let both = [&first, &second];
    eventually("they count together", async || count_together(&both).await).await?;

    eventually("a tenant is granted one burst, by whichever customer", async || {
        let (tenant, begun, mut got) = (TenantId::new(new_id()), Instant::now(), 0);
        for _ in 0..4 {
            got += granted(&both, &customer(tenant), 6).await;
        }
        ensure!(got >= TENANT_BURST, "a new tenant is granted only {got}");
        Ok(got <= TENANT_BURST + refilled(QUOTAS.tenant, begun.elapsed()))
    })
    .await?;
    let other = granted(&both, &customer(TenantId::new(new_id())), CUSTOMER_BURST).await;
    assert_eq!(other, CUSTOMER_BURST, "another tenant has a quota of its own");

    server.kill().await?;
    let begun = Instant::now();
    let got = granted(&both, &customer(TenantId::new(new_id())), 30).await;
    let most = 2 * (CUSTOMER_BURST + refilled(QUOTAS.customer, begun.elapsed()));
    assert!((2 * CUSTOMER_BURST..=most).contains(&got), "each process grants a burst of its own: {got} of {most}");
    server.restart().await?;
    eventually("they count together again", async || count_together(&both).await).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_values_under_the_keys_of_counts_lock_no_caller_out() -> Result<()> {
    let server = RedisServer::start().await?;
    let limits = RateLimiter::new(QUOTAS, Some(connect_redis(&server.url).await?));
    for value in [Some("nan"), Some("inf"), Some("-1e300"), Some("five"), Some(""), None] {
        let ada = customer(TenantId::new(new_id()));
        eventually("it is counted in Redis", async || {
            limits.allow(&ada, 1).await;
            Ok(!server.keys(&format!(":limit:{}", ada.tenant)).await?.is_empty())
        })
        .await?;
        let begun = Instant::now();
        for key in server.keys(&format!(":limit:{}", ada.tenant)).await? {
            server.run::<()>(&["DEL", &key]).await?;
            match value {
                Some(value) => server.run::<()>(&["SET", &key, value]).await?,
                None => server.run::<()>(&["LPUSH", &key, "x"]).await?,
            }
        }
        let got = granted(&[&limits], &ada, 10).await;
        let most = CUSTOMER_BURST + refilled(QUOTAS.customer, begun.elapsed());
        assert!(got <= most, "{value:?}: {got} of {most}");
        if value == Some("inf") {
            // A count that is too high is a full one, which drains like any other.
            eventually("it drains", async || Ok(limits.allow(&ada, 1).await.granted == 1)).await?;
        } else {
            assert!(got >= 2, "{value:?}: {got}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn caller_without_a_quota_is_not_counted() -> Result<()> {
    let limits = RateLimiter::new(Quotas { customer: 1, member: 0, tenant: 0 }, None);
    let member = Caller { customer: None, roles: vec![Role::Owner], ..customer(TenantId::new(new_id())) };
    assert!(!limits.applies_to(&member));
    let allowance = limits.allow(&member, 1_000_000).await;
    assert_eq!((allowance.granted, allowance.status), (1_000_000, None));
    Ok(())
}

fn header<'a>(response: &'a HttpResponse, name: &str) -> &'a str {
    response.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Commands per minute of a customer in the tests below: two at once.
const PER_MINUTE: u32 = 10;
const BURST: u32 = 2;

/// An engine with a shop, and a token of its owner, who has no quota.
async fn limited_engine() -> Result<(Engine, Shop, String)> {
    let settings = Settings { customer_commands_per_minute: PER_MINUTE, ..Settings::default() };
    let engine = Engine::start_with(settings).await?;
    let (tenant, _) = engine.tenant().await?;
    let (shop, owner) = (Shop::new(tenant), engine.token(&Bearer::of(tenant, Role::Owner))?);
    for (name, body) in shop.setup_commands(1_000) {
        engine.execute(&owner, name, &body).await?;
    }
    Ok((engine, shop, owner))
}

/// Places orders until one is throttled. Returns its command id, its body, the response, and the size of the log before
/// it.
async fn first_throttled(
    engine: &Engine,
    shop: &Shop,
    token: &str,
    customer: Uuid,
) -> Result<(Uuid, Value, HttpResponse, (i64, i64))> {
    for _ in 0..50 {
        let (key, order) = (new_id(), shop.order(new_id(), customer));
        let written = engine.written(shop.tenant.uuid()).await?;
        let response = engine.command(token, "PlaceOrder", key, &order).await?;
        if response.status == 429 {
            return Ok((key, order, response, written));
        }
        ensure!(response.status == 200, "{}", response.json());
    }
    anyhow::bail!("no order of fifty in a row is throttled")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throttled_command_leaves_no_trace_and_is_decided_under_the_same_id_later() -> Result<()> {
    let (engine, shop, owner) = limited_engine().await?;
    let ada = new_id();
    let token = engine.token(&Bearer::customer(shop.tenant, CustomerId::new(ada)))?;
    let begun = Instant::now();
    for left in (0..BURST).rev() {
        let response = engine.command(&token, "PlaceOrder", new_id(), &shop.order(new_id(), ada)).await?;
        ensure!(response.status == 200, "{}", response.json());
        assert_eq!(header(&response, "ratelimit-policy"), "\"customer\";q=10;w=60");
        let remaining = header(&response, "ratelimit").split(';').find_map(|part| part.trim().strip_prefix("r="));
        let remaining: u32 = remaining.context("the remaining commands")?.parse()?;
        let most = left + refilled(PER_MINUTE, begun.elapsed());
        assert!((left..=most).contains(&remaining), "{remaining} are left, not {left} to {most}");
    }
    let (key, order, response, written) = first_throttled(&engine, &shop, &token, ada).await?;
    let problem = response.json();
    assert_eq!((&problem["code"], &problem["retry"]), (&json!("THROTTLED"), &json!("SAME_ID")));
    assert!((1..=6).contains(&header(&response, "retry-after").parse::<u64>()?), "{:?}", response.headers);
    assert_eq!(engine.written(shop.tenant.uuid()).await?, written);

    // Other customers have quotas of their own, and the owner has none.
    let eve = new_id();
    let other = engine.token(&Bearer::customer(shop.tenant, CustomerId::new(eve)))?;
    let response = engine.command(&other, "PlaceOrder", new_id(), &shop.order(new_id(), eve)).await?;
    assert_eq!(response.status, 200);
    for _ in 0..20 {
        engine.execute(&owner, "ReceiveStock", &json!({ "item": shop.item, "units": 1 })).await?;
    }
    eventually("it is decided", async || {
        let response = engine.command(&token, "PlaceOrder", key, &order).await?;
        Ok(response.status == 200 && response.json()["receipt"]["replayed"] == false)
    })
    .await?;
    engine.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_command_of_a_batch_and_of_a_document_counts() -> Result<()> {
    let (engine, shop, _) = limited_engine().await?;
    let token = |customer| engine.token(&Bearer::customer(shop.tenant, CustomerId::new(customer)));
    let ada = new_id();
    let line = |_| json!({ "name": "PlaceOrder", "body": shop.order(new_id(), ada) }).to_string();
    let lines: Vec<String> = (0..1_000).map(line).collect();
    let batch = HttpRequest::post("/v1/commands", &token(ada)?, "application/x-ndjson", lines.join("\n"));
    let begun = Instant::now();
    let response = engine.send(&batch).await?;
    let answers = response.lines()?;
    let accepted = answers.iter().take_while(|answer| answer["outcome"] == "accepted").count();
    let most = BURST + refilled(PER_MINUTE, begun.elapsed());
    assert!(answers.len() == 1_000 && accepted >= BURST as usize && accepted <= most as usize, "{accepted} of {most}");
    assert!(answers[accepted..].iter().all(|answer| answer["problem"]["code"] == "THROTTLED"));
    eventually("a batch is throttled as a whole", async || Ok(engine.send(&batch).await?.status == 429)).await?;

    let document = |customer: Uuid| {
        let mutation = |name: &str| {
            let order = shop.order(new_id(), customer);
            let (store, product) = (&order["store"], &order["lines"][0]["product"]);
            format!(
                "{name}: placeOrder(input: {{ order: {}, customer: {}, store: {store}, \
                 lines: [{{ product: {product}, quantity: 1 }}] }}) {{ receipt {{ token }} }} ",
                order["order"], order["customer"]
            )
        };
        json!({ "query": format!("mutation {{ {}{}{}}}", mutation("a"), mutation("b"), mutation("c")) }).to_string()
    };
    eventually("the third mutation of a new customer is throttled", async || {
        let eve = new_id();
        let request = HttpRequest::post("/graphql", &token(eve)?, "application/json", document(eve));
        let answer = engine.send(&request).await?.json();
        ensure!(answer["data"]["a"]["receipt"].is_object() && answer["data"]["b"]["receipt"].is_object(), "{answer}");
        if answer["data"]["c"] != Value::Null {
            return Ok(false);
        }
        let extensions = &answer["errors"][0]["extensions"];
        ensure!((&extensions["code"], &extensions["retry"]) == (&json!("THROTTLED"), &json!("SAME_ID")), "{answer}");
        Ok(extensions["retryAfter"].as_u64().is_some_and(|seconds| seconds >= 1))
    })
    .await?;
    engine.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_sockets_of_a_customer_are_limited_however_it_sends_its_token() -> Result<()> {
    let engine = Engine::start().await?;
    let tenant = TenantId::new(new_id());
    let token = || engine.token(&Bearer::customer(tenant, CustomerId::new(new_id())));
    let (url, ada, eve) = (engine.url(), token()?, token()?);
    let mut sockets = Vec::new();
    for _ in 0..20 {
        sockets.push(Socket::open(&url, &ada).await?);
    }
    let bearer = ("authorization", format!("Bearer {ada}"));
    assert_eq!(Socket::connect(&url, &[bearer]).await?.err(), Some(429));
    let mut late = Socket::connect(&url, &[]).await?.map_err(|status| anyhow::anyhow!("{status}"))?;
    let payload = json!({ "authorization": format!("Bearer {ada}") });
    late.send_json(json!({ "type": "connection_init", "payload": payload })).await?;
    assert_eq!(late.closed().await?, (1013, "too many sockets are open; try again later".into()));

    let other = Socket::open(&url, &eve).await?;
    sockets.pop();
    eventually("a socket may be opened again", async || Ok(Socket::open(&url, &ada).await.is_ok())).await?;
    drop((other, sockets));
    engine.close().await;
    Ok(())
}
