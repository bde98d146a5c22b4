//! Subscriptions on the real server: what is there, what changes, and what becomes of readers that misbehave.
//!
//! proves: INV-11

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cartulary::running;
use lab::demo::client::Client;
use lab::fleet::Member;
use platform::clock::new_id;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

use crate::process::Desk;
use crate::redis::RedisServer;
use crate::server::database;
use crate::shop::{Shop, eventually};
use crate::socket::{Events, Socket};

/// Readers of one counter in one test; the bench has a thousand.
const READERS: usize = 100;
/// Readers who come back in the same moment.
const RESUMES: usize = 40;
/// A customer's token counts so long that no test outlives it.
const LONG_S: i64 = 600;

/// A server with every role, and a shop.
struct Scene {
    desk: Desk,
    engine: Member,
    shop: Shop,
    owner: Client,
    token: String,
}

impl Scene {
    async fn open(units: i64) -> Result<Self> {
        let url = database().await;
        let (desk, pool) = (Desk::new(&url).await?, running::connect(&url).await?);
        let engine = desk.start_ready(&[("CARTULARY_INTROSPECTION", "true")]).await?;
        let (shop, owner) = desk.shop(&engine, &pool, units).await?;
        let token = desk.owner_token(shop.tenant).await?;
        Ok(Self { desk, engine, shop, owner, token })
    }

    async fn done(&self, name: &str, body: Value) -> Result<Value> {
        self.owner.do_it(name, new_id(), &body).await
    }

    fn level(&self, more: &str) -> String {
        let item = self.shop.item;
        format!("subscription {{ stockLevel(stockItem: \"{item}\"{more}) {{ row {{ available }} position }} }}")
    }

    async fn subscriptions(&self) -> Result<u64> {
        figure(&self.engine, "cartulary_live_subscriptions").await
    }
}

/// What a figure of a process stands at.
async fn figure(engine: &Member, name: &str) -> Result<u64> {
    let page = engine.get("/metrics").await?.1;
    let mut lines = page.lines().filter_map(|line| line.strip_prefix(name));
    Ok(lines.find_map(|line| line.trim().parse::<f64>().ok()).map_or(0, |value| value as u64))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_see_what_is_there_then_what_changes_and_only_what_is_theirs() -> Result<()> {
    let scene = Scene::open(1_000).await?;
    counter(&scene).await?;
    filter(&scene).await?;
    customers_own(&scene).await?;
    events(&scene).await?;
    eventually("nobody watches", async || Ok(scene.subscriptions().await? == 0)).await?;

    let mut last = Socket::open(&scene.engine, &scene.token).await?;
    last.subscribe("1", &scene.level("")).await?;
    last.update("1").await?;
    let (begun, stopped) = (Instant::now(), scene.engine.stop());
    let (closed, stopped) = tokio::join!(last.closed(), stopped);
    assert_eq!(closed?, (1001, "the process is shutting down".into()));
    stopped?;
    ensure!(begun.elapsed() < Duration::from_secs(10), "sockets do not keep a process from stopping");
    Ok(())
}

/// Many readers of one counter see its last value; one that comes back sees nothing older than it saw.
async fn counter(scene: &Scene) -> Result<()> {
    let mut readers = Vec::new();
    for _ in 0..READERS {
        let mut socket = Socket::open(&scene.engine, &scene.token).await?;
        socket.subscribe("counter", &scene.level("")).await?;
        socket.update_with("counter", "/row/available", json!(1_000)).await?;
        readers.push(socket);
    }
    for _ in 0..20 {
        scene.done("ReserveStock", scene.shop.reservation(new_id())).await?;
    }
    let begun = Instant::now();
    let mut positions = Vec::new();
    for socket in &mut readers {
        let update = socket.update_with("counter", "/row/available", json!(980)).await?;
        positions.push(update["position"].as_str().context("a token")?.to_owned());
    }
    ensure!(begun.elapsed() < Duration::from_secs(2), "the last value took {:?}", begun.elapsed());

    drop(readers);
    let mut back = Socket::open(&scene.engine, &scene.token).await?;
    // Her own receipt shows her her own change, whether the projector was faster than she or not.
    for left in (970..980).rev() {
        let answer = scene.done("ReserveStock", scene.shop.reservation(new_id())).await?;
        let token = answer["receipt"]["token"].as_str().context("a receipt has a token")?;
        let id = format!("own {left}");
        back.subscribe(&id, &scene.level(&format!(", minPosition: \"{token}\""))).await?;
        assert_eq!(back.update(&id).await?["row"]["available"], left);
    }
    back.subscribe("seen", &scene.level(&format!(", minPosition: \"{}\"", positions[0]))).await?;
    assert_eq!(back.update("seen").await?["row"]["available"], 970);
    // Nobody has that yet, so nobody may be told less.
    back.subscribe("future", &scene.level(", minPosition: \"AQAAAAAAD0JAAAAAAAAAAAE\"")).await?;
    let refused = back.told("future").await?;
    assert_eq!(refused["type"], "error", "{refused}");
    assert_eq!(refused["payload"][0]["extensions"]["code"], "OTHER_HISTORY", "{refused}");
    Ok(())
}

/// Rows come and go with what they are; what changed while a reader was away is told when it comes back.
async fn filter(scene: &Scene) -> Result<()> {
    let query = |more: &str| {
        format!(
            "subscription {{ reservations({more}) {{ rows {{ reservation status }} gone {{ reservation }} more position }} }}"
        )
    };
    let ours = new_id();
    let mut socket = Socket::open(&scene.engine, &scene.token).await?;
    socket.subscribe("held", &query("filter: { status: { eq: \"held\" } }, first: 2")).await?;
    let first = socket.update("held").await?;
    assert_eq!((first["rows"].as_array().map(Vec::len), &first["more"]), (Some(2), &json!(true)), "{first}");
    scene.done("ReserveStock", scene.shop.reservation(ours)).await?;
    let shown = socket.update_with("held", "/rows/0/reservation", json!(ours)).await?;
    assert_eq!(shown["more"], false);
    let position = shown["position"].as_str().context("a token")?;

    let release = json!({ "item": scene.shop.item, "reservation": ours });
    let mut other = Socket::open(&scene.engine, &scene.token).await?;
    let any = "filter: { status: { in: [\"held\", \"released\"] } }, first: 1";
    let held = "filter: { status: { eq: \"held\" } }, first: 1";
    let since = |what: &str| query(&format!("{what}, minPosition: \"{position}\""));
    scene.done("ReleaseReservation", release).await?;
    socket.update_with("held", "/gone", json!([{ "reservation": ours }])).await?;
    other.subscribe("back", &since(any)).await?;
    let back = other.update("back").await?;
    let rows = back["rows"].as_array().context("rows")?;
    ensure!(rows.contains(&json!({ "reservation": ours, "status": "released" })), "told when it comes back: {back}");
    ensure!(rows.len() <= 2 && back["more"] == true, "and nothing that did not change: {back}");
    other.subscribe("held", &since(held)).await?;
    let back = other.update("held").await?;
    assert_eq!(back["gone"], json!([{ "reservation": ours }]), "what does not fit any more is told too");
    for (id, what) in [("new to any", any), ("new to held", held)] {
        other.subscribe(id, &query(what)).await?;
        let new = other.update(id).await?;
        assert_eq!((new["rows"].as_array().map(Vec::len), &new["gone"]), (Some(1), &json!([])), "{new}");
        ensure!(new["rows"][0]["reservation"] != json!(ours), "who was never there is told one page: {new}");
    }

    // All at once, many more than the process has connections.
    let mut crowd = Socket::open(&scene.engine, &scene.token).await?;
    for number in 0..RESUMES {
        crowd.subscribe(&number.to_string(), &since(held)).await?;
    }
    for _ in 0..RESUMES {
        let told = crowd.hear().await?;
        let gone = told.pointer("/payload/data/reservations/gone");
        assert_eq!(gone, Some(&json!([{ "reservation": ours }])), "{told}");
    }
    Ok(())
}

/// Customers see their own rows, with their own names in them, until their token has expired.
async fn customers_own(scene: &Scene) -> Result<()> {
    let (ada, order) = (new_id(), new_id());
    let person = json!({ "customer": ada, "name": "Ada", "email": "ada@example.org", "phone": null });
    scene.done("SetEarningRules", json!({ "purchase": { "points": 3, "per_minor": 100 }, "signup": 50 })).await?;
    scene.done("EnableProgram", json!({})).await?;
    scene.done("RegisterCustomer", person).await?;
    let mut own = Socket::open(&scene.engine, &scene.desk.customer_token(scene.shop.tenant, ada, LONG_S)?).await?;
    let orders = "subscription { orders { rows { order status } gone { order } position } }";
    own.subscribe("orders", orders).await?;
    own.update("orders").await?;
    own.subscribe("points", &format!("subscription {{ pointsBalance(customer: \"{ada}\") {{ row {{ balance }} }} }}"))
        .await?;
    own.update("points").await?;
    own.subscribe("self", &format!("subscription {{ customer(customer: \"{ada}\") {{ row {{ name }} }} }}")).await?;
    own.update_with("self", "/row/name", json!("Ada")).await?;
    scene.done("PlaceOrder", scene.shop.order(new_id(), new_id())).await?;
    scene.done("PlaceOrder", scene.shop.order(order, ada)).await?;
    assert_eq!(own.update("orders").await?["rows"], json!([{ "order": order, "status": "pending" }]));
    scene.done("RecordPayment", scene.shop.payment(order)).await?;
    scene.done("AcceptOrder", json!({ "order": order })).await?;
    own.update_with("orders", "/rows/0/status", json!("processing")).await?;
    scene.done("AdjustPoints", json!({ "customer": ada, "change": 7, "reason": "sorry" })).await?;
    own.update_with("points", "/row/balance", json!(84)).await?;

    for (id, query, code) in [
        ("levels", "subscription { stockLevels { position } }", "FORBIDDEN"),
        ("way", "subscription { orders { rows { customer { name } } } }", "INVALID_ARGUMENT"),
    ] {
        own.subscribe(id, query).await?;
        let refused = own.told(id).await?;
        assert_eq!(refused["type"], "error", "{refused}");
        assert_eq!(refused["payload"][0]["extensions"]["code"], code, "{refused}");
    }
    let brief = scene.desk.customer_token(scene.shop.tenant, ada, -3)?;
    let mut expiring = Socket::open(&scene.engine, &brief).await?;
    expiring.subscribe("orders", orders).await?;
    expiring.update("orders").await?;
    assert_eq!(expiring.closed().await?, (4403, "the token has expired".into()));
    Ok(())
}

/// The same over plain HTTP.
async fn events(scene: &Scene) -> Result<()> {
    let mut events = Events::open(&scene.engine, &scene.token, &scene.level("")).await?;
    let first = events.next().await?;
    ensure!(first.starts_with("event: next\ndata: {\"data\":{\"stockLevel\":{"), "{first}");
    scene.done("ReserveStock", scene.shop.reservation(new_id())).await?;
    let available = |event: &str| {
        let data = event.split_once("data: ").and_then(|(_, data)| serde_json::from_str::<Value>(data).ok());
        data.and_then(|data| data["data"]["stockLevel"]["row"]["available"].as_i64())
    };
    let before = available(&first).context("a row")?;
    let second = events.next().await?;
    assert_eq!(available(&second), Some(before - 1), "{second}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_breaks_the_protocol_is_told_how_and_nobody_else_notices() -> Result<()> {
    let scene = Scene::open(100).await?;
    let mut witness = Socket::open(&scene.engine, &scene.token).await?;
    witness.subscribe("1", &scene.level("")).await?;
    witness.update("1").await?;

    refused_at_the_door(&scene).await?;
    closed_with_a_code(&scene).await?;
    told_and_kept(&scene).await?;
    dropped_for_being_slow(&scene).await?;

    scene.done("ReserveStock", scene.shop.reservation(new_id())).await?;
    witness.update_with("1", "/row/available", json!(99)).await?;
    eventually("only the witness watches", async || Ok(scene.subscriptions().await? == 1)).await?;
    scene.engine.stop().await
}

async fn refused_at_the_door(scene: &Scene) -> Result<()> {
    let bearer = format!("Bearer {}", scene.token);
    for (headers, status) in [
        (vec![("origin", "https://evil.example".to_owned())], 403),
        (vec![("origin", "null".to_owned())], 403),
        (vec![("authorization", "Bearer forged".to_owned())], 401),
        (vec![("sec-websocket-protocol", "graphql-ws".to_owned())], 400),
        (vec![("authorization", bearer.clone()), ("sec-websocket-version", "12".to_owned())], 400),
    ] {
        let refused = Socket::connect(&scene.engine, &headers).await?.err();
        assert_eq!(refused, Some(status), "{headers:?}");
    }
    let here = scene.engine.url.clone();
    let welcome = Socket::connect(&scene.engine, &[("authorization", bearer), ("origin", here)]).await?;
    let mut socket = welcome.ok().context("a page of this host")?;
    socket.say(json!({ "type": "connection_init" })).await?;
    assert_eq!(socket.hear().await?["type"], "connection_ack");
    Ok(())
}

async fn closed_with_a_code(scene: &Scene) -> Result<()> {
    let init = json!({ "type": "connection_init", "payload": { "Authorization": format!("Bearer {}", scene.token) } });
    let subscribe = |query: &str| json!({ "id": "1", "type": "subscribe", "payload": { "query": query } });
    let level = subscribe(&scene.level(""));
    let text = |value: &Value| Message::text(value.to_string());
    let forged = json!({ "type": "connection_init", "payload": { "authorization": "Bearer forged" } });
    let expired = scene.desk.customer_token(scene.shop.tenant, Uuid::from_u128(1), -60)?;
    let expired = json!({ "type": "connection_init", "payload": { "authorization": format!("Bearer {expired}") } });
    for (messages, code) in [
        (vec![], 4408),
        (vec![text(&level)], 4401),
        (vec![text(&json!({ "type": "connection_init" }))], 4403),
        (vec![text(&forged)], 4403),
        (vec![text(&expired)], 4403),
        (vec![text(&init), text(&init)], 4429),
        (vec![text(&init), text(&level), text(&level)], 4409),
        (vec![text(&init), text(&json!({ "type": "start" }))], 4400),
        (vec![text(&init), Message::text("{")], 4400),
        (vec![text(&init), text(&json!({ "id": "", "type": "complete" }))], 4400),
        (vec![text(&init), text(&json!({ "id": "1", "type": "subscribe", "payload": {} }))], 4400),
        (vec![text(&init), Message::binary(vec![1, 2, 3])], 4400),
        (vec![Message::text("x".repeat(70_000))], 1009),
    ] {
        let mut socket = Socket::connect(&scene.engine, &[]).await?.ok().context("it is opened")?;
        for message in &messages {
            // It may be closed before everything was said.
            socket.send(message.clone()).await.ok();
        }
        assert_eq!(socket.closed().await?.0, code, "{messages:?}");
    }
    Ok(())
}

/// What is wrong with one subscription costs nothing but that one.
async fn told_and_kept(scene: &Scene) -> Result<()> {
    let mut socket = Socket::open(&scene.engine, &scene.token).await?;
    socket.say(json!({ "type": "ping" })).await?;
    assert_eq!(socket.hear().await?, json!({ "type": "pong" }));
    for (query, code) in [
        ("{ stockLevels { edges { cursor } } }", "NOT_A_SUBSCRIPTION"),
        ("subscription { nothing }", "INVALID_QUERY"),
        ("subscription {", "SYNTAX"),
        ("subscription { stockLevel(stockItem: \"7\") { position } }", "INVALID_QUERY"),
        ("subscription { stockLevels(minPosition: \"7\") { position } }", "INVALID_ARGUMENT"),
        ("subscription { stockLevels(first: 0) { position } }", "INVALID_ARGUMENT"),
        (&format!("subscription {}", "{a".repeat(40)), "TOO_DEEP"),
    ] {
        socket.subscribe("bad", query).await?;
        let refused = socket.hear().await?;
        assert_eq!((&refused["id"], &refused["type"]), (&json!("bad"), &json!("error")), "{query}: {refused}");
        assert_eq!(refused["payload"][0]["extensions"]["code"], code, "{query}: {refused}");
    }
    for number in 0..100 {
        socket.subscribe(&number.to_string(), &scene.level("")).await?;
        socket.update(&number.to_string()).await?;
    }
    socket.subscribe("100", &scene.level("")).await?;
    let refused = socket.hear().await?;
    assert_eq!(refused["payload"][0]["extensions"]["code"], "TOO_MANY_SUBSCRIPTIONS", "{refused}");
    socket.say(json!({ "id": "0", "type": "complete" })).await?;
    socket.subscribe("0", &scene.level("")).await?;
    socket.update("0").await?;
    Ok(())
}

/// A reader that takes nothing is sent away, and what was kept for it with it.
async fn dropped_for_being_slow(scene: &Scene) -> Result<()> {
    eventually("only the witness watches", async || Ok(scene.subscriptions().await? == 1)).await?;
    let mut slow = Socket::open_narrow(&scene.engine, &scene.token).await?;
    let aliases: String = (0..15).map(|number| format!("a{number}: description ")).collect();
    let product = scene.shop.product;
    slow.subscribe("1", &format!("subscription {{ product(product: \"{product}\") {{ row {{ {aliases} }} }} }}"))
        .await?;
    slow.update("1").await?;
    let begun = Instant::now();
    let mut number = 0;
    while scene.subscriptions().await? > 1 {
        ensure!(begun.elapsed() < Duration::from_secs(40), "a slow reader is never sent away");
        number += 1;
        let description = format!("{number}{}", "x".repeat(4_900));
        scene.done("ReviseProduct", json!({ "product": product, "name": "Mug", "description": description })).await?;
        // Faster than the clock of whoever keeps the socket, and slower than a flood.
        sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(slow.closed().await?, (1008, "the client did not read its messages in time".into()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_reach_other_processes_with_redis_without_it_and_when_it_dies() -> Result<()> {
    let redis = RedisServer::start().await?;
    let url = database().await;
    let (desk, pool) = (Desk::new(&url).await?, running::connect(&url).await?);
    let with = [("CARTULARY_REDIS_URL", redis.url.as_str()), ("CARTULARY_REDIS_NAMESPACE", "test")];
    let workers = [
        desk.start_role("scribe", "scribe", &with).await?,
        desk.start_role("policies", "policies", &with).await?,
        desk.start_role("project", "project", &with).await?,
    ];
    let fronts = [desk.start_role("serve", "with", &with).await?, desk.start_role("serve", "without", &[]).await?];
    let (shop, owner) = desk.shop(&fronts[0], &pool, 100).await?;
    let token = desk.owner_token(shop.tenant).await?;
    let query =
        format!("subscription {{ stockLevel(stockItem: \"{}\") {{ row {{ available }} position }} }}", shop.item);
    let mut readers = Vec::new();
    for front in &fronts {
        let mut socket = Socket::open(front, &token).await?;
        socket.subscribe("1", &query).await?;
        socket.update_with("1", "/row/available", json!(100)).await?;
        readers.push(socket);
    }
    let mut left = 100;
    let mut reserve = async |readers: &mut [Socket], within: Duration| {
        owner.do_it("ReserveStock", new_id(), &shop.reservation(new_id())).await?;
        left -= 1;
        for (number, reader) in readers.iter_mut().enumerate() {
            let begun = Instant::now();
            reader.update_with("1", "/row/available", json!(left)).await?;
            ensure!(begun.elapsed() < within, "reader {number} was told after {:?}", begun.elapsed());
        }
        anyhow::Ok(())
    };
    let looked_up = async || {
        let figure = async |front| figure(front, "cartulary_live_looked_up_total").await;
        anyhow::Ok([figure(&fronts[0]).await?, figure(&fronts[1]).await?])
    };
    let before = looked_up().await?;
    for _ in 0..5 {
        reserve(&mut readers, Duration::from_secs(2)).await?;
    }
    let after = looked_up().await?;
    assert_eq!(after[0], before[0], "letters tell everything, so that nothing is looked up");
    ensure!(after[1] >= before[1] + 5, "without letters every change is looked up: {before:?} to {after:?}");
    // What others say on our channel is counted, and nothing comes of it.
    let mut stranger = redis::Client::open(redis.url.as_str())?.get_multiplexed_async_connection().await?;
    for said in [b"".as_slice(), b"{}", &[0; 40], br#"{"rebuilt":{"model":"StockLevel"}}"#] {
        redis::cmd("PUBLISH").arg("cartulary:test:live").arg(said).exec_async(&mut stranger).await?;
    }
    reserve(&mut readers, Duration::from_secs(2)).await?;
    assert_eq!(figure(&fronts[0], "cartulary_live_foreign_total").await?, 4);

    // Frozen, it takes connections and says nothing on them.
    redis.freeze()?;
    reserve(&mut readers, Duration::from_secs(4)).await?;
    redis.thaw()?;
    reserve(&mut readers, Duration::from_secs(4)).await?;
    drop(redis);
    for _ in 0..3 {
        reserve(&mut readers, Duration::from_secs(4)).await?;
    }
    for process in fronts.into_iter().chain(workers) {
        process.stop().await?;
    }
    Ok(())
}
