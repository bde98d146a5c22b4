//! The whole engine in the test's process, with its HTTP server, on a database of its own.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use api::auth::{Claims, SigningKey};
use bytes::Bytes;
use cartulary::cli::Bearer;
use cartulary::process::Running;
use cartulary::roles::Roles;
use cartulary::settings::Settings;
use domain::shared::{Role, StoreId, TenantId};
use domain::tenancy::Tenant;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Request};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use platform::clock::{Clock, new_id, now};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::time::Instant;
use uuid::Uuid;
use vault::{MonitorToken, OuterKey};

use super::{OUTER_KEY, WAIT_TIMEOUT, database, eventually};

/// A running engine, with an HTTP client and the key that signs tokens for it.
pub struct Engine {
    running: Running,
    key: SigningKey,
    settings: Settings,
    clock: Clock,
    http: HttpClient<HttpConnector, Full<Bytes>>,
}

/// A request of a test.
#[derive(Clone, Debug, Default)]
pub struct HttpRequest {
    /// HTTP method, such as `POST`.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// The body as it is sent.
    pub body: Bytes,
}

/// The response to a request.
#[derive(Clone, Debug)]
pub struct HttpResponse {
    /// The status code.
    pub status: u16,
    /// The media type; empty where there is none.
    pub kind: String,
    /// All headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl HttpRequest {
    /// A POST with a bearer token and a media type.
    pub fn post(path: &str, token: &str, kind: &str, body: impl Into<Bytes>) -> Self {
        let headers =
            vec![("authorization".to_owned(), format!("Bearer {token}")), ("content-type".to_owned(), kind.to_owned())];
        Self { method: "POST".into(), path: path.into(), headers, body: body.into() }
    }
}

impl HttpResponse {
    /// The body as JSON; null where it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The body of a batch, one value per command.
    pub fn lines(&self) -> Result<Vec<Value>> {
        let lines = self.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).context("an answer is not JSON")).collect()
    }
}

impl Engine {
    /// Starts an engine with every role and the default settings, and waits until it is ready.
    pub async fn start() -> Result<Self> {
        Self::start_with(Settings::default()).await
    }

    /// The same with these settings.
    pub async fn start_with(settings: Settings) -> Result<Self> {
        Self::start_on_with(database().await, settings).await
    }

    /// The same on an existing database.
    pub async fn start_on(url: &str) -> Result<Self> {
        Self::start_on_with(url.to_owned(), Settings::default()).await
    }

    /// The same on an existing database with these settings.
    pub async fn start_on_with(url: String, settings: Settings) -> Result<Self> {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        // Of the private addresses, only loopback addresses are permitted as targets of webhooks.
        let webhook_targets_allowed = vec!["127.0.0.0/8".into()];
        let settings = Settings { listen, owner: "test".into(), webhook_targets_allowed, ..settings };
        let key = SigningKey::from_seed("test", [7; 32]);
        let outer = OuterKey::from_base64(OUTER_KEY)?;
        let auth = settings.auth_with(vec![key.public()?]);
        let config = settings.configuration_with(Roles::ALONE, url, outer, auth)?;
        let clock = config.clock.clone();
        let running = Running::start(config, cartulary::process::listen(settings.listen).await?).await?;
        let http = HttpClient::builder(TokioExecutor::new()).build_http();
        let engine = Self { running, key, settings, clock, http };
        eventually("the engine is ready", async || {
            let ready = HttpRequest { method: "GET".into(), path: "/ready".into(), ..HttpRequest::default() };
            Ok(engine.send(&ready).await?.status == 200)
        })
        .await?;
        Ok(engine)
    }

    /// Stops the engine and waits until it has stopped.
    pub async fn close(self) {
        self.running.stop().await;
    }

    /// `http://host:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.running.address)
    }

    /// Shifts the clock of the engine from that of the machine, in microseconds.
    pub fn shift_clock(&self, micros: i64) {
        self.clock.shift(micros);
    }

    /// Connections to its database.
    pub fn pool(&self) -> &PgPool {
        &self.running.pool
    }

    /// Number of GraphQL requests that were answered by a read plan.
    pub fn planned_answers(&self) -> u64 {
        self.running.planned_answers()
    }

    /// A token of a principal, valid for an hour.
    pub fn token(&self, bearer: &Bearer) -> Result<String> {
        let seconds = now().micros().div_euclid(1_000_000);
        let claims = Claims {
            iss: self.settings.token_issuer.clone(),
            aud: self.settings.token_audience.clone(),
            sub: bearer.subject,
            tenant: bearer.tenant,
            roles: vec![bearer.role],
            customer: bearer.customer,
            exp: seconds + 3_600,
            nbf: None,
            iat: seconds,
        };
        Ok(self.key.sign(&claims)?)
    }

    /// Sends a request and reads the whole response.
    pub async fn send(&self, sent: &HttpRequest) -> Result<HttpResponse> {
        let uri = format!("{}{}", self.url(), sent.path);
        let mut request = Request::builder().method(sent.method.as_str()).uri(uri);
        for (name, value) in &sent.headers {
            request = request.header(name, value);
        }
        let answer = self.http.request(request.body(Full::new(sent.body.clone()))?).await?;
        let status = answer.status().as_u16();
        let headers = answer.headers().clone();
        let kind = headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default().into();
        Ok(HttpResponse { status, kind, headers, body: answer.into_body().collect().await?.to_bytes() })
    }

    /// Sends a command that must be accepted.
    pub async fn execute(&self, token: &str, name: &str, body: &Value) -> Result<Value> {
        let path = format!("/v1/commands/{name}");
        let got = self.send(&HttpRequest::post(&path, token, "application/json", body.to_string())).await?;
        ensure!(got.status == 200, "{name} was answered with {}: {}", got.status, got.json());
        Ok(got.json())
    }

    /// Sends a command under an idempotency key.
    pub async fn command(&self, token: &str, name: &str, key: Uuid, body: &Value) -> Result<HttpResponse> {
        let mut sent = HttpRequest::post(&format!("/v1/commands/{name}"), token, "application/json", body.to_string());
        sent.headers.push(("idempotency-key".into(), key.to_string()));
        self.send(&sent).await
    }

    /// A page that operators read.
    pub async fn monitor(&self, path: &str) -> Result<HttpResponse> {
        let monitor = MonitorToken::new(&OuterKey::from_base64(OUTER_KEY)?);
        let headers = vec![("authorization".to_owned(), format!("Bearer {}", monitor.text()))];
        self.send(&HttpRequest { method: "GET".into(), path: path.into(), headers, ..HttpRequest::default() }).await
    }

    /// The body of `/reason`.
    pub async fn reason(&self) -> Result<Value> {
        Ok(self.monitor("/reason").await?.json())
    }

    /// Runs a GraphQL query that must succeed, and returns its data. Repeats it while the engine asks for that.
    pub async fn query(&self, token: &str, query: &str) -> Result<Value> {
        let body = json!({ "query": query }).to_string();
        let begun = Instant::now();
        loop {
            let got = self.send(&HttpRequest::post("/graphql", token, "application/json", body.clone())).await?;
            let mut answer = got.json();
            if got.status == 200 && answer["errors"].is_null() {
                return Ok(answer["data"].take());
            }
            let is_behind = answer["errors"][0]["extensions"]["code"] == "BEHIND";
            ensure!(is_behind && begun.elapsed() < WAIT_TIMEOUT, "{query} was answered with {answer}");
        }
    }

    /// Registers a tenant at the platform and waits until the policy has opened it.
    pub async fn tenant(&self) -> Result<(TenantId, StoreId)> {
        let tenant = TenantId::new(new_id());
        let short = tenant.to_string().replace('-', "");
        let operator = self.token(&Bearer::of(TenantId::PLATFORM, Role::Operator))?;
        let register = json!({
            "tenant": tenant, "name": "Corner shop", "subdomain": format!("shop-{short}"),
            "contact_email": format!("{short}@example.org"), "currency": "USD", "zone": "Europe/Berlin",
        });
        self.execute(&operator, "RegisterTenant", &register).await?;
        let text = "SELECT EXISTS (SELECT FROM log.events WHERE tenant = $1 AND type = 'tenant.opened')";
        eventually("the tenant is opened", async || {
            Ok(sqlx::query_scalar(text).bind(tenant.uuid()).fetch_one(self.pool()).await?)
        })
        .await?;
        Ok((tenant, Tenant::first_store(tenant)))
    }

    /// Numbers of events and of stored rejections of a tenant.
    pub async fn written(&self, tenant: Uuid) -> Result<(i64, i64)> {
        let text = "SELECT (SELECT count(*) FROM log.events WHERE tenant = $1),
                           (SELECT count(*) FROM log.receipts WHERE tenant = $1)";
        Ok(sqlx::query_as(text).bind(tenant).fetch_one(self.pool()).await?)
    }
}
