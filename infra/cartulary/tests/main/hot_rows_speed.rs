//! What copies of rows are worth on one machine: the same query over HTTP without copies, with copies in memory and with
//! copies in Redis, by turns. Run it optimised: `cargo test -p infra --release --test main hot_rows_speed -- --nocapture`.

use std::time::Duration;

use anyhow::Result;
use cartulary::cli::Bearer;
use cartulary::settings::Settings;
use domain::shared::{Principal, Role};
use futures::future::try_join_all;
use platform::clock::new_id;
use tokio::time::Instant;

use crate::house::FrontDoor;
use crate::redis::RedisServer;
use crate::shop::{Shop, eventually};

const READERS: u32 = 16;
const QUERIES_EACH: u32 = if cfg!(debug_assertions) { 60 } else { 1_500 };
const ROUNDS: usize = 3;

struct Contender {
    name: &'static str,
    house: FrontDoor,
    query: String,
    /// One reader each: what one may ask for in a while is limited.
    tokens: Vec<String>,
    took: Vec<Duration>,
}

impl Contender {
    async fn new(name: &'static str, redis_url: Option<String>, life_ms: u32) -> Result<Self> {
        let settings = Settings { redis_url, row_cache_ms: Some(life_ms), ..Settings::default() };
        let house = FrontDoor::open_with(settings).await?;
        let (tenant, _) = house.tenant().await?;
        let (shop, token) = (Shop::new(tenant), house.token(&Bearer::of(tenant, Role::Owner))?);
        for (name, body) in shop.putting_on_sale(10) {
            house.done(&token, name, &body).await?;
        }
        let query = format!("{{ stockLevel(stockItem: \"{}\") {{ available }} }}", shop.item);
        eventually("there is a row", async || Ok(house.query(&token, &query).await?["stockLevel"].is_object())).await?;
        let reader = |_| house.token(&Bearer { subject: Principal::new(new_id()), ..Bearer::of(tenant, Role::Owner) });
        let tokens = (0..READERS).map(reader).collect::<Result<_>>()?;
        Ok(Self { name, house, query, tokens, took: vec![] })
    }

    async fn run(&mut self) -> Result<()> {
        let begun = Instant::now();
        let readers = self.tokens.iter().map(async |token| {
            for _ in 0..QUERIES_EACH {
                let answer = self.house.query(token, &self.query).await?;
                assert_eq!(answer["stockLevel"]["available"], 10);
            }
            anyhow::Ok(())
        });
        try_join_all(readers).await?;
        self.took.push(begun.elapsed());
        Ok(())
    }

    fn queries_per_s(&mut self) -> f64 {
        self.took.sort();
        f64::from(READERS * QUERIES_EACH) / self.took[ROUNDS / 2].as_secs_f64()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::print_stdout, reason = "the figures are for whoever asked for them")]
async fn what_copies_of_rows_are_worth_on_one_machine() -> Result<()> {
    let server = RedisServer::start().await?;
    let mut contenders = [
        Contender::new("no copies", None, 0).await?,
        Contender::new("in memory", None, 1_000).await?,
        Contender::new("in Redis", Some(server.url.clone()), 1_000).await?,
    ];
    for _ in 0..ROUNDS {
        for contender in &mut contenders {
            contender.run().await?;
        }
    }
    let figures = contenders.iter_mut().map(|contender| (contender.name, contender.queries_per_s()));
    let figures: Vec<_> = figures.collect();
    println!("queries/s by key over HTTP, {READERS} readers: {figures:.0?}");
    if !cfg!(debug_assertions) {
        assert!(figures[1].1 > figures[0].1, "copies in memory are slower than the store: {figures:?}");
    }
    for contender in contenders {
        contender.house.close().await;
    }
    Ok(())
}
