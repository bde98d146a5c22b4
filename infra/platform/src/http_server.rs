//! HTTP/1.1 server (with upgrades) that has the limits which `axum::serve` lacks: on headers, connections, silent
//! clients and the time of a shutdown.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, Request, Response, StatusCode};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

/// Time limit for the headers of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Time after which the kernel closes the connection of a client that acknowledges none of the data sent to it.
const SEND_TIMEOUT_MS: u32 = 30_000;
/// Number of regular connections.
const CONNECTIONS_MOST: usize = 8_192;
/// Number of reserve connections, which are used while all regular ones are taken. Each serves one request: health is
/// answered, everything else is refused. Further connections wait in the queue of the kernel.
const RESERVE_CONNECTIONS_MOST: usize = 256;
/// Time limit of a reserve connection.
const RESERVE_TIMEOUT: Duration = Duration::from_secs(2);
/// Paths that are served on reserve connections.
const HEALTH_PATHS: [&str; 4] = ["/live", "/ready", "/reason", "/metrics"];
/// Time that running requests have to finish after `stop`.
const REQUEST_GRACE: Duration = Duration::from_secs(10);
/// Time after the running requests in which the last responses can be sent.
const SEND_GRACE: Duration = Duration::from_millis(500);

/// Builds the response to a request for which the process has no capacity.
pub type AtCapacity = fn() -> Response<Body>;

/// Serves until `stop`, then finishes the running requests.
pub async fn serve(listener: TcpListener, router: Router, at_capacity: AtCapacity, stop: CancellationToken) {
    raise_open_file_limit();
    let limit = ConnectionLimit::new(CONNECTIONS_MOST, RESERVE_CONNECTIONS_MOST);
    serve_within(&limit, listener, router, at_capacity, stop).await;
}

/// Limit of open connections.
struct ConnectionLimit {
    regular: Arc<Semaphore>,
    reserve: Arc<Semaphore>,
}

/// A connection that was accepted, with its permit of the limit.
struct Accepted {
    stream: TcpStream,
    permit: OwnedSemaphorePermit,
    is_reserve: bool,
}

async fn serve_within(
    limit: &ConnectionLimit,
    listener: TcpListener,
    router: Router,
    at_capacity: AtCapacity,
    stop: CancellationToken,
) {
    let mut server = hyper::server::conn::http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(64 * 1024);
    let mut reserve_server = server.clone();
    reserve_server.keep_alive(false);
    let (requests, connections) = (TaskTracker::new(), TaskTracker::new());
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = limit.accept(&listener) => accepted,
        };
        let Some(Accepted { stream, permit, is_reserve }) = accepted else { continue };
        let (router, requests) = (router.clone(), requests.clone());
        let service = tower::service_fn(move |request: Request<Incoming>| {
            let answer = answer(router.clone(), at_capacity, is_reserve, request.map(Body::new));
            requests.track_future(async move { Ok::<_, Infallible>(answer.await) })
        });
        let server = if is_reserve { &reserve_server } else { &server };
        let connection = server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        let stop = stop.clone();
        connections.spawn(async move {
            let mut connection = pin!(connection.with_upgrades());
            // A connection that the client breaks is not an error.
            tokio::select! {
                _ = &mut connection => {}
                () = sleep(RESERVE_TIMEOUT), if is_reserve => {}
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await.ok();
                }
            }
            drop(permit);
        });
    }
    drop(listener);
    requests.close();
    connections.close();
    timeout(REQUEST_GRACE, requests.wait()).await.ok();
    timeout(SEND_GRACE, connections.wait()).await.ok();
}

async fn answer(router: Router, at_capacity: AtCapacity, is_reserve: bool, request: Request<Body>) -> Response<Body> {
    if is_reserve && !HEALTH_PATHS.contains(&request.uri().path()) {
        return at_capacity();
    }
    router.oneshot(request).await.unwrap_or_else(|never| match never {})
}

/// Raises the limit of open files to the highest that the process may set: every connection is an open file, and the
/// usual default of 1,024 is too low.
fn raise_open_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, "cannot raise the limit of open files; connections may be refused");
    }
}

/// Serves `/live`, `/ready` (503) and `/reason` until `stop`, while the process is not ready. `/reason` has the same
/// form as in a process that is ready; it is for requests whose bearer token passes the check.
pub async fn serve_not_ready(
    listener: TcpListener,
    reasons: watch::Receiver<String>,
    is_monitor: impl Fn(&[u8]) -> bool + Clone + Send + Sync + 'static,
    stop: CancellationToken,
) {
    let reason = get(move |headers: HeaderMap| {
        let token = headers.get(AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        let reason = token.is_some_and(&is_monitor).then(|| reasons.borrow().clone());
        async move {
            match reason {
                Some(reason) => Json(json!({ "ready": false, "reasons": [reason] })).into_response(),
                None => (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Bearer")]).into_response(),
            }
        }
    });
    let not_ready = get(|| async { (StatusCode::SERVICE_UNAVAILABLE, "not ready; see /reason\n") });
    let live = get(|| async { "live\n" });
    let router = Router::new().route("/live", live).route("/ready", not_ready).route("/reason", reason);
    serve(listener, router, || StatusCode::SERVICE_UNAVAILABLE.into_response(), stop).await;
}

impl ConnectionLimit {
    fn new(regular: usize, reserve: usize) -> Self {
        Self { regular: Arc::new(Semaphore::new(regular)), reserve: Arc::new(Semaphore::new(reserve)) }
    }

    /// Accepts the next connection. A reserve permit is acquired first, so that there is one if no regular permit is
    /// free when the connection arrives.
    async fn accept(&self, listener: &TcpListener) -> Option<Accepted> {
        let reserve = self.reserve.clone().acquire_owned().await.ok()?;
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Most likely there are no file descriptors left: a pause lets other connections end.
                tracing::warn!(%error, "cannot accept a connection");
                sleep(Duration::from_millis(100)).await;
                return None;
            }
        };
        stream.set_nodelay(true).ok();
        rustix::net::sockopt::set_tcp_user_timeout(&stream, SEND_TIMEOUT_MS).ok();
        Some(match self.regular.clone().try_acquire_owned() {
            Ok(permit) => Accepted { stream, permit, is_reserve: false },
            Err(_) => Accepted { stream, permit: reserve, is_reserve: true },
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn at_capacity() -> Response<Body> {
        StatusCode::SERVICE_UNAVAILABLE.into_response()
    }

    /// Sends a request and reads its response. The connection stays open.
    async fn request(stream: &mut TcpStream, path: &str) -> String {
        let text = format!("GET {path} HTTP/1.1\r\nhost: here\r\n\r\n");
        stream.write_all(text.as_bytes()).await.expect("sent");
        let mut answer = vec![0; 1_024];
        let length = timeout(Duration::from_secs(5), stream.read(&mut answer)).await.expect("in time").expect("read");
        String::from_utf8_lossy(&answer[..length]).into_owned()
    }

    #[tokio::test]
    async fn at_capacity_health_is_served_and_other_requests_get_503() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (address, stop) = (listener.local_addr().expect("bound"), CancellationToken::new());
        let router = Router::new().route("/live", get(async || "live")).route("/shop", get(async || "open"));
        let limit = ConnectionLimit::new(2, 1);
        let stopped = stop.clone();
        let serving = tokio::spawn(async move { serve_within(&limit, listener, router, at_capacity, stopped).await });
        let connect = async || TcpStream::connect(address).await.expect("accepted");

        let (mut first, mut second) = (connect().await, connect().await);
        for stream in [&mut first, &mut second] {
            assert!(request(stream, "/shop").await.starts_with("HTTP/1.1 200"));
            assert!(request(stream, "/shop").await.starts_with("HTTP/1.1 200"), "the connection stays open");
        }
        // One after the other, because there is one reserve connection; the server closes each.
        for (path, status) in [("/live", "200"), ("/shop", "503"), ("/live", "200")] {
            let mut late = connect().await;
            let answer = request(&mut late, path).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
            let mut rest = Vec::new();
            timeout(Duration::from_secs(5), late.read_to_end(&mut rest)).await.expect("closed").expect("read");
        }
        // A silent client occupies the reserve connection for a short time only.
        let (silent, begun) = (connect().await, tokio::time::Instant::now());
        assert!(request(&mut connect().await, "/live").await.starts_with("HTTP/1.1 200"));
        assert!(begun.elapsed() < RESERVE_TIMEOUT * 2, "{:?}", begun.elapsed());
        drop((silent, second));
        let mut answer = String::new();
        for _ in 0..100 {
            answer = request(&mut connect().await, "/shop").await;
            if answer.starts_with("HTTP/1.1 200") {
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
        assert!(answer.starts_with("HTTP/1.1 200"), "a regular connection is free again: {answer}");
        stop.cancel();
        serving.await.expect("it ends");
    }
}
