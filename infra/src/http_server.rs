//! Serves the router over HTTP/1.1 and what it upgrades to, with the bounds that `axum::serve` leaves out.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

/// A client that sends its headers slower than this is not served.
const HEADERS_WITHIN: Duration = Duration::from_secs(10);
/// A client that takes nothing of what it is sent for this long is gone; the kernel then ends its connection.
const TAKEN_WITHIN_MS: u32 = 30_000;
/// Open connections; further ones wait in the kernel's queue.
const CONNECTIONS_MOST: usize = 8_192;
/// How long requests under way may take after a stop was asked for.
const FINISH_WITHIN: Duration = Duration::from_secs(10);
/// How long the last answers may take to leave; connections on which nobody asked anything are not waited for.
const LEAVE_WITHIN: Duration = Duration::from_millis(500);

/// Serves until `stop`, then finishes what is under way.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    raise_limit_of_files();
    let mut server = hyper::server::conn::http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEADERS_WITHIN).max_buf_size(64 * 1024);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MOST));
    let (requests, connections) = (TaskTracker::new(), TaskTracker::new());
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((stream, place)) = accepted else { continue };
        let (router, requests) = (router.clone(), requests.clone());
        let service = tower::service_fn(move |request: hyper::Request<Incoming>| {
            let answer = router.clone().oneshot(request.map(Body::new));
            requests
                .track_future(async move { Ok::<_, Infallible>(answer.await.unwrap_or_else(|never| match never {})) })
        });
        let connection = server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        let stop = stop.clone();
        connections.spawn(async move {
            let mut connection = pin!(connection.with_upgrades());
            // A client that goes away is no fault of ours.
            tokio::select! {
                _ = &mut connection => {}
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
    tokio::time::timeout(FINISH_WITHIN, requests.wait()).await.ok();
    tokio::time::timeout(LEAVE_WITHIN, connections.wait()).await.ok();
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
    serve(listener, router, stop).await;
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(tokio::net::TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => {
            stream.set_nodelay(true).ok();
            rustix::net::sockopt::set_tcp_user_timeout(&stream, TAKEN_WITHIN_MS).ok();
            Some((stream, place))
        }
        Err(error) => {
            // Out of file descriptors, most likely: waiting lets others finish, looping would only burn the core.
            tracing::warn!(%error, "a connection cannot be accepted");
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}
