//! Load: callers that place orders through the API of all nodes, and repeat each order until it is answered.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use cartulary::cli::Bearer;
use domain::inventory::StockItem;
use domain::shared::{ProductId, Role, StoreId, TenantId};
use event_log::LaneCount;
use futures::future::try_join_all;
use platform::clock::new_id;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::demo::client::Client;
use crate::demo::{DemoShop, Deployment, open_shop_of, put_on_sale};

/// Pause of a caller between two orders.
const THINK_TIME: Duration = Duration::from_millis(80);
/// Every order with an index divisible by this number is for the scarce product, which sells out.
const SCARCE_EVERY: usize = 4;
/// Units of the product that does not sell out.
const PLENTIFUL_UNITS: i64 = 1_000_000;
/// Time limit of one attempt, after which a caller tries the next node.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// Wait of a caller before it repeats an order.
const RETRY_DELAY: Duration = Duration::from_millis(50);
/// Time limit for the decision of one order, over all attempts.
const DECISION_TIMEOUT: Duration = Duration::from_secs(60);

/// All shops under load, one in each lane: whichever lanes a process gets, it has events to process.
pub(super) struct LoadShops {
    shops: Vec<LoadShop>,
}

struct LoadShop {
    tenant: TenantId,
    store: Uuid,
    plenty: ProductId,
    scarce: ProductId,
    /// Client of the shop's owner for each node.
    clients: Vec<Client>,
}

/// An order and its outcome.
#[derive(Clone, Debug)]
pub(super) struct OrderRequest {
    shop: usize,
    /// Index of the node that is tried first.
    node: usize,
    id: Uuid,
    order: Uuid,
    wants_scarce: bool,
    pub(super) sent: Instant,
    pub(super) answered: Instant,
    /// True if the order was placed, false if it was rejected as sold out.
    pub(super) accepted: bool,
}

/// Result of one attempt.
pub(super) enum SendResult {
    Decided(Value),
    /// A temporary refusal, or no answer in time.
    NotNow,
}

impl LoadShops {
    /// Registers the shops and puts their products on sale.
    pub(super) async fn open(deployment: &Deployment<'_>, urls: &[String]) -> Result<Self> {
        let shops = LaneCount::DEFAULT.lanes().map(|lane| LoadShop::open(deployment, urls, lane.0));
        Ok(Self { shops: try_join_all(shops).await? })
    }

    /// Starts one caller for each shop and node, in a task of its own. They end after `stop` is cancelled.
    pub(super) fn callers(self: &Arc<Self>, stop: &CancellationToken) -> JoinSet<Result<Vec<OrderRequest>>> {
        let mut callers = JoinSet::new();
        for (shop, entry) in self.shops.iter().enumerate() {
            for node in 0..entry.clients.len() {
                callers.spawn(self.clone().place_orders(shop, node, stop.clone()));
            }
        }
        callers
    }

    async fn place_orders(
        self: Arc<Self>,
        shop: usize,
        node: usize,
        stop: CancellationToken,
    ) -> Result<Vec<OrderRequest>> {
        let mut orders = Vec::new();
        while !stop.is_cancelled() {
            let now = Instant::now();
            let wants_scarce = orders.len() % SCARCE_EVERY == 0;
            let (id, order) = (new_id(), new_id());
            let mut placed =
                OrderRequest { shop, node, id, order, wants_scarce, sent: now, answered: now, accepted: false };
            placed.accepted = accepted(&self.send_to_any_node(&placed, node).await?)?;
            placed.answered = Instant::now();
            orders.push(placed);
            sleep(THINK_TIME).await;
        }
        Ok(orders)
    }

    /// Sends an order to one node after the other until one decides it.
    async fn send_to_any_node(&self, order: &OrderRequest, node: usize) -> Result<Value> {
        let clients = &self.shops[order.shop].clients;
        for number in node.. {
            if let SendResult::Decided(answer) = self.send(order, number % clients.len()).await? {
                return Ok(answer);
            }
            ensure!(order.sent.elapsed() < DECISION_TIMEOUT, "an order was not decided within {DECISION_TIMEOUT:?}");
            sleep(RETRY_DELAY).await;
        }
        bail!("there are no nodes")
    }

    /// Sends an order once, to one node.
    async fn send(&self, order: &OrderRequest, node: usize) -> Result<SendResult> {
        let shop = &self.shops[order.shop];
        let product = if order.wants_scarce { shop.scarce } else { shop.plenty };
        let body = json!({
            "order": order.order, "customer": order.order, "store": shop.store,
            "lines": [{ "product": product, "quantity": 1 }],
        });
        send(&shop.clients[node], order.id, &body).await
    }

    /// Sends an order again, starting at the node after its first one. True if the outcome is the same and the receipt is
    /// marked as replayed.
    pub(super) async fn is_answered_alike(&self, order: &OrderRequest) -> Result<bool> {
        let order = OrderRequest { sent: Instant::now(), ..order.clone() };
        let answer = self.send_to_any_node(&order, order.node + 1).await?;
        Ok(accepted(&answer)? == order.accepted && answer["receipt"]["replayed"] == true)
    }

    /// Creates a new order that is not sent yet.
    pub(super) fn order_at(&self, node: usize) -> OrderRequest {
        let now = Instant::now();
        let (id, order) = (new_id(), new_id());
        OrderRequest { shop: 0, node, id, order, wants_scarce: false, sent: now, answered: now, accepted: false }
    }

    /// Sends an order once, to its first node.
    pub(super) async fn send_once(&self, order: &OrderRequest) -> Result<SendResult> {
        self.send(order, order.node).await
    }

    /// Sends an order to its first node until it is decided there.
    pub(super) async fn send_until_decided(&self, mut order: OrderRequest) -> Result<OrderRequest> {
        order.sent = Instant::now();
        loop {
            if let SendResult::Decided(answer) = self.send(&order, order.node).await? {
                return Ok(OrderRequest { accepted: accepted(&answer)?, answered: Instant::now(), ..order });
            }
            ensure!(
                order.sent.elapsed() < DECISION_TIMEOUT,
                "an order was not decided at this node within {DECISION_TIMEOUT:?}"
            );
            sleep(RETRY_DELAY).await;
        }
    }

    pub(super) fn tenants(&self) -> Vec<Uuid> {
        self.shops.iter().map(|shop| shop.tenant.uuid()).collect()
    }
}

impl OrderRequest {
    pub(super) const fn id(&self) -> Uuid {
        self.id
    }
}

impl LoadShop {
    async fn open(deployment: &Deployment<'_>, urls: &[String], lane: i16) -> Result<Self> {
        let tenant = TenantId::new(new_id());
        // A tenant without a route gets a lane by hash.
        let route = sqlx::query("INSERT INTO log.routes (tenant, lane) VALUES ($1, $2)").bind(tenant.uuid()).bind(lane);
        route.execute(deployment.pool).await?;
        let name = format!("shop-{lane}");
        let shop = open_shop_of(deployment, tenant, &name, &name).await?;
        let (plenty, scarce) = (ProductId::new(new_id()), ProductId::new(new_id()));
        for product in [plenty, scarce] {
            put_on_sale(&shop, product, StockItem::id(product, StoreId::new(shop.store))).await?;
        }
        let item = StockItem::id(plenty, StoreId::new(shop.store));
        shop.owner.execute("ReceiveStock", new_id(), &json!({ "item": item, "units": PLENTIFUL_UNITS })).await?;
        let token = deployment.token(&Bearer::of(tenant, Role::Owner))?;
        let clients = urls.iter().map(|url| Client::new(url, token.clone())).collect();
        let DemoShop { store, .. } = shop;
        Ok(Self { tenant, store, plenty, scarce, clients })
    }
}

/// True if the order was placed, false if it was rejected as sold out. Any other answer is an error.
fn accepted(answer: &Value) -> Result<bool> {
    match (answer["outcome"].as_str(), answer["rejection"]["code"].as_str()) {
        (Some("accepted"), _) => Ok(true),
        (_, Some("OUT_OF_STOCK")) => Ok(false),
        _ => bail!("an order was answered with {answer}"),
    }
}

/// Sends a command once. A missing answer counts as "not now", because a repetition uses the same command id.
async fn send(client: &Client, id: Uuid, body: &Value) -> Result<SendResult> {
    let key = id.to_string();
    let request = client.post("/v1/commands/PlaceOrder", "application/json", Some(&key), body.to_string());
    let Ok(Ok(reply)) = timeout(ANSWER_TIMEOUT, request).await else { return Ok(SendResult::NotNow) };
    match reply.status {
        200 | 409 => Ok(SendResult::Decided(serde_json::from_slice(&reply.body).context("an answer is not JSON")?)),
        503 => Ok(SendResult::NotNow),
        status => bail!("an order was answered with {status}: {}", String::from_utf8_lossy(&reply.body)),
    }
}
