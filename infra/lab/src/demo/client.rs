//! A caller of the public API.

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

/// Sends requests as one bearer, to one front door after the other; clones share their connections.
#[derive(Clone)]
pub struct Client {
    http: HttpClient<HttpConnector, Full<Bytes>>,
    fronts: Arc<Fronts>,
    token: String,
}

/// Where HTTP is served, and how many requests there were.
struct Fronts {
    urls: Vec<String>,
    asked: AtomicUsize,
}

/// What the server answered.
pub struct Reply {
    pub status: u16,
    pub body: Bytes,
}

impl Client {
    pub fn new(url: &str, token: String) -> Self {
        Self::of_all(vec![url.to_owned()], token)
    }

    /// With several front doors, which take turns.
    pub fn of_all(urls: Vec<String>, token: String) -> Self {
        let http = HttpClient::builder(TokioExecutor::new()).build_http();
        Self { http, fronts: Arc::new(Fronts { urls, asked: AtomicUsize::new(0) }), token }
    }

    /// The same connections with another token.
    pub fn with_token(&self, token: String) -> Self {
        Self { token, ..self.clone() }
    }

    /// Sends one command. Answers whether it was accepted; a refusal of the business is an answer, everything else
    /// an error.
    pub async fn command(&self, name: &str, id: Uuid, body: &Value) -> Result<Value> {
        let (path, id) = (format!("/v1/commands/{name}"), id.to_string());
        let reply = self.post(&path, "application/json", Some(&id), body.to_string()).await?;
        let answer: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        ensure!(matches!(reply.status, 200 | 409), "{name} was answered with {}: {answer}", reply.status);
        Ok(answer)
    }

    /// Sends one command and expects it to be accepted.
    pub async fn do_it(&self, name: &str, id: Uuid, body: &Value) -> Result<Value> {
        let answer = self.command(name, id, body).await?;
        if answer["outcome"] != "accepted" {
            bail!("{name} was refused: {answer}");
        }
        Ok(answer)
    }

    /// Sends many commands in one request, one line each; one answer each, in the same order.
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

    /// Asks the read models.
    pub async fn query(&self, query: &str, variables: Value) -> Result<Value> {
        let body = json!({ "query": query, "variables": variables }).to_string();
        let reply = self.post("/graphql", "application/json", None, body).await?;
        let mut answer: Value = serde_json::from_slice(&reply.body).context("the answer is not JSON")?;
        ensure!(answer.get("errors").is_none(), "the query failed: {}", answer["errors"]);
        Ok(answer["data"].take())
    }

    /// A page that needs no token.
    pub async fn get(&self, path: &str) -> Result<Reply> {
        let request = Request::get(format!("{}{path}", self.front())).body(Full::default())?;
        let answer = self.http.request(request).await?;
        let status = answer.status().as_u16();
        Ok(Reply { status, body: answer.into_body().collect().await?.to_bytes() })
    }

    /// Sends a body of some media type, under the caller's own key if there is one.
    pub async fn post(&self, path: &str, kind: &str, key: Option<&str>, body: String) -> Result<Reply> {
        let mut request = Request::post(format!("{}{path}", self.front()))
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", kind);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let answer = self.http.request(request.body(Full::new(Bytes::from(body)))?).await?;
        let status = answer.status().as_u16();
        Ok(Reply { status, body: answer.into_body().collect().await?.to_bytes() })
    }

    /// Whose turn it is.
    fn front(&self) -> &str {
        let turn = self.fronts.asked.fetch_add(1, Ordering::Relaxed);
        self.fronts.urls.get(turn % self.fronts.urls.len().max(1)).map_or("", String::as_str)
    }
}
