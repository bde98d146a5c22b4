//! Live updates: delay and memory of a thousand GraphQL subscribers to one stock level.
//!
//! The server is a separate process; the subscribers are in this process and use WebSockets.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use cartulary::cli::{Bearer, sign};
use cartulary::settings::Settings;
use domain::inventory::StockItem;
use domain::shared::{ProductId, Role, StoreId};
use futures::{SinkExt, StreamExt};
use platform::clock::new_id;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use uuid::Uuid;

use super::super::progress::Progress;
use super::super::report::Report;
use super::super::scratch_server::ScratchServer;
use crate::demo::{DemoShop, Deployment, UNITS, open_shop, put_on_sale};
use crate::fleet::Fleet;

const SUBSCRIBERS: usize = 1_000;
/// Changes of the stock level per round, and number of rounds.
const CHANGES: usize = 5;
const ROUNDS: usize = 20;
/// Time limit for the next value of any subscriber.
const VALUE_TIMEOUT: Duration = Duration::from_secs(10);
const QUERY: &str = "subscription Counter($item: UUID!) { stockLevel(stockItem: $item) { row { available } } }";

type LiveSocket = WebSocketStream<MaybeTlsStream<TcpStream>>;
/// Subscriber, received value and time of receipt.
type ReceivedValue = (usize, i64, Instant);

pub(super) async fn run(server: &ScratchServer, progress: &Progress, report: &mut Report) -> Result<()> {
    let database = server.create_database().await?;
    let variables = vec![("CARTULARY_DATABASE_URL".to_owned(), database.url.clone())];
    let fleet = Fleet::new(&server.create_folder("live")?, variables)?;
    let engine = fleet.start_ready("serve --all", "live").await?;
    let (pool, settings) = (platform::database::connect(&database.url).await?, Settings::default());
    let deployment = Deployment::new(vec![engine.url.clone()], &pool, |bearer| sign(&fleet.key, bearer, &settings));
    let shop = open_shop(&deployment).await?;
    let product = ProductId::new(new_id());
    let item = StockItem::id(product, StoreId::new(shop.store));
    put_on_sale(&shop, product, item).await?;
    let token = deployment.token(&Bearer::of(shop.tenant, Role::Owner))?;
    let pid = engine.pid().context("the server is not running")?;
    let before = resident(pid)?;

    progress.show(format!("{SUBSCRIBERS} subscribers"));
    let (sender, mut values) = mpsc::channel(SUBSCRIBERS * CHANGES);
    let mut subscribers = JoinSet::new();
    for number in 0..SUBSCRIBERS {
        let socket = subscribe(&engine.url, &token, item.uuid()).await?;
        subscribers.spawn(watch(number, socket, sender.clone()));
    }
    drop(sender);
    let mut slowest = Vec::new();
    for round in 1..=ROUNDS {
        let expected = UNITS + i64::try_from(round * CHANGES)?;
        slowest.push(measure_round(&shop, item.uuid(), expected, &mut values).await?);
    }
    let memory_per_subscriber = (resident(pid)?.saturating_sub(before)) as f64 / SUBSCRIBERS as f64;
    subscribers.shutdown().await;
    drop(deployment);
    pool.close().await;
    engine.stop().await?;
    server.drop_database(database).await?;
    slowest.sort_unstable();
    let ms = |time: &Duration| time.as_secs_f64() * 1e3;
    let (median, most) = (slowest.get(ROUNDS / 2).context("no rounds")?, slowest.last().context("no rounds")?);
    report.figure("1,000 subscribers: delay from commit to the last subscriber, median of 20 rounds", ms(median), "ms");
    report.at_most(
        "1,000 subscribers: delay from commit to the last subscriber, slowest of 20 rounds, ms",
        ms(most),
        250.0,
    );
    report.at_most("memory of one subscriber, KiB", memory_per_subscriber, 64.0);
    Ok(())
}

/// Changes the stock level several times, finally to the expected value. Returns the delay from the last commit until
/// the last subscriber has received that value.
async fn measure_round(
    shop: &DemoShop,
    item: Uuid,
    expected: i64,
    values: &mut mpsc::Receiver<ReceivedValue>,
) -> Result<Duration> {
    for _ in 0..CHANGES {
        shop.owner.execute("ReceiveStock", new_id(), &json!({ "item": item, "units": 1 })).await?;
    }
    let committed = Instant::now();
    let mut waiting = vec![true; SUBSCRIBERS];
    let (mut slowest, mut left) = (Duration::ZERO, SUBSCRIBERS);
    while left > 0 {
        let value = timeout(VALUE_TIMEOUT, values.recv()).await;
        let (number, value, when) = value
            .with_context(|| format!("{left} subscribers did not receive the last value"))?
            .context("all subscribers ended")?;
        if value == expected && std::mem::replace(&mut waiting[number], false) {
            slowest = slowest.max(when.saturating_duration_since(committed));
            left -= 1;
        }
    }
    Ok(slowest)
}

/// Opens a WebSocket, subscribes, and waits for the first update.
async fn subscribe(url: &str, token: &str, item: Uuid) -> Result<LiveSocket> {
    let mut request = format!("{}/graphql", url.replacen("http", "ws", 1)).into_client_request()?;
    request.headers_mut().insert("sec-websocket-protocol", "graphql-transport-ws".parse()?);
    let (mut socket, _) = connect_async(request).await.context("the WebSocket could not be opened")?;
    let init = json!({ "type": "connection_init", "payload": { "Authorization": format!("Bearer {token}") } });
    socket.send(Message::text(init.to_string())).await?;
    expect_type(&mut socket, "connection_ack").await?;
    let payload = json!({ "query": QUERY, "variables": { "item": item } });
    socket.send(Message::text(json!({ "type": "subscribe", "id": "1", "payload": payload }).to_string())).await?;
    expect_type(&mut socket, "next").await?;
    Ok(socket)
}

/// Receives the next message and checks its type.
async fn expect_type(socket: &mut LiveSocket, message_type: &str) -> Result<()> {
    let message = next_message(socket).await?;
    ensure!(message["type"] == message_type, "received {message} instead of {message_type}");
    Ok(())
}

/// Receives the next text message.
async fn next_message(socket: &mut LiveSocket) -> Result<Value> {
    loop {
        match socket.next().await.context("the socket was closed")?? {
            Message::Text(text) => return Ok(serde_json::from_str(&text)?),
            Message::Close(frame) => bail!("the socket was closed: {frame:?}"),
            _ => {}
        }
    }
}

/// Sends every received value to the channel until the task is stopped.
async fn watch(number: usize, mut socket: LiveSocket, sender: mpsc::Sender<ReceivedValue>) -> Result<()> {
    loop {
        let message = next_message(&mut socket).await?;
        match message["type"].as_str() {
            Some("ping") => socket.send(Message::text(json!({ "type": "pong" }).to_string())).await?,
            Some("next") => {
                let value = &message["payload"]["data"]["stockLevel"]["row"]["available"];
                let value = value.as_i64().or_else(|| value.as_str()?.parse().ok());
                sender.send((number, value.with_context(|| message.to_string())?, Instant::now())).await?;
            }
            Some("pong") => {}
            _ => bail!("{message}"),
        }
    }
}

/// Resident memory of a process in KiB, from `/proc`.
fn resident(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))
        .context("the memory of a process can be read on Linux only")?;
    let line =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("/proc/<pid>/status has no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse()?)
}
