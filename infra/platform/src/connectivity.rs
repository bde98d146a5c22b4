//! Whether the database can be reached, as far as this process knows, and what that means for the connections it has.
//!
//! A network that loses everything says nothing: whoever waits for an answer waits until TCP gives up, after a quarter of an
//! hour, and for ever where the server got the question and was gone before it answered. So the database is asked all the
//! time, and when it answers no more, work on old connections is dropped and the connections are not used again.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgPoolOptions;
use sqlx::{Executor, PgConnection};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// How long a short statement may take: longer than it takes to find out that the database is lost, so that its
/// connection is closed and not kept.
const ANSWERED_WITHIN: Duration = Duration::from_secs(8);

/// Has the server find out within some ten seconds that a client is gone without a word: until then the locks of its
/// transaction are held, those on lanes among them. The server's own patience is two hours.
const NOTICE: &str = "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3;
                      SET tcp_user_timeout = 10000";

/// How long work that waits for the database may take to end in good order, once it is told to.
const PUT_DOWN_WITHIN: Duration = Duration::from_secs(3);

/// Clones know the same.
#[derive(Clone, Debug)]
pub struct Reach(Arc<watch::Sender<Seen>>);

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    state: State,
    /// When it was found lost last.
    lost: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    There,
    /// It has not answered for a moment.
    Quiet,
    Lost,
}

impl Default for Reach {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Seen::default())))
    }
}

impl Reach {
    pub(crate) fn quiet(&self) {
        self.0.send_modify(|seen| {
            if seen.state == State::There {
                seen.state = State::Quiet;
            }
        });
    }

    pub(crate) fn lost(&self) {
        self.0.send_modify(|seen| *seen = Seen { state: State::Lost, lost: Some(Instant::now()) });
    }

    pub(crate) fn back(&self) {
        self.0.send_if_modified(|seen| std::mem::replace(&mut seen.state, State::There) != State::There);
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.0.borrow().state == State::Lost
    }

    /// Until nothing can be expected any more on connections of now.
    pub async fn until_lost(&self) {
        self.until(|state| state == State::Lost).await;
    }

    async fn until(&self, fits: impl Fn(State) -> bool) {
        if self.0.subscribe().wait_for(|seen| fits(seen.state)).await.is_err() {
            std::future::pending().await
        }
    }

    /// Runs something that takes no harm from being dropped at any moment. Ends it when the database is lost under it, and
    /// begins it anew when that is back.
    pub async fn begin_anew<F: Future<Output = ()>>(
        &self,
        stop: CancellationToken,
        begin: impl Fn(CancellationToken) -> F,
    ) {
        loop {
            let ours = stop.child_token();
            let mut work = Box::pin(begin(ours.clone()));
            tokio::select! {
                () = &mut work => return,
                () = self.until_lost() => ours.cancel(),
            }
            timeout(PUT_DOWN_WITHIN, work).await.ok();
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.until(|state| state != State::Lost) => {}
            }
        }
    }

    /// A pool whose connections are closed, and not kept or used again, when the database was lost since they were made.
    pub(crate) fn watch_over(&self, options: PgPoolOptions) -> PgPoolOptions {
        let (before, after) = (self.clone(), self.clone());
        options
            .after_connect(|connection, _| Box::pin(notice(connection)))
            .before_acquire(move |_, known| {
                let old = before.was_lost_within(known.age);
                Box::pin(async move { Ok(!old) })
            })
            .after_release(move |connection, known| {
                let (reach, old) = (after.clone(), after.was_lost_within(known.age));
                Box::pin(async move { Ok(!old && reach.is_alive(connection).await) })
            })
    }

    fn was_lost_within(&self, age: Duration) -> bool {
        self.0.borrow().lost.is_some_and(|lost| lost.elapsed() <= age)
    }

    /// Whether a connection is of use that comes back while nothing is heard, perhaps in the middle of a question. The pool
    /// itself would ask it for as long as it takes.
    async fn is_alive(&self, connection: &mut PgConnection) -> bool {
        if self.0.borrow().state == State::There {
            return true;
        }
        tokio::select! {
            alive = answered(connection.execute("")) => alive.is_ok(),
            () = self.until_lost() => false,
        }
    }
}

/// Has the server notice when this connection leads nowhere any more.
pub async fn notice(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    connection.execute(NOTICE).await.map(|_| ())
}

/// Gives a short statement up that is not answered.
pub async fn answered<T>(asked: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    timeout(ANSWERED_WITHIN, asked).await.unwrap_or_else(|_| Err(silence()))
}

/// What is said where nobody answers.
pub fn silence() -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer"))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn work_is_dropped_when_the_database_is_lost_and_begun_anew_when_it_is_back() {
        let (reach, stop, begun) = (Reach::default(), CancellationToken::new(), AtomicU32::new(0));
        let work = reach.begin_anew(stop.clone(), |stop| {
            begun.fetch_add(1, Ordering::Relaxed);
            stop.cancelled_owned()
        });
        let events = async {
            let pause = || tokio::time::sleep(Duration::from_millis(20));
            let mut counts = Vec::new();
            for event in [Reach::quiet, Reach::lost, Reach::lost, Reach::quiet, Reach::back, Reach::back] {
                pause().await;
                event(&reach);
                pause().await;
                counts.push(begun.load(Ordering::Relaxed));
            }
            stop.cancel();
            counts
        };
        let ((), counts) = tokio::join!(work, events);
        assert_eq!(counts, [1, 1, 1, 1, 2, 2]);
    }

    /// Says when it is dropped whether the database was lost then.
    struct Held(Reach, Arc<AtomicU32>);

    impl Drop for Held {
        fn drop(&mut self) {
            self.1.fetch_add(if self.0.is_lost() { 1 } else { 100 }, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn work_that_does_not_end_is_dropped_before_the_database_is_back() {
        let (reach, stop, dropped) = (Reach::default(), CancellationToken::new(), Arc::new(AtomicU32::new(0)));
        let work = reach.begin_anew(stop.clone(), |_| {
            let held = Held(reach.clone(), dropped.clone());
            async move {
                std::future::pending::<()>().await;
                drop(held);
            }
        });
        let events = async {
            reach.lost();
            tokio::time::sleep(PUT_DOWN_WITHIN + Duration::from_millis(200)).await;
            stop.cancel();
        };
        let ((), ()) = tokio::join!(work, events);
        assert_eq!(dropped.load(Ordering::Relaxed), 1);
    }
}
