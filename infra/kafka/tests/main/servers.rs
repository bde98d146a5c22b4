//! Servers of the test run; each test has its own topic and database.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use kafka::Settings;
use sqlx::{Connection, Executor, PgConnection, PgPool};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use xtask::servers::{Program, Servers, in_folder};

const PROGRAMS: [Program; 2] = [Program::Postgres, Program::Kafka];

const LOG: &str = include_str!("../../../log/migrations/0001_log.sql");
const RELAYS: &str = include_str!("../../../log/migrations/0004_relay.sql");

static RUN: OnceLock<Run> = OnceLock::new();
static TESTS: AtomicU32 = AtomicU32::new(0);
/// Tests that stop the broker hold the write lock, all others the read lock.
static TURNS: RwLock<()> = RwLock::const_new(());

struct Run {
    servers: Servers,
    database: String,
    brokers: String,
}

/// Topic and database of one test.
pub(crate) struct TestEnvironment {
    pub(crate) settings: Settings,
    pub(crate) pool: PgPool,
    _turn: Turn,
}

#[expect(dead_code, reason = "held, not read")]
enum Turn {
    Shared(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
}

impl TestEnvironment {
    /// Shares the broker with other tests.
    pub(crate) async fn shared() -> Self {
        Self::with(Turn::Shared(TURNS.read().await)).await
    }

    /// Uses the broker alone.
    pub(crate) async fn alone() -> Self {
        Self::with(Turn::Alone(TURNS.write().await)).await
    }

    async fn with(turn: Turn) -> Self {
        let run = tokio::task::spawn_blocking(|| RUN.get_or_init(start)).await.expect("servers");
        let number = TESTS.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{number}");
        let mut connection = PgConnection::connect(&run.database).await.expect("PostgreSQL answers");
        connection.execute(&*format!("CREATE DATABASE {name}")).await.expect("a database");
        let (server, _) = run.database.rsplit_once('/').expect("an address");
        let pool = PgPool::connect(&format!("{server}/{name}")).await.expect("PostgreSQL answers");
        for migration in [LOG, "CREATE SCHEMA work", RELAYS] {
            sqlx::raw_sql(migration).execute(&pool).await.expect("the tables of a relay");
        }
        let settings = Settings { brokers: run.brokers.clone(), topic: name, ..Settings::default() };
        Self { settings, pool, _turn: turn }
    }
}

/// Kills the broker without a clean shutdown.
pub(crate) fn kill_broker() {
    let servers = &RUN.get().expect("servers").servers;
    let kafka = servers.status().expect("a status").into_iter().find(|server| server.program == Program::Kafka);
    let kafka = kafka.expect("Kafka was started");
    kafka.signal("KILL").expect("killed");
    while kafka.runs() {
        std::thread::yield_now();
    }
}

/// Starts the broker again on its former port.
pub(crate) fn start_broker() {
    RUN.get().expect("servers").servers.up(&[Program::Kafka]).expect("Kafka starts");
}

fn start() -> Run {
    let folder = std::env::temp_dir().join(format!("cartulary-kafka-tests-{}", std::process::id()));
    let servers = in_folder(&folder).expect("a folder");
    watch(&folder);
    let started = servers.up(&PROGRAMS).expect("the servers start");
    let address = |program| started.iter().find(|server| server.program == program).expect("started").address.clone();
    Run { database: address(Program::Postgres), brokers: address(Program::Kafka), servers }
}

/// Starts a shell that stops the servers after this process has ended for any reason.
#[expect(clippy::zombie_processes, reason = "the shell has to outlive the tests")]
fn watch(folder: &Path) {
    let script = format!(
        "while kill -0 {own} 2>/dev/null; do sleep 0.2; done
         for pid in $(sed -n 's/.*\"pid\": \\([0-9]*\\).*/\\1/p' '{folder}/servers.json'); do
             tr '\\0' ' ' < /proc/$pid/cmdline | grep -q '{folder}' && kill -INT $pid
         done; sleep 3; rm -rf '{folder}'",
        own = std::process::id(),
        folder = folder.display(),
    );
    let mut watch = Command::new("sh");
    watch.args(["-c", &script]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let _outlives_us = watch.spawn().expect("a shell");
}
