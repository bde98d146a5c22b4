//! Servers over TLS: PostgreSQL, Redis and Kafka, the last with a user and a password.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};
use edge::redis::{Redis, client, server_info};
use lab::demo::client::Client;
use lab::fleet::EngineProcess;
use lab::harness::{Cluster, KAFKA_PERMIT, WAIT_TIMEOUT, caught_up, eventually, free_address};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use vault::OuterKey;
use xtask::servers::{ALL, Authority, Program, Secured, Servers, in_folder};

use crate::outages::{gets_ready, reports, reserve};

const USER: &str = "cartulary";
const PASSWORD: &str = "correct-horse";
const OTHER_PASSWORD: &str = "battery-staple";

static FOLDERS: AtomicU32 = AtomicU32::new(0);

/// Servers of one test that are restarted with other certificates, each at its address.
struct Provider {
    folder: PathBuf,
    servers: Servers,
    /// The authority that the engine trusts.
    authority: Authority,
    right: PathBuf,
    /// A certificate of another host and one of an unknown authority, each with its error.
    wrong: [(PathBuf, &'static str); 2],
}

impl Provider {
    fn new() -> Result<Self> {
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("cartulary-provided-{}-{number}", std::process::id()));
        let servers = in_folder(&folder.join("servers"))?;
        let (authority, stranger) =
            (Authority::new(&folder.join("authority"))?, Authority::new(&folder.join("stranger"))?);
        let right = authority.sign("right", "IP:127.0.0.1")?;
        let wrong = [
            (authority.sign("elsewhere", "DNS:elsewhere.example")?, "not valid for name"),
            (stranger.sign("strange", "IP:127.0.0.1")?, "UnknownIssuer"),
        ];
        Ok(Self { folder, servers, authority, right, wrong })
    }

    /// Restarts some servers and returns their addresses.
    async fn start(&self, programs: &'static [Program], identity: &Path, password: &str) -> Result<Vec<String>> {
        let login = Some((USER.to_owned(), password.to_owned()));
        let secured = Secured { identity: identity.to_owned(), authority: self.authority.certificate(), login };
        let (before, servers) = (self.servers.clone(), self.servers.clone().secured(secured));
        let started = tokio::task::spawn_blocking(move || {
            before.down(programs)?;
            servers.up(programs)
        });
        Ok(started.await??.into_iter().map(|server| server.address).collect())
    }

    fn authorities(&self) -> Result<Vec<u8>> {
        Ok(fs::read(self.authority.certificate())?)
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.servers.down(&ALL);
        let _ = fs::remove_dir_all(&self.folder);
    }
}

async fn migrate(cluster: &Cluster) -> Result<()> {
    let migrated = cluster.cartulary().arg("migrate").output().await?;
    ensure!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn database_with_a_wrong_certificate_is_waited_for_and_the_reason_is_reported() -> Result<()> {
    const DATABASE: &[Program] = &[Program::Postgres];
    let provider = Provider::new()?;
    let url = provider.start(DATABASE, &provider.right, PASSWORD).await?.pop().context("one server")?;
    ensure!(url.contains("sslmode=verify-full"), "{url}");
    let (cluster, address) = (Cluster::new(&url).await?, free_address()?);
    migrate(&cluster).await?;
    let missing = platform::database::connect(&url.replace("authority.crt", "nowhere.crt"))
        .await
        .err()
        .context("it was trusted")?;
    ensure!(format!("{missing:#}").contains("a file that its URL names (sslrootcert"), "{missing:#}");

    provider.start(DATABASE, &provider.wrong[0].0, PASSWORD).await?;
    let mut command = cluster.cartulary();
    command.arg("scribe").env("CARTULARY_LISTEN", &address).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    let http = Client::new(&format!("http://{address}"), cluster.monitor_token()?);
    let reported = async || -> Result<String> { Ok(String::from_utf8(http.get("/reason").await?.body.to_vec())?) };
    for (identity, reason) in &provider.wrong {
        provider.start(DATABASE, identity, PASSWORD).await?;
        eventually(reason, async || Ok(reported().await.is_ok_and(|text| text.contains(reason)))).await?;
    }
    provider.start(DATABASE, &provider.right, PASSWORD).await?;
    eventually("it is ready", async || Ok(http.get("/ready").await.is_ok_and(|ready| ready.status == 200))).await?;

    let pid = child.id().and_then(|pid| Pid::from_raw(pid.try_into().ok()?)).context("it runs")?;
    kill_process(pid, Signal::TERM)?;
    let status = timeout(WAIT_TIMEOUT, child.wait()).await.context("it does not stop")??;
    ensure!(status.success(), "it ended with {status}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_with_a_wrong_certificate_is_not_used_and_the_reason_is_reported() -> Result<()> {
    const REDIS: &[Program] = &[Program::Redis];
    let provider = Provider::new()?;
    let url = provider.start(REDIS, &provider.right, PASSWORD).await?.pop().context("one server")?;
    let outer = OuterKey::from_base64("AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")?;
    let trusting = client(&url, Some(provider.authorities()?))?;
    let redis = Redis::start(trusting.clone(), "test", &outer, CancellationToken::new()).await?;
    let ping = async || {
        redis.execute(|mut redis| async move { ::redis::cmd("PING").query_async::<String>(&mut redis).await }).await
    };
    eventually("Redis answers", async || Ok(ping().await.as_deref() == Some("PONG"))).await?;
    assert!(server_info(&trusting).await?.starts_with("reachable, version "));

    // The certificate is not signed by an authority that the system trusts.
    let refused = server_info(&client(&url, None)?).await.err().context("it was trusted")?;
    ensure!(format!("{refused:#}").contains("UnknownIssuer"), "{refused:#}");

    for (identity, reason) in &provider.wrong {
        provider.start(REDIS, identity, PASSWORD).await?;
        ping().await;
        eventually(reason, async || Ok(redis.outage().is_some_and(|trouble| trouble.contains(reason)))).await?;
        assert_eq!(ping().await, None);
    }
    provider.start(REDIS, &provider.right, PASSWORD).await?;
    eventually("Redis is used again", async || Ok(ping().await.is_some() && redis.outage().is_none())).await?;
    Ok(())
}

/// Settings of every process.
fn variables(provider: &Provider, addresses: &[String]) -> Result<Vec<(&'static str, String)>> {
    let [_, redis, kafka] = addresses else { anyhow::bail!("three servers, not {addresses:?}") };
    let password = provider.folder.join("kafka.password");
    fs::write(&password, format!("{PASSWORD}\n"))?;
    fs::set_permissions(&password, Permissions::from_mode(0o600))?;
    let authority = provider.authority.certificate().display().to_string();
    Ok(vec![
        ("CARTULARY_LOG", "trace".into()),
        ("CARTULARY_REDIS_URL", redis.clone()),
        ("CARTULARY_REDIS_CA_FILE", authority.clone()),
        ("CARTULARY_KAFKA_BROKERS", kafka.clone()),
        ("CARTULARY_KAFKA_TLS", "true".into()),
        ("CARTULARY_KAFKA_CA_FILE", authority),
        ("CARTULARY_KAFKA_USER", USER.into()),
        ("CARTULARY_KAFKA_PASSWORD_FILE", password.display().to_string()),
    ])
}

/// Checks that neither pages nor log of a process hold the password.
async fn shows_no_password(process: &EngineProcess) -> Result<()> {
    let pages = [process.get("/reason").await?.1, process.get("/metrics").await?.1, fs::read_to_string(&process.log)?];
    ensure!(pages.iter().all(|page| !page.contains(PASSWORD)), "{} shows its password", process.name);
    ensure!(pages[2].contains("DEBUG"), "its log is next to empty");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_work_on_servers_that_accept_tls_only() -> Result<()> {
    let (_turn, provider) = (KAFKA_PERMIT.acquire().await?, Provider::new()?);
    let addresses = provider.start(&ALL, &provider.right, OTHER_PASSWORD).await?;
    let url = addresses.first().context("PostgreSQL")?;
    let (cluster, variables) = (Cluster::new(url).await?, variables(&provider, &addresses)?);
    let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    migrate(&cluster).await?;
    let pool = platform::database::connect(url).await?;
    let writer = cluster.start_ready(&variables).await?;
    let relay = cluster.start_unready("relay", "relay-1", &variables).await?;
    let project = cluster.start_unready("project", "project-1", &variables).await?;
    reports(&relay, "uthentication failed").await?;
    reports(&project, "uthentication failed").await?;
    let (shop, owner) = cluster.shop(&writer, &pool, 1_000).await?;
    reserve(&owner, &shop, 5).await?;
    caught_up(&pool).await?;
    let doctor = cluster.cartulary().arg("doctor").envs(variables.iter().copied()).output().await?;
    let said = String::from_utf8(doctor.stdout)?;
    ensure!(said.contains("uthentication failed") && said.contains("reachable, version"), "{said}");

    // The broker is started again with the right password.
    provider.servers.down(&[Program::Kafka])?;
    fs::remove_dir_all(provider.folder.join("servers/kafka/data"))?;
    provider.start(&[Program::Kafka], &provider.right, PASSWORD).await?;
    gets_ready(&relay).await?;
    gets_ready(&project).await?;
    reserve(&owner, &shop, 5).await?;
    eventually("events come over Kafka", async || {
        Ok(project.metric_sum("cartulary_events_from_kafka_total").await? > 0)
    })
    .await?;
    caught_up(&pool).await?;
    assert_eq!(shop.count(&pool, "stock.reserved").await?, 10);

    let over_tls = "SELECT count(*) FILTER (WHERE ssl), count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                    WHERE client_addr IS NOT NULL";
    let (secured, all): (i64, i64) = sqlx::query_as(over_tls).fetch_one(&pool).await?;
    assert!(secured == all && all > 3, "{secured} of {all} connections are over TLS");
    for process in [writer, relay, project] {
        assert_eq!(process.metric_sum("cartulary_redis_up").await?, 1, "{}", process.name);
        shows_no_password(&process).await?;
        process.stop().await?;
    }
    Ok(())
}
