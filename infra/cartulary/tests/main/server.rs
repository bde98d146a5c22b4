//! One PostgreSQL for the whole test run, one database per test.

use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use cartulary::embedded::{EmbeddedServer, EmbeddedSettings};
use cartulary::running;
use sqlx::{Connection, Executor, PgConnection};

/// Where the server of this run can be reached.
struct Server {
    /// The address of one database, its name left out.
    url: Box<dyn Fn(&str) -> String + Send + Sync>,
}

static SERVER: OnceLock<Server> = OnceLock::new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// A fresh database with the schema of today, for one test alone.
pub(crate) async fn database() -> String {
    let server = tokio::task::spawn_blocking(|| SERVER.get_or_init(start)).await.expect("a server");
    let name = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    let mut connection = PgConnection::connect(&(server.url)("postgres")).await.expect("the server answers");
    // Two copies of one template cannot be made at the same time.
    connection.execute("SELECT pg_advisory_lock(1)").await.expect("a turn");
    let copy = format!("CREATE DATABASE {name} TEMPLATE cartulary");
    connection.execute(&*copy).await.expect("a copy of the template");
    connection.close().await.expect("closed");
    (server.url)(&name)
}

/// Starts the server on a thread that lives as long as the tests, and a watch that ends it after them.
#[expect(clippy::zombie_processes, reason = "the watch outlives the tests on purpose")]
fn start() -> Server {
    let project = std::env::temp_dir().join(format!("cartulary-tests-{}", std::process::id()));
    std::fs::create_dir_all(&project).expect("a folder");
    let (tell, told) = std::sync::mpsc::channel();
    let folder = project.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let settings = EmbeddedSettings { project: folder, binaries: None };
            let server = EmbeddedServer::start(&settings).await.expect("the server starts");
            let pool = running::connect(&server.url()).await.expect("the server answers");
            running::migrate(&pool).await.expect("the schema of today");
            pool.close().await;
            let (pid, data) = (server.pid().expect("a server has a pid"), server.data());
            tell.send((server.url_of("DATABASE"), pid, data)).expect("somebody waits");
            std::future::pending::<()>().await;
            drop(server);
        });
    });
    let (url, pid, data) = told.recv().expect("the server starts");
    let script = format!(
        "while kill -0 {own} 2>/dev/null; do sleep 0.2; done; kill -INT {pid}; sleep 2; rm -rf '{project}' '{data}'",
        own = std::process::id(),
        project = project.display(),
        data = data.display(),
    );
    let mut watch = Command::new("sh");
    watch.args(["-c", &script]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let _outlives_us = watch.spawn().expect("a shell");
    Server { url: Box::new(move |name| url.replacen("DATABASE", name, 1)) }
}
