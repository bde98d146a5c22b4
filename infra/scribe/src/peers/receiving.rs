//! The door for letters of other processes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use commands::kernel::Commands;
use commands::scribe::Answer;
use tokio::sync::Semaphore;

use super::PeerSeal;
use super::letter::{Letter, Told};
use super::sending::{PATH, SEAL};
use crate::ScribeHandle;
use platform::clock::now;

/// As many bytes as the largest batch that a front door takes in, sealed and written as text.
const BYTES_MOST: usize = 16 * 1024 * 1024;

/// Letters that are being read at a time, and how long one may take.
const UNREAD_MOST: usize = 64;
/// Commands of one letter: as many as a front door takes in one batch.
const COMMANDS_MOST: usize = 1_000;
const READ_WITHIN: Duration = Duration::from_secs(5);

struct Door {
    scribe: ScribeHandle,
    seal: PeerSeal,
    commands: Commands,
    unread: Semaphore,
    /// Whether it was said that a letter was refused. Whoever sends it tries again, and says so by itself.
    said_refused: AtomicBool,
}

/// The route on which a process that writes lanes takes commands from others.
pub fn router(scribe: ScribeHandle, seal: PeerSeal) -> Router {
    let door = Door {
        scribe,
        seal,
        commands: Commands::all(),
        unread: Semaphore::new(UNREAD_MOST),
        said_refused: AtomicBool::new(false),
    };
    Router::new().route(PATH, post(receive)).with_state(Arc::new(door))
}

async fn receive(State(door): State<Arc<Door>>, headers: HeaderMap, body: Body) -> Response {
    let seal = headers.get(SEAL).and_then(|seal| seal.to_str().ok()).unwrap_or_default();
    if PeerSeal::fresh(seal, now()).is_none() {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    // Until its seal is known to be ours, a letter gets little room and little time.
    let Ok(place) = door.unread.try_acquire() else { return StatusCode::SERVICE_UNAVAILABLE.into_response() };
    let Ok(Ok(body)) = tokio::time::timeout(READ_WITHIN, to_bytes(body, BYTES_MOST)).await else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    if !door.seal.is_on(&body, seal, now()) {
        if !door.said_refused.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "a letter without our seal was refused, as others will be silently; do all processes have the same outer \
                 key and clock?"
            );
        }
        return StatusCode::UNAUTHORIZED.into_response();
    }
    drop(place);
    let letter: Letter = match serde_json::from_slice(&body) {
        Ok(letter) => letter,
        Err(error) => {
            tracing::warn!(%error, "a letter does not read; do all processes have the same version?");
            return (StatusCode::BAD_REQUEST, error.to_string()).into_response();
        }
    };
    if letter.commands.len() > COMMANDS_MOST {
        tracing::warn!(commands = letter.commands.len(), "a letter with too many commands was refused");
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    }
    let told: Vec<Told> = door.decide(letter).await.into_iter().map(Told::from).collect();
    axum::Json(told).into_response()
}

impl Door {
    /// One answer per command. One that does not read is misuse; the others are decided in their order.
    async fn decide(&self, letter: Letter) -> Vec<Answer> {
        let Letter { tenant, from_engine, commands } = letter;
        let read: Vec<_> = commands.into_iter().map(|written| written.read(tenant, &self.commands)).collect();
        let mut misuses = Vec::with_capacity(read.len());
        let mut envelopes = Vec::with_capacity(read.len());
        for read in read {
            match read {
                Ok(envelope) => {
                    envelopes.push(envelope);
                    misuses.push(None);
                }
                Err(misuse) => misuses.push(Some(Answer::Misuse(misuse))),
            }
        }
        let mut decided = self.scribe.submit(tenant, from_engine, envelopes).await.into_iter();
        let missing = || Answer::Fault("a command was not answered".into());
        misuses.into_iter().map(|misuse| misuse.or_else(|| decided.next()).unwrap_or_else(missing)).collect()
    }
}
