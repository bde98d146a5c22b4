//! Benches.
mod arena;
mod bare;
mod clients;
mod facts;
mod ours;
mod stock;

use std::sync::Arc;
use std::time::Duration;
use clients::{press, Pace};

pub async fn rough(args: Vec<String>) -> anyhow::Result<()> {
    let what = args[0].as_str();
    let clients: usize = args[1].parse()?;
    let seconds: u64 = args[2].parse()?;
    let pace = Pace { warm_up: Duration::from_secs(2), measured: Duration::from_secs(seconds) };
    let arena = arena::Arena::open(None).await?;
    let database = arena.database().await?;
    let out = match what {
        "ours" => { let o = Arc::new(ours::Ours::start(&database, ours::Imports).await?); let m = press(&o, clients, pace).await; o.stop().await; m },
        "stock" => { let o = Arc::new(stock::Stock::<domain::orders::Order>::start(&database, clients as u32).await?); let m = press(&o, clients, pace).await; o.stop().await; m },
        "bare" => { let o = Arc::new(bare::Bare::start(&database, clients).await?); press(&o, clients, pace).await },
        _ => anyhow::bail!("what"),
    };
    #[allow(clippy::print_stdout)]
    { println!("{what} {out:?}"); }
    arena.close().await
}
