//! Serves the router over HTTP/1.1 and what it upgrades to, with the bounds that `axum::serve` leaves out.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
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

/// A client that sends its headers slower than this is not served.
const HEADERS_WITHIN: Duration = Duration::from_secs(10);
/// A client that takes nothing of what it is sent for this long is gone; the kernel then ends its connection.
const TAKEN_WITHIN_MS: u32 = 30_000;
/// Open connections of those who come first.
const CONNECTIONS_MOST: usize = 8_192;
/// So many more are answered one request each while those are taken: how the process is, and to everything else that
/// it is full. Further ones wait in the kernel's queue.
const SPARE: usize = 256;
/// How long a connection beyond the first ones may take.
const SPARE_FOR: Duration = Duration::from_secs(2);
/// What is answered on all of them.
const HEALTH: [&str; 4] = ["/live", "/ready", "/reason", "/metrics"];
/// How long requests under way may take after a stop was asked for.
const FINISH_WITHIN: Duration = Duration::from_secs(10);
/// How long the last answers may take to leave; connections on which nobody asked anything are not waited for.
const LEAVE_WITHIN: Duration = Duration::from_millis(500);

/// Answers a request for which the process has no capacity.
pub type AtCapacity = fn() -> Response<Body>;

/// Serves until `stop`, then finishes what is under way.
pub async fn serve(listener: TcpListener, router: Router, at_capacity: AtCapacity, stop: CancellationToken) {
    raise_limit_of_files();
    let room = Room { places: Arc::new(Semaphore::new(CONNECTIONS_MOST)), spare: Arc::new(Semaphore::new(SPARE)) };
    serve_within(&room, listener, router, at_capacity, stop).await;
}

/// For how many connections there is room.
struct Room {
    places: Arc<Semaphore>,
    spare: Arc<Semaphore>,
}

/// A connection that was accepted.
struct Accepted {
    stream: TcpStream,
    place: OwnedSemaphorePermit,
    /// Whether it came when all places were taken.
    is_spare: bool,
}

async fn serve_within(
    room: &Room,
    listener: TcpListener,
    router: Router,
    at_capacity: AtCapacity,
    stop: CancellationToken,
) {
    let mut server = hyper::server::conn::http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEADERS_WITHIN).max_buf_size(64 * 1024);
    let mut once = server.clone();
    once.keep_alive(false);
    let (requests, connections) = (TaskTracker::new(), TaskTracker::new());
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = room.accept(&listener) => accepted,
        };
        let Some(Accepted { stream, place, is_spare }) = accepted else { continue };
        let (router, requests) = (router.clone(), requests.clone());
        let service = tower::service_fn(move |request: Request<Incoming>| {
            let answer = answer(router.clone(), at_capacity, is_spare, request.map(Body::new));
            requests.track_future(async move { Ok::<_, Infallible>(answer.await) })
        });
        let server = if is_spare { &once } else { &server };
        let connection = server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        let stop = stop.clone();
        connections.spawn(async move {
            let mut connection = pin!(connection.with_upgrades());
            // A client that goes away is no fault of ours.
            tokio::select! {
                _ = &mut connection => {}
                () = sleep(SPARE_FOR), if is_spare => {}
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await.ok();
                }
            }
            drop(place);
        });
    }
    drop(listener);
    requests.close();
    connections.close();
    timeout(FINISH_WITHIN, requests.wait()).await.ok();
    timeout(LEAVE_WITHIN, connections.wait()).await.ok();
}

async fn answer(router: Router, at_capacity: AtCapacity, is_spare: bool, request: Request<Body>) -> Response<Body> {
    if is_spare && !HEALTH.contains(&request.uri().path()) {
        return at_capacity();
    }
    router.oneshot(request).await.unwrap_or_else(|never| match never {})
}

/// Every connection is an open file, and the limit that processes begin with is from a time when they had few.
fn raise_limit_of_files() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, "the limit of open files cannot be raised; connections may be refused");
    }
}

/// Tells until `stop` why the process is not ready yet, in the form in which it is told later.
pub async fn waiting(listener: TcpListener, reasons: watch::Receiver<String>, stop: CancellationToken) {
    let reason = get(move || {
        let reason = reasons.borrow().clone();
        async move { Json(json!({ "ready": false, "reasons": [reason] })) }
    });
    let not_ready = get(|| async { (StatusCode::SERVICE_UNAVAILABLE, "not ready; see /reason\n") });
    let live = get(|| async { "live\n" });
    let router = Router::new().route("/live", live).route("/ready", not_ready).route("/reason", reason);
    serve(listener, router, || StatusCode::SERVICE_UNAVAILABLE.into_response(), stop).await;
}

impl Room {
    /// The next connection. Only when it is there, is it known whether a place is free.
    async fn accept(&self, listener: &TcpListener) -> Option<Accepted> {
        let spare = self.spare.clone().acquire_owned().await.ok()?;
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, most likely: waiting lets others finish, looping would only burn the core.
                tracing::warn!(%error, "a connection cannot be accepted");
                sleep(Duration::from_millis(100)).await;
                return None;
            }
        };
        stream.set_nodelay(true).ok();
        rustix::net::sockopt::set_tcp_user_timeout(&stream, TAKEN_WITHIN_MS).ok();
        Some(match self.places.clone().try_acquire_owned() {
            Ok(place) => Accepted { stream, place, is_spare: false },
            Err(_) => Accepted { stream, place: spare, is_spare: true },
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn full() -> Response<Body> {
        StatusCode::SERVICE_UNAVAILABLE.into_response()
    }

    /// What is answered to a request on a connection that stays open as long as this holds it.
    async fn ask(stream: &mut TcpStream, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nhost: here\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = vec![0; 1_024];
        let length = timeout(Duration::from_secs(5), stream.read(&mut answer)).await.expect("in time").expect("read");
        String::from_utf8_lossy(&answer[..length]).into_owned()
    }

    #[tokio::test]
    async fn a_full_house_tells_how_it_is_and_everybody_else_that_it_is_full() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (address, stop) = (listener.local_addr().expect("bound"), CancellationToken::new());
        let router = Router::new().route("/live", get(async || "live")).route("/shop", get(async || "open"));
        let room = Room { places: Arc::new(Semaphore::new(2)), spare: Arc::new(Semaphore::new(1)) };
        let stopped = stop.clone();
        let serving = tokio::spawn(async move { serve_within(&room, listener, router, full, stopped).await });
        let connect = async || TcpStream::connect(address).await.expect("accepted");

        let (mut first, mut second) = (connect().await, connect().await);
        for stream in [&mut first, &mut second] {
            assert!(ask(stream, "/shop").await.starts_with("HTTP/1.1 200"));
            assert!(ask(stream, "/shop").await.starts_with("HTTP/1.1 200"), "it stays open");
        }
        // One after the other, because there is one spare connection; each is closed by the server.
        for (path, status) in [("/live", "200"), ("/shop", "503"), ("/live", "200")] {
            let mut late = connect().await;
            let answer = ask(&mut late, path).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
            let mut rest = Vec::new();
            timeout(Duration::from_secs(5), late.read_to_end(&mut rest)).await.expect("closed").expect("read");
        }
        // Who says nothing keeps the others waiting for a short time only.
        let (silent, begun) = (connect().await, tokio::time::Instant::now());
        assert!(ask(&mut connect().await, "/live").await.starts_with("HTTP/1.1 200"));
        assert!(begun.elapsed() < SPARE_FOR * 2, "{:?}", begun.elapsed());
        drop((silent, second));
        let mut answer = String::new();
        for _ in 0..100 {
            answer = ask(&mut connect().await, "/shop").await;
            if answer.starts_with("HTTP/1.1 200") {
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
        assert!(answer.starts_with("HTTP/1.1 200"), "a place is free again: {answer}");
        stop.cancel();
        serving.await.expect("it ends");
    }
}
