//! The commands of the README are sent as they stand, and are answered as it says.

use anyhow::{Context, Result, ensure};
use cartulary::running;
use lab::harness::{Cluster, EventStream, database};
use serde_json::Value;

const README: &str = include_str!("../../../../README.md");
/// Address of the README's engine.
const ADDRESS: &str = "http://127.0.0.1:8480";

/// One `curl` of the README.
#[derive(Debug)]
struct Pasted {
    path: String,
    /// The idempotency key, where there is one.
    key: Option<String>,
    streams: bool,
    body: String,
}

impl Pasted {
    fn read(block: &str) -> Result<Self> {
        let path = block.split_once(ADDRESS).context("an address")?.1;
        let key = block.split_once("idempotency-key: ").and_then(|(_, rest)| rest.split('"').next());
        let body = block.split_once("-d '").and_then(|(_, rest)| rest.split('\'').next()).context("a body")?;
        Ok(Self {
            path: path.split_whitespace().next().context("a path")?.to_owned(),
            key: key.map(str::to_owned),
            streams: block.contains("text/event-stream"),
            body: body.to_owned(),
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_curl_command_of_the_readme_works() -> Result<()> {
    let blocks = README.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let pasted: Vec<_> = blocks.filter(|block| block.contains("curl")).map(Pasted::read).collect::<Result<_>>()?;
    ensure!(pasted.len() >= 5, "the README shows {} commands", pasted.len());

    let url = database().await;
    let (cluster, pool) = (Cluster::new(&url).await?, running::connect(&url).await?);
    let engine = cluster.start_ready(&[]).await?;
    let (shop, owner) = cluster.shop(&engine, &pool, 1).await?;
    let token = cluster.owner_token(shop.tenant).await?;
    let mut receipt = String::from("no receipt yet");
    for Pasted { path, key, streams, body } in pasted {
        let body = body.replace("the token of the receipt", &receipt);
        if streams {
            let query: Value = serde_json::from_str(&body)?;
            let first = EventStream::open(&engine.url, &token, query["query"].as_str().context("a query")?)
                .await?
                .next()
                .await?;
            ensure!(first.starts_with("event: next") && !first.contains("\"errors\""), "{body}: {first}");
            continue;
        }
        let reply = owner.post(&path, "application/json", key.as_deref(), body.clone()).await?;
        let answer: Value = serde_json::from_slice(&reply.body)?;
        ensure!(answer["errors"].is_null(), "{body}: {answer}");
        if path != "/graphql" {
            ensure!(answer["outcome"] == "accepted", "{body}: {answer}");
            answer["receipt"]["token"].as_str().context("a receipt has a token")?.clone_into(&mut receipt);
        }
        let made = &answer["data"]["publishProduct"];
        ensure!(made.is_null() || made["receipt"]["token"].is_string(), "{body}: {answer}");
        if let Some(products) = answer["data"]["products"]["edges"].as_array() {
            ensure!(products.iter().any(|edge| edge["node"]["name"] == "Mug"), "{body}: {answer}");
        }
    }
    engine.stop().await
}
