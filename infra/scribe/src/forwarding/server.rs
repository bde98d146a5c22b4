//! Server for forwarded commands: the endpoint on which the owner of lanes accepts commands from other processes.

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
use platform::clock::now;
use tokio::sync::Semaphore;

use super::message::{ForwardedAnswer, ForwardedCommands, PATH, SIGNATURE_HEADER};
use super::signature::ForwardingKey;
use crate::handle::ScribeHandle;

/// Maximum size of a request body in bytes: the largest batch that the API accepts, with personal fields sealed, as
/// text.
const BODY_BYTES_MOST: usize = 16 * 1024 * 1024;
/// Maximum number of commands in a request: the API's limit of one batch.
const COMMANDS_MOST: usize = 1_000;
/// Maximum number of bodies that are read at the same time. Bounds the memory of requests that are not yet verified.
const READS_MOST: usize = 64;
/// Time limit for reading one body.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

struct Server {
    scribe: ScribeHandle,
    key: ForwardingKey,
    commands: Arc<Commands>,
    reads: Semaphore,
    /// A refused signature is logged once: the client retries, and logs the failure itself.
    refusal_logged: AtomicBool,
}

/// Routes of the server for forwarded commands.
pub fn router(scribe: ScribeHandle, commands: Arc<Commands>, key: ForwardingKey) -> Router {
    let server =
        Server { scribe, key, commands, reads: Semaphore::new(READS_MOST), refusal_logged: AtomicBool::new(false) };
    Router::new().route(PATH, post(receive)).with_state(Arc::new(server))
}

async fn receive(State(server): State<Arc<Server>>, headers: HeaderMap, body: Body) -> Response {
    let signature = headers.get(SIGNATURE_HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if ForwardingKey::fresh_parts(signature, now()).is_none() {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    // Until its signature is verified, a request gets limited memory and time.
    let Ok(permit) = server.reads.try_acquire() else { return StatusCode::SERVICE_UNAVAILABLE.into_response() };
    let Ok(Ok(body)) = tokio::time::timeout(READ_TIMEOUT, to_bytes(body, BODY_BYTES_MOST)).await else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    if !server.key.verify(&body, signature, now()) {
        if !server.refusal_logged.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "a forwarded request with an invalid signature was refused; further ones are refused without a log \
                 line; check that all processes have the same outer key and clock"
            );
        }
        return StatusCode::UNAUTHORIZED.into_response();
    }
    drop(permit);
    let request: ForwardedCommands = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => {
            tracing::warn!(
                %error,
                "a forwarded request cannot be parsed; check that all processes have the same version"
            );
            return (StatusCode::BAD_REQUEST, error.to_string()).into_response();
        }
    };
    if request.commands.len() > COMMANDS_MOST {
        tracing::warn!(commands = request.commands.len(), "a forwarded request with too many commands was refused");
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    }
    let answers: Vec<ForwardedAnswer> = server.execute(request).await.into_iter().map(ForwardedAnswer::from).collect();
    axum::Json(answers).into_response()
}

impl Server {
    /// Returns one answer per command. A command that cannot be parsed is misuse; the others are decided in their
    /// order.
    async fn execute(&self, request: ForwardedCommands) -> Vec<Answer> {
        let ForwardedCommands { tenant, from_engine, commands } = request;
        let parsed: Vec<_> =
            commands.into_iter().map(|command| command.into_envelope(tenant, &self.commands)).collect();
        let mut misuses = Vec::with_capacity(parsed.len());
        let mut envelopes = Vec::with_capacity(parsed.len());
        for parsed in parsed {
            match parsed {
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
