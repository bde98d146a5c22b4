//! Database connectivity of a process: records whether the database is reachable, as [`crate::database::watch`]
//! detects, and closes the pool's connections that were opened before a loss.
//!
//! On a network that drops every packet, a client that sends a statement learns of the loss only when TCP gives up,
//! after about a quarter of an hour. If the server acknowledged the statement before the loss, the client waits for
//! ever. Therefore the database is probed once a second. When it is lost, work on older connections is dropped and they
//! are not used again.
//!
//! The connection on which a scribe commits is not in the pool and has its own time limits (`scribe/driver.rs`,
//! `commit/mod.rs`).

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgPoolOptions;
use sqlx::{Executor, PgConnection};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::database_role::DatabaseRole;

/// Time limit of a short statement. Longer than the seven seconds in which a lost database is detected: when the
/// statement is given up, its connection is already known to be stale and is closed instead of returned to the pool.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(8);

/// Settings with which the server detects within about ten seconds that the client of this session has gone silent.
/// Until then the server keeps the locks of its transaction, among them those on lanes; by default that takes two
/// hours.
const TCP_TIMEOUTS: &str = "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3;
                            SET tcp_user_timeout = 10000";

/// Time limit for waiting for a lock of another session, on connections of the pool. Without it, a table that an operator
/// has locked would stop everything that reads it, silently and for as long as the lock is held.
const LOCK_TIMEOUT: &str = "SET lock_timeout = '10s'";

/// Time in which cancelled work can end by itself; after it, the work is dropped.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(3);

/// Connectivity to the database as observed by this process. Clones share the state.
#[derive(Clone, Debug)]
pub struct Connectivity(Arc<watch::Sender<Observation>>);

#[derive(Clone, Copy, Debug, Default)]
struct Observation {
    state: State,
    /// Time of the last loss.
    lost_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Reachable,
    /// The current probe has been without an answer for 300 ms.
    Silent,
    Lost,
}

impl Default for Connectivity {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Observation::default())))
    }
}

impl Connectivity {
    pub(crate) fn report_silent(&self) {
        self.0.send_modify(|observed| {
            if observed.state == State::Reachable {
                observed.state = State::Silent;
            }
        });
    }

    pub(crate) fn report_lost(&self) {
        let lost = Observation { state: State::Lost, lost_at: Some(Instant::now()) };
        self.0.send_modify(|observed| *observed = lost);
    }

    pub(crate) fn report_reachable(&self) {
        let state = State::Reachable;
        self.0.send_if_modified(|observed| std::mem::replace(&mut observed.state, state) != state);
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.0.borrow().state == State::Lost
    }

    /// Waits until the database is lost. From then on no answer can be expected on connections that are open now.
    pub async fn until_lost(&self) {
        self.until(|state| state == State::Lost).await;
    }

    async fn until(&self, matches: impl Fn(State) -> bool) {
        if self.0.subscribe().wait_for(|observed| matches(observed.state)).await.is_err() {
            std::future::pending().await
        }
    }

    /// Runs work until it ends. When the database is lost, cancels the work, drops it after three seconds if it has not
    /// ended, and starts it again once the database is reachable. The work must therefore be safe to drop at any await
    /// point.
    pub async fn restart_after_loss<F: Future<Output = ()>>(
        &self,
        stop: CancellationToken,
        start: impl Fn(CancellationToken) -> F,
    ) {
        loop {
            let run = stop.child_token();
            let mut work = Box::pin(start(run.clone()));
            tokio::select! {
                () = &mut work => return,
                () = self.until_lost() => run.cancel(),
            }
            timeout(CANCEL_TIMEOUT, work).await.ok();
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.until(|state| state != State::Lost) => {}
            }
        }
    }

    /// Adds callbacks to the options of a pool: each new connection gets the TCP timeouts of the server, a lock timeout
    /// and the role, in one round trip, and a connection that was opened before the last loss of the database is closed when
    /// it is acquired or released.
    pub(crate) fn configure_pool(&self, options: PgPoolOptions, role: Option<DatabaseRole>) -> PgPoolOptions {
        let (before, after) = (self.clone(), self.clone());
        let role = role.map(DatabaseRole::statement).unwrap_or_default();
        let session: Arc<str> = format!("{TCP_TIMEOUTS}; {LOCK_TIMEOUT}; {role}").into();
        options
            .after_connect(move |connection, _| {
                let session = Arc::clone(&session);
                Box::pin(async move { connection.execute(&*session).await.map(|_| ()) })
            })
            .before_acquire(move |_, connection| {
                let is_stale = before.was_lost_within(connection.age);
                Box::pin(async move { Ok(!is_stale) })
            })
            .after_release(move |connection, metadata| {
                let (connectivity, is_stale) = (after.clone(), after.was_lost_within(metadata.age));
                Box::pin(async move { Ok(!is_stale && connectivity.is_alive(connection).await) })
            })
    }

    fn was_lost_within(&self, age: Duration) -> bool {
        self.0.borrow().lost_at.is_some_and(|lost_at| lost_at.elapsed() <= age)
    }

    /// Tests a connection that is released while the database is silent or lost, as its user may have given up in the
    /// middle of a statement. The pool's own test has no time limit.
    async fn is_alive(&self, connection: &mut PgConnection) -> bool {
        if self.0.borrow().state == State::Reachable {
            return true;
        }
        tokio::select! {
            answer = within_statement_timeout(connection.execute("")) => answer.is_ok(),
            () = self.until_lost() => false,
        }
    }
}

/// Makes the server close this connection about ten seconds after its client went silent.
pub async fn set_tcp_timeouts(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    connection.execute(TCP_TIMEOUTS).await.map(|_| ())
}

/// Runs a short statement; an error if it is not answered within eight seconds.
pub async fn within_statement_timeout<T>(
    statement: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    timeout(STATEMENT_TIMEOUT, statement).await.unwrap_or_else(|_| Err(timeout_error()))
}

/// The error of a statement that was not answered in time.
pub fn timeout_error() -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer"))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn work_ends_when_the_database_is_lost_and_starts_again_when_it_is_reachable() {
        let (connectivity, stop, starts) = (Connectivity::default(), CancellationToken::new(), AtomicU32::new(0));
        let work = connectivity.restart_after_loss(stop.clone(), |stop| {
            starts.fetch_add(1, Ordering::Relaxed);
            stop.cancelled_owned()
        });
        let events = async {
            let pause = || tokio::time::sleep(Duration::from_millis(20));
            let mut counts = Vec::new();
            for event in [
                Connectivity::report_silent,
                Connectivity::report_lost,
                Connectivity::report_lost,
                Connectivity::report_silent,
                Connectivity::report_reachable,
                Connectivity::report_reachable,
            ] {
                pause().await;
                event(&connectivity);
                pause().await;
                counts.push(starts.load(Ordering::Relaxed));
            }
            stop.cancel();
            counts
        };
        let ((), counts) = tokio::join!(work, events);
        assert_eq!(counts, [1, 1, 1, 1, 2, 2]);
    }

    /// Counts 1 if it is dropped while the database is lost, and 100 otherwise.
    struct DropProbe(Connectivity, Arc<AtomicU32>);

    impl Drop for DropProbe {
        fn drop(&mut self) {
            self.1.fetch_add(if self.0.is_lost() { 1 } else { 100 }, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn work_that_ignores_its_cancellation_is_dropped_while_the_database_is_lost() {
        let (connectivity, stop) = (Connectivity::default(), CancellationToken::new());
        let dropped = Arc::new(AtomicU32::new(0));
        let work = connectivity.restart_after_loss(stop.clone(), |_| {
            let probe = DropProbe(connectivity.clone(), dropped.clone());
            async move {
                std::future::pending::<()>().await;
                drop(probe);
            }
        });
        let events = async {
            connectivity.report_lost();
            tokio::time::sleep(CANCEL_TIMEOUT + Duration::from_millis(200)).await;
            stop.cancel();
        };
        let ((), ()) = tokio::join!(work, events);
        assert_eq!(dropped.load(Ordering::Relaxed), 1);
    }
}
