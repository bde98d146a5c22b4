//! Imports the purchases of a real shop as orders, and compares the read models with sums over the file.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use cartulary::cli::say;
use comfy_table::Table;
use domain::shared::{CustomerId, OrderId};
use futures::{StreamExt, TryStreamExt, stream};
use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use serde_json::{Value, json};
use uuid::Uuid;

use super::cdnow::{Purchase, currency, purchases};
use super::{Check, DemoShop};

/// Commands in one request, and concurrent requests.
const LINES: usize = 500;
const REQUESTS: usize = 8;

pub(super) async fn play(shop: &DemoShop) -> Result<Vec<Check>> {
    let purchases = purchases()?;
    let expected = Expected::of(shop, &purchases);
    let customers: Vec<_> = expected.customers.keys().map(|number| customer_line(shop, number)).collect();
    send(shop, "customers", customers).await?;
    let orders = purchases.iter().map(|purchase| order_line(shop, purchase)).collect::<Result<Vec<_>>>()?;
    send(shop, "purchases", orders).await?;
    say("\nThe ten best customers by points");
    let best = best_customers(shop, &expected).await?;
    say("\nThe last days of sales");
    let sales = daily_sales(shop).await?;
    let (days, sum, orders) = sales;
    Ok(vec![
        Check::equal("points of the ten best customers", best, expected.best_ten()),
        Check::equal("days with sales", days, expected.days),
        Check::equal("orders in daily sales", orders, i64::try_from(purchases.len())?),
        Check::equal("sales in cents", sum, purchases.iter().map(|purchase| purchase.minor).sum()),
    ])
}

/// Results computed from the file alone.
struct Expected {
    /// Points by customer number of the shop: one for each whole dollar of each purchase.
    customers: BTreeMap<String, i64>,
    points: BTreeMap<CustomerId, i64>,
    days: usize,
}

impl Expected {
    fn of(shop: &DemoShop, purchases: &[Purchase]) -> Self {
        let mut customers: BTreeMap<String, i64> = BTreeMap::new();
        let mut days = std::collections::BTreeSet::new();
        for purchase in purchases {
            *customers.entry(purchase.customer.clone()).or_default() += purchase.minor / 100;
            days.insert(purchase.day);
        }
        let points = customers.iter().map(|(number, points)| (customer(shop, number), *points)).collect();
        Self { customers, points, days: days.len() }
    }

    fn best_ten(&self) -> String {
        let mut points: Vec<_> = self.points.values().copied().collect();
        points.sort_unstable_by(|a, b| b.cmp(a));
        points.iter().take(10).map(i64::to_string).collect::<Vec<_>>().join(" ")
    }
}

fn customer(shop: &DemoShop, number: &str) -> CustomerId {
    CustomerId::derived(shop.tenant.uuid(), &format!("cdnow:{number}"))
}

/// One NDJSON line. The command id is derived from tenant and key, so that equal purchases are distinct commands and a
/// second run changes nothing.
fn line(shop: &DemoShop, name: &str, key: &str, command: &Value) -> String {
    let id = Uuid::new_v5(&shop.tenant.uuid(), format!("{name}:{key}").as_bytes());
    json!({ "id": id, "name": name, "command": command }).to_string()
}

fn customer_line(shop: &DemoShop, number: &str) -> String {
    let command = json!({
        "customer": customer(shop, number), "name": null, "email": null, "source": format!("cdnow {number}"),
    });
    line(shop, "ImportCustomer", number, &command)
}

fn order_line(shop: &DemoShop, purchase: &Purchase) -> Result<String> {
    let key = purchase.line.to_string();
    let command = json!({
        "order": OrderId::derived(shop.tenant.uuid(), &format!("cdnow:{key}")),
        "customer": customer(shop, &purchase.customer),
        "store": shop.store,
        "total": { "minor": purchase.minor, "currency": currency()? },
        "units": purchase.units,
        // The file has no time of day. 17:00 UTC is noon or 13:00 of the same day in the time zone of the store.
        "ordered_at": format!("{}T17:00:00Z", purchase.day),
        "source": format!("cdnow {key}"),
    });
    Ok(line(shop, "ImportOrder", &key, &command))
}

async fn send(shop: &DemoShop, noun: &str, lines: Vec<String>) -> Result<()> {
    let count = lines.len();
    let style = ProgressStyle::with_template("{msg:>10} {bar:40} {pos}/{len} {rate}")?
        .with_key("rate", |state: &ProgressState, out: &mut dyn Write| _ = write!(out, "{:.0}/s", state.per_sec()));
    let progress = ProgressBar::new(count as u64).with_style(style).with_message(noun.to_owned());
    let requests = lines.chunks(LINES).map(|chunk| (chunk.len() as u64, chunk.join("\n"))).collect::<Vec<_>>();
    let begun = tokio::time::Instant::now();
    let added: usize = stream::iter(requests)
        .map(|(size, body)| {
            let (owner, progress) = (shop.owner.clone(), progress.clone());
            async move {
                let answers = owner.batch(body).await?;
                if let Some(rejected) = answers.iter().find(|answer| answer["outcome"] != "accepted") {
                    bail!("a command was not accepted: {rejected}");
                }
                progress.inc(size);
                Ok(answers.iter().filter(|answer| answer["receipt"]["replayed"] != true).count())
            }
        })
        .buffer_unordered(REQUESTS)
        .try_fold(0, |sum, added| async move { Ok(sum + added) })
        .await?;
    let seconds = begun.elapsed().as_secs_f64();
    progress.finish_and_clear();
    say(match added {
        0 => format!("{count} {noun} existed already; repeated in {seconds:.1} s without effect"),
        _ => {
            format!("{added} {noun} in {seconds:.1} s: {:.0} commands/s through the public API", count as f64 / seconds)
        }
    });
    Ok(())
}

/// Waits until the ten best customers have the expected points, which a policy books after the orders. Prints the
/// customers and returns their points.
async fn best_customers(shop: &DemoShop, expected: &Expected) -> Result<String> {
    let query = "{ pointsBalances(first: 10, order: { by: BALANCE, direction: DESC }) {
                     edges { node { customerId balance } } } }";
    let wanted = expected.best_ten();
    let mut edges = Value::Null;
    let mut found = String::new();
    for _ in 0..600 {
        edges = shop.owner.query(query, json!({})).await?["pointsBalances"]["edges"].take();
        found = list(&edges).map(|edge| number(&edge["node"]["balance"]).to_string()).collect::<Vec<_>>().join(" ");
        if found == wanted {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut table = Table::new();
    table.set_header(["customer", "points"]);
    for edge in list(&edges) {
        table.add_row([
            edge["node"]["customerId"].as_str().unwrap_or_default().to_owned(),
            number(&edge["node"]["balance"]).to_string(),
        ]);
    }
    say(table.to_string());
    Ok(found)
}

/// Reads all days page by page and prints the last ones. Returns the number of days, their sales in cents and their
/// orders.
async fn daily_sales(shop: &DemoShop) -> Result<(usize, i64, i64)> {
    let query = "query Days($after: String) { salesDays(first: 100, after: $after) {
                     edges { node { day paidOrders netMinor } } pageInfo { hasNextPage endCursor } } }";
    let mut after = Value::Null;
    let mut days: Vec<(String, i64, i64)> = Vec::new();
    loop {
        let mut data = shop.owner.query(query, json!({ "after": after })).await?;
        let page = data["salesDays"].take();
        for edge in list(&page["edges"]) {
            let node = &edge["node"];
            let day = node["day"].as_str().context("a day has no date")?.to_owned();
            days.push((day, number(&node["paidOrders"]), number(&node["netMinor"])));
        }
        if page["pageInfo"]["hasNextPage"] != true {
            break;
        }
        after = page["pageInfo"]["endCursor"].clone();
    }
    days.retain(|(day, ..)| day.as_str() < "2000");
    let mut table = Table::new();
    table.set_header(["day", "orders", "sales"]);
    for (day, orders, minor) in days.iter().rev().take(7) {
        table.add_row([day.clone(), orders.to_string(), format!("{}.{:02} USD", minor / 100, minor % 100)]);
    }
    say(table.to_string());
    let sum = days.iter().map(|(.., minor)| minor).sum();
    Ok((days.len(), sum, days.iter().map(|(_, orders, _)| orders).sum()))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Parses an integer. 64-bit numbers are strings in the API, because JavaScript would round them.
fn number(value: &Value) -> i64 {
    value.as_i64().or_else(|| value.as_str()?.parse().ok()).unwrap_or_default()
}
