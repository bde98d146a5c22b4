//! Transport of subscriptions: `graphql-transport-ws` on a WebSocket, or one subscription as server-sent events.

mod event_stream;
mod message;
mod origin;
mod socket;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::ws::WebSocketUpgrade;
use axum::http::header::{AUTHORIZATION, UPGRADE};
use axum::http::{HeaderMap, Response, StatusCode};

use super::headers::correlation;
use crate::admission::body::MESSAGE_BYTES_MOST;
use crate::admission::connections::ConnectionLimits;
use crate::auth::Authenticator;
use crate::error::Problem;
use crate::graphql::GraphqlExecutor;
use socket::Socket;

pub(super) use event_stream::{EVENTS, event_stream};
pub(super) use origin::check_same_origin;

/// The protocol of <https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md>.
const PROTOCOL: &str = "graphql-transport-ws";

/// Size of the read buffer of a socket, which is kept as long as the socket is open. Clients send little.
const READ_BUFFER_BYTES: usize = 2 * 1_024;
/// Size of a message to a client above which the socket is closed. Most updates have at most a hundred rows.
const WRITE_BUFFER_BYTES_MOST: usize = 16 * 1_024 * 1_024;

/// True if a request asks to switch to another protocol, as one for a WebSocket does.
pub(super) fn wants_socket(headers: &HeaderMap) -> bool {
    headers.contains_key(UPGRADE)
}

/// Opens a WebSocket. The token comes in a header, or in the first message on the socket.
pub(super) fn open(
    auth: Arc<Authenticator>,
    graphql: Arc<GraphqlExecutor>,
    connections: Arc<ConnectionLimits>,
    headers: &HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Result<Response<Body>, Problem> {
    check_same_origin(headers)?;
    let caller = match headers.contains_key(AUTHORIZATION) {
        true => Some(auth.caller(headers, graphql.backend.now())?),
        false => None,
    };
    let correlation = correlation(headers)?;
    let upgrade = upgrade.protocols([PROTOCOL]);
    if upgrade.selected_protocol().is_none() {
        let detail = format!("the socket speaks `{PROTOCOL}`; name it in `Sec-WebSocket-Protocol`");
        return Err(Problem::new(StatusCode::BAD_REQUEST, "SUBPROTOCOL", detail));
    }
    let (permit, unauthenticated) = match &caller {
        Some(caller) => (Some(connections.sockets.take(caller)?), None),
        None => (None, Some(connections.admit_unauthenticated()?)),
    };
    let upgrade = upgrade
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BUFFER_BYTES_MOST)
        .max_message_size(MESSAGE_BYTES_MOST)
        .max_frame_size(MESSAGE_BYTES_MOST);
    Ok(upgrade.on_upgrade(async move |socket| {
        let sockets = Arc::clone(&connections.sockets);
        let mut socket = Socket::new(socket, auth, graphql, sockets, correlation);
        (socket.caller, socket.permit, socket.unauthenticated) = (caller, permit, unauthenticated);
        socket.run().await;
    }))
}
