//! Limits: what is counted, what is told, and that two processes count together while there is a Redis. Sockets too.

use anyhow::{Result, ensure};
use api::port::Caller;
use cartulary::cli::Bearer;
use cartulary::settings::Settings;
use domain::kernel::Actor;
use domain::shared::{CustomerId, Principal, Role, TenantId, Timestamp};
use edge::limits::{Limits, Quotas};
use platform::clock::new_id;
use serde_json::{Value, json};

use crate::house::{FrontDoor, Got, Sent};
use crate::process::Desk;
use crate::redis::{RedisServer, connected};
use crate::server::database;
use crate::shop::{Shop, eventually};
use crate::socket::Socket;

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

/// How many of these one caller gets from either process.
async fn granted(processes: &[&Limits], caller: &Caller, times: u32) -> u32 {
    let mut granted = 0;
    for process in processes.iter().cycle().take(times as usize) {
        granted += process.allow(caller, 1).await.granted;
    }
    granted
}

/// Of five at once, one more comes back every 2.4 seconds; a test that is slow sees one or two of them.
const QUOTAS: Quotas = Quotas { customer: 25, member: 0, tenant: 50 };

/// Whether two processes let somebody new through five times, and not five times each.
async fn count_together(processes: &[&Limits]) -> Result<bool> {
    let got = granted(processes, &customer(TenantId::new(new_id())), 20).await;
    ensure!(got >= 5, "somebody new is let through: {got}");
    Ok(got <= 7)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_count_together_and_each_for_itself_without_redis() -> Result<()> {
    let mut server = RedisServer::start().await?;
    let first = Limits::new(QUOTAS, Some(connected(&server.url).await?));
    let second = Limits::new(QUOTAS, Some(connected(&server.url).await?));
    let both = [&first, &second];
    eventually("they count together", async || count_together(&both).await).await?;

    let tenant = TenantId::new(new_id());
    let mut got = 0;
    for _ in 0..4 {
        got += granted(&both, &customer(tenant), 6).await;
    }
    assert!((10..=14).contains(&got), "ten for a tenant, whoever sends: {got}");
    assert!(granted(&both, &customer(TenantId::new(new_id())), 5).await >= 5, "and others are not touched");

    server.kill().await?;
    let got = granted(&both, &customer(TenantId::new(new_id())), 30).await;
    assert!((10..=14).contains(&got), "each process for itself: {got}");
    server.come_back().await?;
    eventually("they count together again", async || count_together(&both).await).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lies_under_the_keys_of_counts_locks_nobody_out() -> Result<()> {
    let server = RedisServer::start().await?;
    let limits = Limits::new(QUOTAS, Some(connected(&server.url).await?));
    for value in [Some("nan"), Some("inf"), Some("-1e300"), Some("five"), Some(""), None] {
        let ada = customer(TenantId::new(new_id()));
        eventually("it is counted in Redis", async || {
            limits.allow(&ada, 1).await;
            Ok(!server.keys(&format!(":limit:{}", ada.tenant)).await?.is_empty())
        })
        .await?;
        for key in server.keys(&format!(":limit:{}", ada.tenant)).await? {
            server.run::<()>(&["DEL", &key]).await?;
            match value {
                Some(value) => server.run::<()>(&["SET", &key, value]).await?,
                None => server.run::<()>(&["LPUSH", &key, "x"]).await?,
            }
        }
        // A count that is too high is a full one: it passes like any other.
        let spent = value == Some("inf");
        let got = granted(&[&limits], &ada, 10).await;
        assert!(if spent { got <= 5 } else { (2..=6).contains(&got) }, "{value:?}: {got}");
        if spent {
            eventually("it passes", async || Ok(limits.allow(&ada, 1).await.granted == 1)).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_caller_without_a_limit_is_not_counted() -> Result<()> {
    let limits = Limits::new(Quotas { customer: 1, member: 0, tenant: 0 }, None);
    let member = Caller { customer: None, roles: vec![Role::Owner], ..customer(TenantId::new(new_id())) };
    assert!(!limits.apply_to(&member));
    let allowance = limits.allow(&member, 1_000_000).await;
    assert_eq!((allowance.granted, allowance.status), (1_000_000, None));
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_customer_holds_so_many_sockets_however_it_says_who_it_is() -> Result<()> {
    let desk = Desk::new(&database().await).await?;
    let engine = desk.start_ready(&[]).await?;
    let tenant = TenantId::new(new_id());
    let (ada, eve) = (desk.customer_token(tenant, new_id(), 600)?, desk.customer_token(tenant, new_id(), 600)?);
    let mut sockets = Vec::new();
    for _ in 0..20 {
        sockets.push(Socket::open(&engine, &ada).await?);
    }
    let bearer = ("authorization", format!("Bearer {ada}"));
    assert_eq!(Socket::connect(&engine, &[bearer]).await?.err(), Some(429));
    let mut late = Socket::connect(&engine, &[]).await?.map_err(|status| anyhow::anyhow!("{status}"))?;
    let payload = json!({ "authorization": format!("Bearer {ada}") });
    late.say(json!({ "type": "connection_init", "payload": payload })).await?;
    assert_eq!(late.closed().await?, (1013, "too many sockets are open; try again later".into()));

    let _eves = Socket::open(&engine, &eve).await?;
    sockets.pop();
    eventually("a place is free again", async || Ok(Socket::open(&engine, &ada).await.is_ok())).await?;
    engine.stop().await
}
