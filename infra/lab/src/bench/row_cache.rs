//! `cartulary-lab row-cache`: the same query by key over HTTP without the row cache, with it in memory and with it in
//! Redis, in turns on one machine.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use cartulary::cli::Bearer;
use cartulary::settings::Settings;
use domain::shared::{Principal, Role};
use futures::future::try_join_all;
use platform::clock::new_id;
use tokio::time::Instant;

use crate::harness::{Engine, RedisServer, Shop, eventually};

const READERS: u32 = 16;
const QUERIES_EACH: u32 = 1_500;
const ROUNDS: usize = 3;

/// One engine, and the time that each round took.
struct CachedReads {
    name: &'static str,
    engine: Engine,
    query: String,
    /// One token of its own principal for each reader, because the query cost of one principal is limited.
    tokens: Vec<String>,
    took: Vec<Duration>,
}

impl CachedReads {
    async fn new(name: &'static str, redis_url: Option<String>, life_ms: u32) -> Result<Self> {
        let settings = Settings { redis_url, row_cache_ms: Some(life_ms), ..Settings::default() };
        let engine = Engine::start_with(settings).await?;
        let (tenant, _) = engine.tenant().await?;
        let (shop, token) = (Shop::new(tenant), engine.token(&Bearer::of(tenant, Role::Owner))?);
        for (name, body) in shop.setup_commands(10) {
            engine.execute(&token, name, &body).await?;
        }
        let query = format!("{{ stockLevel(stockItem: \"{}\") {{ available }} }}", shop.item);
        eventually("there is a row", async || Ok(engine.query(&token, &query).await?["stockLevel"].is_object()))
            .await?;
        let reader = |_| engine.token(&Bearer { subject: Principal::new(new_id()), ..Bearer::of(tenant, Role::Owner) });
        let tokens = (0..READERS).map(reader).collect::<Result<_>>()?;
        Ok(Self { name, engine, query, tokens, took: vec![] })
    }

    async fn run(&mut self) -> Result<()> {
        let begun = Instant::now();
        let readers = self.tokens.iter().map(async |token| {
            for _ in 0..QUERIES_EACH {
                let answer = self.engine.query(token, &self.query).await?;
                anyhow::ensure!(answer["stockLevel"]["available"] == 10, "{answer}");
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

/// Prints the median rates.
#[expect(clippy::print_stdout, reason = "the result of the command")]
pub async fn run() -> Result<ExitCode> {
    let server = RedisServer::start().await?;
    let mut contenders = [
        CachedReads::new("no cache", None, 0).await?,
        CachedReads::new("in memory", None, 1_000).await?,
        CachedReads::new("in Redis", Some(server.url.clone()), 1_000).await?,
    ];
    for _ in 0..ROUNDS {
        for contender in &mut contenders {
            contender.run().await?;
        }
    }
    let figures: Vec<_> = contenders.iter_mut().map(|contender| (contender.name, contender.queries_per_s())).collect();
    println!("queries/s by key over HTTP, {READERS} readers: {figures:.0?}");
    for contender in contenders {
        contender.engine.close().await;
    }
    Ok(ExitCode::SUCCESS)
}
