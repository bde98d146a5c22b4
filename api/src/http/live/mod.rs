//! Subscriptions over the wire: `graphql-transport-ws` on a WebSocket, or one subscription as server-sent events.

mod conversation;
mod events;
mod message;
mod origin;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::ws::WebSocketUpgrade;
use axum::http::header::{AUTHORIZATION, UPGRADE};
use axum::http::{HeaderMap, Response, StatusCode};

use super::correlation;
use crate::error::Problem;
use crate::front::Front;
use conversation::Conversation;

pub(super) use events::{events, takes_events};
pub(super) use origin::from_here;

/// The protocol of <https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md>.
const PROTOCOL: &str = "graphql-transport-ws";

/// What one message of a client has at most: a document has 16 KiB, the rest is for variables.
const MESSAGE_BYTES_MOST: usize = 64 * 1_024;
/// Readers send little; what a socket needs for reading is there for as long as it is.
const READ_BUFFER_BYTES: usize = 2 * 1_024;
/// A longer answer is not sent and its socket is closed; an update has at most a hundred rows.
const WRITE_BUFFER_BYTES_MOST: usize = 16 * 1_024 * 1_024;

/// Whether a request wants another protocol than HTTP.
pub(super) fn wants_socket(headers: &HeaderMap) -> bool {
    headers.contains_key(UPGRADE)
}

/// Opens a socket. Who calls is told in a header, or in the socket's first message.
pub(super) fn open(
    front: Arc<Front>,
    headers: &HeaderMap,
    socket: WebSocketUpgrade,
) -> Result<Response<Body>, Problem> {
    from_here(headers)?;
    let caller = match headers.contains_key(AUTHORIZATION) {
        true => Some(front.auth.caller(headers, front.backend.now())?),
        false => None,
    };
    let correlation = correlation(headers)?;
    let socket = socket.protocols([PROTOCOL]);
    if socket.selected_protocol().is_none() {
        let detail = format!("the socket speaks `{PROTOCOL}`; name it in `Sec-WebSocket-Protocol`");
        return Err(Problem::new(StatusCode::BAD_REQUEST, "SUBPROTOCOL", detail));
    }
    let (place, anteroom) = match &caller {
        Some(caller) => (Some(front.sockets.take(caller)?), None),
        None => (None, Some(front.admit_stranger()?)),
    };
    let socket = socket
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BUFFER_BYTES_MOST)
        .max_message_size(MESSAGE_BYTES_MOST)
        .max_frame_size(MESSAGE_BYTES_MOST);
    Ok(socket.on_upgrade(async move |socket| {
        Conversation::new(socket, front, caller, correlation, place, anteroom).hold().await;
    }))
}
