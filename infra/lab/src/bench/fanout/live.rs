//! A thousand subscribers to one stock counter: how soon all of them see the last value, and what one costs in memory.
//!
//! The server is a process of its own; its subscribers are here, over real WebSockets.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use domain::inventory::StockItem;
use domain::shared::{ProductId, Role, StoreId};
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use uuid::Uuid;

use super::super::arena::Arena;
use super::super::progress::Progress;
use super::super::report::Report;
use crate::demo::{Shop, Stage, UNITS, open_shop, put_on_sale};
use crate::fleet::Fleet;
use cartulary::cli::{Bearer, sign};
use cartulary::settings::Settings;
use platform::clock::new_id;

const SUBSCRIBERS: usize = 1_000;
/// The counter changes so often in one go, and so many goes are measured.
const CHANGES: usize = 5;
const GOES: usize = 20;
/// Longer than this nobody waits for a value.
const SEEN_WITHIN: Duration = Duration::from_secs(10);
const QUERY: &str = "subscription Counter($item: UUID!) { stockLevel(stockItem: $item) { row { available } } }";

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;
/// Which subscriber saw which value, and when.
type Sight = (usize, i64, Instant);

pub(super) async fn line(arena: &Arena, progress: &Progress, report: &mut Report) -> Result<()> {
    let database = arena.database().await?;
    let variables = vec![("CARTULARY_DATABASE_URL".to_owned(), database.url.clone())];
    let fleet = Fleet::new(&arena.folder("live")?, variables)?;
    let server = fleet.start_ready("serve --all", "live").await?;
    let (pool, settings) = (platform::database::connect(&database.url).await?, Settings::default());
    let stage = Stage::new(vec![server.url.clone()], &pool, |bearer| sign(&fleet.key, bearer, &settings));
    let shop = open_shop(&stage).await?;
    let product = ProductId::new(new_id());
    let item = StockItem::id(product, StoreId::new(shop.store));
    put_on_sale(&shop, product, item).await?;
    let token = stage.token(&Bearer::of(shop.tenant, Role::Owner))?;
    let pid = server.pid().context("the server runs")?;
    let before = resident(pid)?;

    progress.says(format!("{SUBSCRIBERS} subscribers"));
    let (tell, mut sights) = mpsc::channel(SUBSCRIBERS * CHANGES);
    let mut subscribers = JoinSet::new();
    for number in 0..SUBSCRIBERS {
        let socket = subscribe(&server.url, &token, item.uuid()).await?;
        subscribers.spawn(watch(number, socket, tell.clone()));
    }
    drop(tell);
    let mut slowest = Vec::new();
    for round in 1..=GOES {
        let expected = UNITS + i64::try_from(round * CHANGES)?;
        slowest.push(go(&shop, item.uuid(), expected, &mut sights).await?);
    }
    let each = (resident(pid)?.saturating_sub(before)) as f64 / SUBSCRIBERS as f64;
    subscribers.shutdown().await;
    drop(stage);
    pool.close().await;
    server.stop().await?;
    arena.clear(database).await?;
    slowest.sort_unstable();
    let ms = |time: &Duration| time.as_secs_f64() * 1e3;
    let (middle, most) = (slowest.get(GOES / 2).context("goes")?, slowest.last().context("goes")?);
    report.figure("1,000 subscribers: last value at the last of them after its commit, median, ms", ms(middle), "ms");
    report.at_most("1,000 subscribers: last value at the last of them after its commit, slowest, ms", ms(most), 250.0);
    report.at_most("memory of one subscriber, KiB", each, 64.0);
    Ok(())
}

/// Changes the counter a few times, to this value in the end. How long after the last commit the last subscriber sees it.
async fn go(shop: &Shop, item: Uuid, expected: i64, sights: &mut mpsc::Receiver<Sight>) -> Result<Duration> {
    for _ in 0..CHANGES {
        shop.owner.do_it("ReceiveStock", new_id(), &json!({ "item": item, "units": 1 })).await?;
    }
    let committed = Instant::now();
    let mut waiting = vec![true; SUBSCRIBERS];
    let (mut slowest, mut left) = (Duration::ZERO, SUBSCRIBERS);
    while left > 0 {
        let sight = timeout(SEEN_WITHIN, sights.recv()).await;
        let (number, value, when) =
            sight.with_context(|| format!("{left} never saw the last value"))?.context("nobody watches any more")?;
        if value == expected && std::mem::replace(&mut waiting[number], false) {
            slowest = slowest.max(when.saturating_duration_since(committed));
            left -= 1;
        }
    }
    Ok(slowest)
}

/// Opens a socket and subscribes; the first update has come when this returns.
async fn subscribe(url: &str, token: &str, item: Uuid) -> Result<Socket> {
    let mut request = format!("{}/graphql", url.replacen("http", "ws", 1)).into_client_request()?;
    request.headers_mut().insert("sec-websocket-protocol", "graphql-transport-ws".parse()?);
    let (mut socket, _) = connect_async(request).await.context("no socket")?;
    let init = json!({ "type": "connection_init", "payload": { "Authorization": format!("Bearer {token}") } });
    socket.send(Message::text(init.to_string())).await?;
    expect(&mut socket, "connection_ack").await?;
    let payload = json!({ "query": QUERY, "variables": { "item": item } });
    socket.send(Message::text(json!({ "type": "subscribe", "id": "1", "payload": payload }).to_string())).await?;
    expect(&mut socket, "next").await?;
    Ok(socket)
}

/// The next message, which must be of this type.
async fn expect(socket: &mut Socket, kind: &str) -> Result<()> {
    let message = said(socket).await?;
    ensure!(message["type"] == kind, "{message} instead of {kind}");
    Ok(())
}

/// The next message of the protocol.
async fn said(socket: &mut Socket) -> Result<Value> {
    loop {
        match socket.next().await.context("the socket was closed")?? {
            Message::Text(text) => return Ok(serde_json::from_str(&text)?),
            Message::Close(frame) => bail!("the socket was closed: {frame:?}"),
            _ => {}
        }
    }
}

/// Tells every value that comes, until somebody stops it.
async fn watch(number: usize, mut socket: Socket, tell: mpsc::Sender<Sight>) -> Result<()> {
    loop {
        let message = said(&mut socket).await?;
        match message["type"].as_str() {
            Some("ping") => socket.send(Message::text(json!({ "type": "pong" }).to_string())).await?,
            Some("next") => {
                let value = &message["payload"]["data"]["stockLevel"]["row"]["available"];
                let value = value.as_i64().or_else(|| value.as_str()?.parse().ok());
                tell.send((number, value.with_context(|| message.to_string())?, Instant::now())).await?;
            }
            Some("pong") => {}
            _ => bail!("{message}"),
        }
    }
}

/// What a process keeps in memory, in KiB.
fn resident(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("only Linux tells what a process keeps")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse()?)
}
