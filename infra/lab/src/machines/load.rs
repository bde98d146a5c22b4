//! Callers who buy through the front doors of all nodes, and do not give up before they were answered.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use domain::inventory::StockItem;
use domain::shared::{ProductId, Role, StoreId, TenantId};
use futures::future::try_join_all;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::demo::client::Client;
use crate::demo::{Shop, Stage, open_shop_of, put_on_sale};
use cartulary::cli::Bearer;
use platform::clock::new_id;

/// Shops, so that the lanes of every scribe get something to do.
const SHOPS: usize = 6;
/// Callers of each shop at each door.
const CALLERS: usize = 2;
/// How long a caller thinks before the next order.
const PAUSE: Duration = Duration::from_millis(60);
/// Every so many orders of a caller want something of which there is too little.
const SCARCE: usize = 8;
/// What there is of everything else.
const PLENTY: i64 = 1_000_000;
/// A caller who hears nothing for so long asks at another door.
const ASKED_FOR: Duration = Duration::from_secs(3);
/// How long a caller who was told "not now" waits.
const AGAIN: Duration = Duration::from_millis(50);
/// Nobody waits longer than this.
const PATIENCE: Duration = Duration::from_secs(60);

/// Shops with something to sell.
pub(super) struct Market {
    stalls: Vec<Stall>,
}

struct Stall {
    tenant: TenantId,
    store: Uuid,
    plenty: ProductId,
    scarce: ProductId,
    /// The shop's owner at each front door.
    doors: Vec<Client>,
}

/// An order, and what came of it.
#[derive(Clone, Debug)]
pub(super) struct Order {
    stall: usize,
    /// The caller's first door.
    door: usize,
    id: Uuid,
    order: Uuid,
    wants_scarce: bool,
    pub(super) asked: Instant,
    pub(super) answered: Instant,
    /// Whether it was placed; refused otherwise.
    pub(super) accepted: bool,
}

/// One answer to one try.
pub(super) enum Said {
    Decided(Value),
    NotNow,
}

impl Market {
    /// Opens the shops.
    pub(super) async fn open(stage: &Stage<'_>, fronts: &[String]) -> Result<Self> {
        let stalls = (0..SHOPS).map(|number| Stall::open(stage, fronts, number));
        Ok(Self { stalls: try_join_all(stalls).await? })
    }

    /// All callers, each on a task of its own.
    pub(super) fn callers(self: &Arc<Self>, enough: &CancellationToken) -> JoinSet<Result<Vec<Order>>> {
        let mut callers = JoinSet::new();
        for (stall, at) in self.stalls.iter().enumerate() {
            for door in (0..at.doors.len()).flat_map(|door| [door; CALLERS]) {
                callers.spawn(self.clone().keep_buying(stall, door, enough.clone()));
            }
        }
        callers
    }

    async fn keep_buying(self: Arc<Self>, stall: usize, door: usize, enough: CancellationToken) -> Result<Vec<Order>> {
        let mut orders = Vec::new();
        while !enough.is_cancelled() {
            let now = Instant::now();
            let wants_scarce = orders.len() % SCARCE == 0;
            let (id, order) = (new_id(), new_id());
            let mut placed = Order { stall, door, id, order, wants_scarce, asked: now, answered: now, accepted: false };
            placed.accepted = accepted(&self.persist(&placed, door).await?)?;
            placed.answered = Instant::now();
            orders.push(placed);
            sleep(PAUSE).await;
        }
        Ok(orders)
    }

    /// Asks at one door after the other until somebody decides.
    async fn persist(&self, order: &Order, door: usize) -> Result<Value> {
        let doors = &self.stalls[order.stall].doors;
        for turn in door.. {
            if let Said::Decided(answer) = self.ask(order, turn % doors.len()).await? {
                return Ok(answer);
            }
            ensure!(order.asked.elapsed() < PATIENCE, "an order is never decided");
            sleep(AGAIN).await;
        }
        bail!("there are no doors")
    }

    /// Asks once at one door.
    async fn ask(&self, order: &Order, door: usize) -> Result<Said> {
        let stall = &self.stalls[order.stall];
        let product = if order.wants_scarce { stall.scarce } else { stall.plenty };
        let body = json!({
            "order": order.order, "customer": order.order, "store": stall.store,
            "lines": [{ "product": product, "quantity": 1 }],
        });
        ask(&stall.doors[door], order.id, &body).await
    }

    /// Asks for an order again at the next node; whether the answer is the same, and marked as a repeat.
    pub(super) async fn answers_alike(&self, order: &Order) -> Result<bool> {
        let order = Order { asked: Instant::now(), ..order.clone() };
        let answer = self.persist(&order, order.door + 1).await?;
        Ok(accepted(&answer)? == order.accepted && answer["receipt"]["replayed"] == true)
    }

    /// A new order, to be asked for from elsewhere.
    pub(super) fn order_at(&self, door: usize) -> Order {
        let now = Instant::now();
        let (id, order) = (new_id(), new_id());
        Order { stall: 0, door, id, order, wants_scarce: false, asked: now, answered: now, accepted: false }
    }

    /// Asks for it once at its first door.
    pub(super) async fn once(&self, order: &Order) -> Result<Said> {
        self.ask(order, order.door).await
    }

    /// Asks for it at its first door until it is decided.
    pub(super) async fn decided(&self, mut order: Order) -> Result<Order> {
        order.asked = Instant::now();
        loop {
            if let Said::Decided(answer) = self.ask(&order, order.door).await? {
                return Ok(Order { accepted: accepted(&answer)?, answered: Instant::now(), ..order });
            }
            ensure!(order.asked.elapsed() < PATIENCE, "an order is never decided at this door");
            sleep(AGAIN).await;
        }
    }

    pub(super) fn tenants(&self) -> Vec<Uuid> {
        self.stalls.iter().map(|stall| stall.tenant.uuid()).collect()
    }
}

impl Order {
    pub(super) const fn id(&self) -> Uuid {
        self.id
    }
}

impl Stall {
    async fn open(stage: &Stage<'_>, fronts: &[String], number: usize) -> Result<Self> {
        let tenant = TenantId::new(new_id());
        let name = format!("stall-{number}");
        let shop = open_shop_of(stage, tenant, &name, &name).await?;
        let (plenty, scarce) = (ProductId::new(new_id()), ProductId::new(new_id()));
        for product in [plenty, scarce] {
            put_on_sale(&shop, product, StockItem::id(product, StoreId::new(shop.store))).await?;
        }
        let item = StockItem::id(plenty, StoreId::new(shop.store));
        shop.owner.do_it("ReceiveStock", new_id(), &json!({ "item": item, "units": PLENTY })).await?;
        let token = stage.token(&Bearer::of(tenant, Role::Owner))?;
        let doors = fronts.iter().map(|front| Client::new(front, token.clone())).collect();
        let Shop { store, .. } = shop;
        Ok(Self { tenant, store, plenty, scarce, doors })
    }
}

/// Whether an order was placed. There is one reason to refuse one here.
fn accepted(answer: &Value) -> Result<bool> {
    match (answer["outcome"].as_str(), answer["rejection"]["code"].as_str()) {
        (Some("accepted"), _) => Ok(true),
        (_, Some("OUT_OF_STOCK")) => Ok(false),
        _ => bail!("an order was answered with {answer}"),
    }
}

/// Sends a command once. Nothing heard is as good as "not now": whoever asks again asks under the same id.
async fn ask(door: &Client, id: Uuid, body: &Value) -> Result<Said> {
    let key = id.to_string();
    let sent = door.post("/v1/commands/PlaceOrder", "application/json", Some(&key), body.to_string());
    let Ok(Ok(reply)) = timeout(ASKED_FOR, sent).await else { return Ok(Said::NotNow) };
    match reply.status {
        200 | 409 => Ok(Said::Decided(serde_json::from_slice(&reply.body).context("an answer is not JSON")?)),
        503 => Ok(Said::NotNow),
        status => bail!("an order was answered with {status}: {}", String::from_utf8_lossy(&reply.body)),
    }
}
