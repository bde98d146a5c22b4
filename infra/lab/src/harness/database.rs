//! One PostgreSQL for each test binary, one database per test.

use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Result;
use cartulary::embedded::{ENGINE_LOGIN, EmbeddedServer, EmbeddedSettings};
use event_log::LaneCount;
use platform::DatabaseRole;
use projections::kernel::Models;
use sqlx::{Connection, Executor, PgConnection, PgExecutor, PgPool};

use views::store::PgRows;

use super::eventually;

/// The PostgreSQL server of this process.
struct TestServer {
    /// Returns the URL of the database with this name.
    url: Box<dyn Fn(&str) -> String + Send + Sync>,
}

static SERVER: OnceLock<TestServer> = OnceLock::new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// The same database with the login of an engine, which owns nothing.
pub fn engine_url(url: &str) -> String {
    url.replacen("user=cartulary&", &format!("user={ENGINE_LOGIN}&"), 1)
}

/// Creates a database with the current schema for one test, and returns its URL, with the login of its owner.
pub async fn database() -> String {
    let server = tokio::task::spawn_blocking(|| SERVER.get_or_init(start)).await.expect("a server");
    let name = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    let mut connection = PgConnection::connect(&(server.url)("postgres")).await.expect("the server answers");
    // PostgreSQL cannot copy one template twice at the same time.
    connection.execute("SELECT pg_advisory_lock(1)").await.expect("the lock is free in time");
    let copy = format!("CREATE DATABASE {name} TEMPLATE cartulary");
    connection.execute(&*copy).await.expect("a copy of the template");
    connection.close().await.expect("closed");
    (server.url)(&name)
}

/// Creates a database with another number of lanes than usual, and returns its URL, with the login of its owner.
pub async fn database_with_lanes(lanes: LaneCount) -> Result<String> {
    let server = tokio::task::spawn_blocking(|| SERVER.get_or_init(start)).await?;
    let name = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    let mut connection = PgConnection::connect(&(server.url)("postgres")).await?;
    connection.execute(&*format!("CREATE DATABASE {name}")).await?;
    connection.close().await?;
    let url = (server.url)(&name);
    let pool = platform::database::connect(&url).await?;
    event_log::migrate_with(&pool, Some(lanes)).await?;
    pool.close().await;
    let workers = platform::database::connect_as(&url, DatabaseRole::Worker).await?;
    PgRows::new(workers.clone()).prepare(Models::all().iter()).await?;
    workers.close().await;
    Ok(url)
}

/// Starts the server on a thread that lives as long as this process, and a shell that stops the server when this process
/// has ended.
#[expect(clippy::zombie_processes, reason = "the shell outlives the tests on purpose")]
fn start() -> TestServer {
    let project = std::env::temp_dir().join(format!("cartulary-tests-{}", std::process::id()));
    std::fs::create_dir_all(&project).expect("a folder");
    let (sender, receiver) = std::sync::mpsc::channel();
    let folder = project.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let settings = EmbeddedSettings { project: folder, binaries: None };
            let server = EmbeddedServer::start(&settings).await.expect("the server starts");
            let pool = platform::database::connect(&server.url()).await.expect("the server answers");
            event_log::migrate(&pool).await.expect("the schema of today");
            event_log::walls::create_login(&pool, ENGINE_LOGIN).await.expect("a login for engines");
            pool.close().await;
            let workers = platform::database::connect_as(&server.url(), DatabaseRole::Worker).await.expect("the role");
            PgRows::new(workers.clone()).prepare(Models::all().iter()).await.expect("tables of the read models");
            workers.close().await;
            end_sessions_of_template(&server.url_of("postgres")).await.expect("PostgreSQL answers");
            let (pid, data) = (server.pid().expect("a server has a pid"), server.data());
            sender.send((server.url_of("DATABASE"), pid, data)).expect("the thread that starts the server waits");
            std::future::pending::<()>().await;
            drop(server);
        });
    });
    let (url, pid, data) = receiver.recv().expect("the server starts");
    let script = format!(
        "while kill -0 {own} 2>/dev/null; do sleep 0.2; done; kill -INT {pid}; sleep 2; rm -rf '{project}' '{data}'",
        own = std::process::id(),
        project = project.display(),
        data = data.display(),
    );
    let mut watch = Command::new("sh");
    watch.args(["-c", &script]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let _outlives_us = watch.spawn().expect("a shell");
    TestServer { url: Box::new(move |name| url.replacen("DATABASE", name, 1)) }
}

/// Ends what is left of the pools that have prepared the template, which cannot be copied while a session uses it: a pool
/// may close while it still takes a connection back.
async fn end_sessions_of_template(url: &str) -> Result<()> {
    let text = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = 'cartulary'";
    let mut connection = PgConnection::connect(url).await?;
    connection.execute(text).await?;
    Ok(connection.close().await?)
}

/// Ends all sessions on the database except those of the application `witness`, as a fail-over or an operator does.
pub async fn end_sessions(by: impl PgExecutor<'_>) -> Result<()> {
    let text = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                WHERE datname = current_database() AND application_name <> 'witness'";
    sqlx::query(text).execute(by).await?;
    Ok(())
}

/// Waits until this many background loops have each queried a table (such as `work.hold`) three times more, every query
/// begun after this call. A test that something does not happen calls it first: work that was due before the call has
/// begun when it returns.
///
/// The function locks the table until the queries of all loops wait for the lock.
pub async fn wait_for_new_looks(pool: &PgPool, table: &str, loops: i64) -> Result<()> {
    const QUERIES: usize = 3;
    let waiting = "SELECT count(DISTINCT pid) FROM pg_locks WHERE relation = $1::regclass AND NOT granted";
    for _ in 0..QUERIES {
        let mut lock = pool.begin().await?;
        sqlx::query(&format!("LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")).execute(&mut *lock).await?;
        eventually(&format!("{loops} loops query {table}"), async || {
            Ok(sqlx::query_scalar::<_, i64>(waiting).bind(table).fetch_one(&mut *lock).await? >= loops)
        })
        .await?;
        lock.rollback().await?;
    }
    Ok(())
}
