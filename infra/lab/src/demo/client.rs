//! HTTP client of the public API.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use uuid::Uuid;

/// Sends requests with one bearer token, round robin over the API servers. Clones share their connections.
#[derive(Clone)]
pub struct Client {
    http: HttpClient<HttpConnector, Full<Bytes>>,
    servers: Arc<Servers>,
    token: String,
}

/// URLs of the API servers, and the number of requests so far.
struct Servers {
    urls: Vec<String>,
    requests: AtomicUsize,
}

/// Status and body of an answer.
pub struct Reply {
    pub status: u16,
    pub body: Bytes,
}

impl Client {
    /// Client of one API server.
    pub fn new(url: &str, token: String) -> Self {
        Self::round_robin(vec![url.to_owned()], token)
    }

    /// Client of several API servers, which are used in turn.
    pub fn round_robin(urls: Vec<String>, token: String) -> Self {
        let http = HttpClient::builder(TokioExecutor::new()).build_http();
        Self { http, servers: Arc::new(Servers { urls, requests: AtomicUsize::new(0) }), token }
    }

    /// The same connections with another token.
    pub fn with_token(&self, token: String) -> Self {
        Self { token, ..self.clone() }
    }

    /// Sends one command and returns its answer: accepted or rejected. Any other status is an error.
    pub async fn command(&self, name: &str, id: Uuid, body: &Value) -> Result<Value> {
        let (path, id) = (format!("/v1/commands/{name}"), id.to_string());
        let reply = self.post(&path, "application/json", Some(&id), body.to_string()).await?;
        let answer: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        ensure!(matches!(reply.status, 200 | 409), "{name} was answered with {}: {answer}", reply.status);
        Ok(answer)
    }

    /// Sends one command. A rejection is an error.
    pub async fn execute(&self, name: &str, id: Uuid, body: &Value) -> Result<Value> {
        let answer = self.command(name, id, body).await?;
        if answer["outcome"] != "accepted" {
            bail!("{name} was rejected: {answer}");
        }
        Ok(answer)
    }

    /// Sends NDJSON with one command per line in one request. Returns one answer per command, in the same order.
    pub async fn batch(&self, lines: String) -> Result<Vec<Value>> {
        let reply = self.post("/v1/commands", "application/x-ndjson", None, lines).await?;
        ensure!(
            reply.status == 200,
            "a batch was answered with {}: {}",
            reply.status,
            String::from_utf8_lossy(&reply.body)
        );
        let answers = reply.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        answers.map(|line| serde_json::from_slice(line).context("an answer is not JSON")).collect()
    }

    /// Runs a GraphQL query.
    pub async fn query(&self, query: &str, variables: Value) -> Result<Value> {
        let body = json!({ "query": query, "variables": variables }).to_string();
        let reply = self.post("/graphql", "application/json", None, body).await?;
        let mut answer: Value = serde_json::from_slice(&reply.body).context("the answer is not JSON")?;
        ensure!(answer.get("errors").is_none(), "the query failed: {}", answer["errors"]);
        Ok(answer["data"].take())
    }

    /// Fetches a page, with the token.
    pub async fn get(&self, path: &str) -> Result<Reply> {
        let request = Request::get(format!("{}{path}", self.next_url()))
            .header("authorization", format!("Bearer {}", self.token))
            .body(Full::default())?;
        let answer = self.http.request(request).await?;
        let status = answer.status().as_u16();
        Ok(Reply { status, body: answer.into_body().collect().await?.to_bytes() })
    }

    /// Sends a body of this media type, with an `Idempotency-Key` header if a key is given.
    pub async fn post(&self, path: &str, media_type: &str, key: Option<&str>, body: String) -> Result<Reply> {
        let mut request = Request::post(format!("{}{path}", self.next_url()))
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", media_type);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let answer = self.http.request(request.body(Full::new(Bytes::from(body)))?).await?;
        let status = answer.status().as_u16();
        Ok(Reply { status, body: answer.into_body().collect().await?.to_bytes() })
    }

    /// URL for the next request.
    fn next_url(&self) -> &str {
        let number = self.servers.requests.fetch_add(1, Ordering::Relaxed);
        self.servers.urls.get(number % self.servers.urls.len().max(1)).map_or("", String::as_str)
    }
}
