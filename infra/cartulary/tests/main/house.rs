//! The whole engine in the process of the test, front door included, on a database of its own.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use api::auth::{Claims, SigningKey};
use bytes::Bytes;
use cartulary::cli::Bearer;
use cartulary::running::{self, Roles, Running};
use cartulary::settings::Settings;
use domain::shared::{Role, StoreId, TenantId};
use domain::tenancy::Tenant;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Request};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use platform::clock::{new_id, now};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;
use vault::OuterKey;

use crate::server::database;
use crate::shop::eventually;

/// A running engine and a way to call it as anybody.
pub(crate) struct FrontDoor {
    running: Running,
    key: SigningKey,
    settings: Settings,
    http: HttpClient<HttpConnector, Full<Bytes>>,
}

/// What a test sends.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sent {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
}

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) kind: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Sent {
    pub(crate) fn post(path: &str, token: &str, kind: &str, body: impl Into<Bytes>) -> Self {
        let headers =
            vec![("authorization".to_owned(), format!("Bearer {token}")), ("content-type".to_owned(), kind.to_owned())];
        Self { method: "POST".into(), path: path.into(), headers, body: body.into() }
    }
}

impl Got {
    /// The body as JSON; null where it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The body of a batch, answer by answer.
    pub(crate) fn lines(&self) -> Result<Vec<Value>> {
        let lines = self.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).context("an answer is not JSON")).collect()
    }
}

impl FrontDoor {
    pub(crate) async fn open() -> Result<Self> {
        Self::open_with(Settings::default()).await
    }

    pub(crate) async fn open_with(settings: Settings) -> Result<Self> {
        let url = database().await;
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        // Of all that is private, only this machine may be sent webhooks.
        let webhook_targets_allowed = vec!["127.0.0.0/8".into()];
        let settings = Settings { listen, owner: "front".into(), webhook_targets_allowed, ..settings };
        let key = SigningKey::from_seed("test", [7; 32]);
        let outer = OuterKey::from_base64("AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")?;
        let auth = settings.auth_with(vec![key.public()?]);
        let running =
            Running::start(&settings, running::listen(&settings).await?, Roles::ALONE, &url, &outer, auth).await?;
        let http = HttpClient::builder(TokioExecutor::new()).build_http();
        let house = Self { running, key, settings, http };
        eventually("the engine is ready", async || {
            let ready = Sent { method: "GET".into(), path: "/ready".into(), ..Sent::default() };
            Ok(house.send(&ready).await?.status == 200)
        })
        .await?;
        Ok(house)
    }

    pub(crate) async fn close(self) {
        self.running.stop().await;
    }

    pub(crate) fn pool(&self) -> &PgPool {
        &self.running.pool
    }

    pub(crate) fn token(&self, bearer: &Bearer) -> Result<String> {
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

    pub(crate) async fn send(&self, sent: &Sent) -> Result<Got> {
        let uri = format!("http://{}{}", self.running.address, sent.path);
        let mut request = Request::builder().method(sent.method.as_str()).uri(uri);
        for (name, value) in &sent.headers {
            request = request.header(name, value);
        }
        let answer = self.http.request(request.body(Full::new(sent.body.clone()))?).await?;
        let status = answer.status().as_u16();
        let headers = answer.headers().clone();
        let kind = headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default().into();
        Ok(Got { status, kind, headers, body: answer.into_body().collect().await?.to_bytes() })
    }

    /// Sends a command that must be accepted.
    pub(crate) async fn done(&self, token: &str, name: &str, body: &Value) -> Result<Value> {
        let path = format!("/v1/commands/{name}");
        let got = self.send(&Sent::post(&path, token, "application/json", body.to_string())).await?;
        ensure!(got.status == 200, "{name} was answered with {}: {}", got.status, got.json());
        Ok(got.json())
    }

    /// Sends a command under a key of the caller's.
    pub(crate) async fn command(&self, token: &str, name: &str, key: Uuid, body: &Value) -> Result<Got> {
        let mut sent = Sent::post(&format!("/v1/commands/{name}"), token, "application/json", body.to_string());
        sent.headers.push(("idempotency-key".into(), key.to_string()));
        self.send(&sent).await
    }

    /// How the process says it is.
    pub(crate) async fn reason(&self) -> Result<Value> {
        let reason = Sent { method: "GET".into(), path: "/reason".into(), ..Sent::default() };
        Ok(self.send(&reason).await?.json())
    }

    /// Asks the read models; the data of the answer.
    pub(crate) async fn query(&self, token: &str, query: &str) -> Result<Value> {
        let body = json!({ "query": query }).to_string();
        let got = self.send(&Sent::post("/graphql", token, "application/json", body)).await?;
        let mut answer = got.json();
        ensure!(got.status == 200 && answer["errors"].is_null(), "{query} was answered with {answer}");
        Ok(answer["data"].take())
    }

    /// A tenant that was registered at the platform and opened by the policy.
    pub(crate) async fn tenant(&self) -> Result<(TenantId, StoreId)> {
        let tenant = TenantId::new(new_id());
        let short = tenant.to_string().replace('-', "");
        let operator = self.token(&Bearer::of(TenantId::PLATFORM, Role::Operator))?;
        let register = json!({
            "tenant": tenant, "name": "Corner shop", "subdomain": format!("shop-{short}"),
            "contact_email": format!("{short}@example.org"), "currency": "USD", "zone": "Europe/Berlin",
        });
        self.done(&operator, "RegisterTenant", &register).await?;
        let text = "SELECT EXISTS (SELECT FROM log.events WHERE tenant = $1 AND type = 'tenant.opened')";
        eventually("the tenant is opened", async || {
            Ok(sqlx::query_scalar(text).bind(tenant.uuid()).fetch_one(self.pool()).await?)
        })
        .await?;
        Ok((tenant, Tenant::first_store(tenant)))
    }

    /// How many events and how many refusals the log holds of a tenant.
    pub(crate) async fn written(&self, tenant: Uuid) -> Result<(i64, i64)> {
        let text = "SELECT (SELECT count(*) FROM log.events WHERE tenant = $1),
                           (SELECT count(*) FROM log.receipts WHERE tenant = $1)";
        Ok(sqlx::query_as(text).bind(tenant).fetch_one(self.pool()).await?)
    }
}
