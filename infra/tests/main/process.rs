//! `cartulary serve` as a process of its own, on keys of its own, to be killed, paused and restarted.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use api::auth::SigningKey;
use bytes::Bytes;
use domain::shared::TenantId;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::TokioExecutor;
use infra::demo::client::Client;
use infra::scribe::{new_id, now};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::SemaphorePermit;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use crate::shop::{PLACES, Shop, eventually};

const CARTULARY: &str = env!("CARGO_BIN_EXE_cartulary");
static FOLDERS: AtomicU32 = AtomicU32::new(0);

/// Keys and logs of the engines of one test.
pub(crate) struct Desk {
    folder: PathBuf,
    url: String,
    _places: SemaphorePermit<'static>,
}

/// A running engine.
pub(crate) struct Engine {
    child: Child,
    pub(crate) address: String,
    pub(crate) log: PathBuf,
}

impl Desk {
    /// Keys that openssl makes, as the handbook says.
    pub(crate) async fn new(url: &str) -> Result<Self> {
        let places = PLACES.acquire_many(3).await?;
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("cartulary-desk-{}-{number}", std::process::id()));
        fs::create_dir(&folder)?;
        let desk = Self { folder, url: url.to_owned(), _places: places };
        let script = "umask 077; openssl genpkey -algorithm ed25519 -out token.key && \
                      openssl pkey -in token.key -pubout -out token.pub && openssl rand -base64 32 > outer.key";
        let made = Command::new("sh").args(["-c", script]).current_dir(&desk.folder).output().await?;
        ensure!(made.status.success(), "openssl made no keys: {}", String::from_utf8_lossy(&made.stderr));
        Ok(desk)
    }

    pub(crate) fn cartulary(&self) -> Command {
        let mut command = Command::new(CARTULARY);
        let key = format!("test={}", self.folder.join("token.pub").display());
        // What is set for a person's own engine is not meant for ours.
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CARTULARY_")) {
            command.env_remove(name);
        }
        command.current_dir(&self.folder).stdin(Stdio::null()).kill_on_drop(true);
        command.env("CARTULARY_DATABASE_URL", &self.url).env("CARTULARY_TOKEN_KEYS", key);
        command.env("CARTULARY_OUTER_KEY_FILE", self.folder.join("outer.key")).env("CARTULARY_LISTEN", "127.0.0.1:0");
        command
    }

    /// Starts an engine with every role and waits until it says where it serves.
    pub(crate) async fn start(&self, variables: &[(&str, &str)]) -> Result<Engine> {
        self.start_as(&["serve", "--all"], variables).await
    }

    /// Starts a process in one role, under a name of its own.
    pub(crate) async fn start_unready(&self, role: &str, name: &str, more: &[(&str, &str)]) -> Result<Engine> {
        let variables = [&[("CARTULARY_OWNER", name), ("CARTULARY_CONNECTIONS_MOST", "4")], more].concat();
        self.start_as(&[role], &variables).await
    }

    /// The same, and waits until it is ready.
    pub(crate) async fn start_role(&self, role: &str, name: &str, more: &[(&str, &str)]) -> Result<Engine> {
        let engine = self.start_unready(role, name, more).await?;
        eventually("the process is ready", async || Ok(get(&engine, "/ready").await?.0 == 200)).await?;
        Ok(engine)
    }

    async fn start_as(&self, words: &[&str], variables: &[(&str, &str)]) -> Result<Engine> {
        let log = self.folder.join(format!("engine-{}.log", FOLDERS.fetch_add(1, Ordering::Relaxed)));
        let mut command = self.cartulary();
        command.args(words).envs(variables.iter().copied());
        let mut child = command.stdout(Stdio::piped()).stderr(fs::File::create(&log)?).spawn()?;
        let out = child.stdout.take().context("its output is piped")?;
        let mut line = String::new();
        timeout(Duration::from_secs(30), BufReader::new(out).read_line(&mut line)).await??;
        let Some((_, address)) = line.trim().split_once(" on http://") else {
            bail!("the engine does not serve: {line}{}", fs::read_to_string(&log)?);
        };
        Ok(Engine { child, address: format!("http://{address}"), log })
    }

    /// Starts an engine that owns all lanes.
    pub(crate) async fn start_ready(&self, variables: &[(&str, &str)]) -> Result<Engine> {
        let engine = self.start(variables).await?;
        eventually("the engine is ready", async || Ok(get(&engine, "/ready").await?.0 == 200)).await?;
        Ok(engine)
    }

    async fn token(&self, words: &[&str]) -> Result<String> {
        let key = format!("test={}", self.folder.join("token.key").display());
        let answer = self.cartulary().arg("token").args(words).args(["--key", &key]).output().await?;
        ensure!(answer.status.success(), "no token: {}", String::from_utf8_lossy(&answer.stderr));
        Ok(String::from_utf8(answer.stdout)?.trim().to_owned())
    }

    pub(crate) async fn owner(&self, engine: &Engine, tenant: TenantId) -> Result<Client> {
        Ok(Client::new(&engine.address, self.owner_token(tenant).await?))
    }

    pub(crate) async fn owner_token(&self, tenant: TenantId) -> Result<String> {
        self.token(&["--tenant", &tenant.to_string(), "--role", "owner"]).await
    }

    /// A token of a customer that is good for so many seconds from now.
    pub(crate) fn customer_token(&self, tenant: TenantId, customer: Uuid, seconds: i64) -> Result<String> {
        let key = SigningKey::from_pem("test", &fs::read_to_string(self.folder.join("token.key"))?)?;
        let now = now().micros() / 1_000_000;
        let claims = json!({
            "iss": "cartulary", "aud": "cartulary", "sub": customer, "tenant": tenant, "roles": ["customer"],
            "customer": customer, "iat": now - 100, "exp": now + seconds,
        });
        Ok(key.sign(&serde_json::from_value(claims)?)?)
    }

    pub(crate) async fn customer(&self, engine: &Engine, tenant: TenantId, customer: Uuid) -> Result<Client> {
        let (tenant, customer) = (tenant.to_string(), customer.to_string());
        let token = self.token(&["--tenant", &tenant, "--role", "customer", "--customer", &customer]).await?;
        Ok(Client::new(&engine.address, token))
    }

    /// Registers a tenant over HTTP and puts a product on sale; the policy that opens it must have run for that.
    pub(crate) async fn shop(&self, engine: &Engine, pool: &PgPool, units: i64) -> Result<(Shop, Client)> {
        let tenant = TenantId::new(new_id());
        let operator = Client::new(&engine.address, self.token(&["--role", "operator"]).await?);
        let tail = &tenant.to_string()[24..];
        let register = json!({
            "tenant": tenant, "name": "Corner shop", "subdomain": format!("shop-{tail}"),
            "contact_email": format!("office-{tail}@example.org"), "currency": "USD", "zone": "Europe/Berlin",
        });
        operator.do_it("RegisterTenant", new_id(), &register).await?;
        let (shop, owner) = (Shop::new(tenant), self.owner(engine, tenant).await?);
        eventually("the tenant is open", async || Ok(shop.count(pool, "tenant.opened").await? == 1)).await?;
        for (name, body) in shop.putting_on_sale(units) {
            owner.do_it(name, new_id(), &body).await?;
        }
        Ok((shop, owner))
    }
}

/// A port that was free a moment ago, for an engine that must come back at the same address.
pub(crate) fn free_address() -> Result<String> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Engine {
    pub(crate) async fn signal(&self, name: &str) -> Result<()> {
        let pid = self.child.id().context("the engine runs")?.to_string();
        let status = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status().await?;
        ensure!(status.success(), "the engine could not be sent {name}");
        Ok(())
    }

    /// Ends it without a chance to do anything.
    pub(crate) async fn kill(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Asks it to stop and waits until it has.
    pub(crate) async fn stop(mut self) -> Result<()> {
        self.signal("TERM").await?;
        let status = timeout(Duration::from_secs(20), self.child.wait()).await.context("it does not stop")??;
        ensure!(status.success(), "the engine ended with {status}: {}", fs::read_to_string(&self.log)?);
        Ok(())
    }
}

/// Status and text of a page that needs no token.
pub(crate) async fn get(engine: &Engine, path: &str) -> Result<(u16, String)> {
    let http = HttpClient::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let answer = http.get(format!("{}{path}", engine.address).parse()?).await?;
    let status = answer.status().as_u16();
    Ok((status, String::from_utf8(answer.into_body().collect().await?.to_bytes().into())?))
}

/// What a counter stands at, all its labels together.
pub(crate) async fn counted(engine: &Engine, figure: &str) -> Result<u64> {
    let (_, page) = get(engine, "/metrics").await?;
    let lines = page.lines().filter(|line| line.starts_with(figure));
    Ok(lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum())
}

/// What one request was answered; nothing where the connection failed or the answer never came.
pub(crate) async fn once(client: &Client, name: &str, id: Uuid, body: &Value) -> Option<(u16, Value)> {
    let path = format!("/v1/commands/{name}");
    let sent = client.post(&path, "application/json", Some(id), body.to_string());
    let reply = timeout(Duration::from_secs(15), sent).await.ok()?.ok()?;
    Some((reply.status, serde_json::from_slice(&reply.body).ok()?))
}

/// Sends a command to one engine after the other until it is decided, as a careful client does.
pub(crate) async fn persist(clients: &[&Client], name: &str, id: Uuid, body: &Value) -> Result<Value> {
    let begun = Instant::now();
    for client in clients.iter().cycle() {
        ensure!(begun.elapsed() < Duration::from_secs(60), "{name} is never decided");
        match once(client, name, id, body).await {
            Some((200 | 409, answer)) => return Ok(answer),
            Some((503, _)) | None => sleep(Duration::from_millis(20)).await,
            Some((status, answer)) => bail!("{name} was answered with {status}: {answer}"),
        }
    }
    bail!("nobody to send it to")
}
