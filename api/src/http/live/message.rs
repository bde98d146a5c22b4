//! The messages of `graphql-transport-ws`, and its close codes.

use std::borrow::Cow;

use axum::extract::ws::{CloseFrame, Message};
use commands::kernel::plain_words;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::graphql::{GraphqlRequest, SubscriptionMessage};
use crate::http::graphql_request::RequestBody;
use crate::json;

/// Maximum length of a subscription id.
const ID_BYTES_MOST: usize = 64;
/// Maximum length of the reason in a close frame: 125 bytes (RFC 6455, section 5.5) less two for the code.
const REASON_BYTES_MOST: usize = 123;

/// JSON of a client's message, before its subscription id is checked.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum RawMessage {
    ConnectionInit { payload: Option<Value> },
    Ping {},
    Pong {},
    Subscribe { id: String, payload: RequestBody },
    Complete { id: String },
}

/// A valid message of a client.
pub(super) enum ClientMessage {
    /// `connection_init`, with the `Authorization` of its payload.
    Init(Option<String>),
    Ping,
    Pong,
    Subscribe(String, GraphqlRequest),
    Complete(String),
}

/// Reason for closing a socket: a close code, and a text for people.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Close(pub(super) u16, pub(super) Cow<'static, str>);

impl Close {
    pub(super) const GOING_AWAY: Self = Self::of(1001, "the process is shutting down");
    pub(super) const PROTOCOL_VIOLATION: Self = Self::of(1002, "the frames violate RFC 6455");
    pub(super) const INVALID_UTF8: Self = Self::of(1007, "a text message is not UTF-8");
    pub(super) const TOO_SLOW: Self = Self::of(1008, "the client did not read its messages in time");
    pub(super) const PINGS_UNANSWERED: Self = Self::of(1008, "pings are not answered");
    pub(super) const MESSAGE_TOO_LARGE: Self = Self::of(1009, "a message has at most 65536 bytes");
    pub(super) const BINARY_MESSAGE: Self = Self::of(4400, "messages are JSON texts, not binary");
    pub(super) const SUBSCRIBED_BEFORE_INIT: Self = Self::of(4401, "Unauthorized");
    pub(super) const INVALID_TOKEN: Self = Self::of(4403, "a valid bearer token is needed");
    pub(super) const TOKEN_EXPIRED: Self = Self::of(4403, "the token has expired");
    pub(super) const INIT_TOO_LATE: Self = Self::of(4408, "Connection initialisation timeout");
    pub(super) const TOO_MANY_SOCKETS: Self = Self::of(1013, "too many sockets are open; try again later");
    pub(super) const INIT_TWICE: Self = Self::of(4429, "Too many initialisation requests");

    const fn of(code: u16, reason: &'static str) -> Self {
        Self(code, Cow::Borrowed(reason))
    }

    pub(super) fn id_in_use(id: &str) -> Self {
        Self(4409, format!("Subscriber for {id} already exists").into())
    }

    fn malformed(why: &str) -> Self {
        Self(4400, format!("Invalid message: {why}").into())
    }

    pub(super) fn into_message(self) -> Message {
        let Self(code, mut reason) = self;
        if reason.len() > REASON_BYTES_MOST {
            let end = reason.floor_char_boundary(REASON_BYTES_MOST);
            reason.to_mut().truncate(end);
        }
        Message::Close(Some(CloseFrame { code, reason: reason.as_ref().into() }))
    }
}

/// Parses a message. An invalid one closes the socket, as the protocol requires.
pub(super) fn read(text: &str) -> Result<ClientMessage, Close> {
    json::strict(text.as_bytes()).map_err(|misuse| Close::malformed(&misuse.message))?;
    let raw = serde_json::from_str(text).map_err(|error| Close::malformed(&plain_words(&error.to_string())))?;
    let valid = |id: String| match id.len() {
        1..=ID_BYTES_MOST => Ok(id),
        _ => Err(Close::malformed("an id has 1 to 64 bytes")),
    };
    Ok(match raw {
        RawMessage::ConnectionInit { payload } => ClientMessage::Init(payload.as_ref().and_then(authorization)),
        RawMessage::Ping {} => ClientMessage::Ping,
        RawMessage::Pong {} => ClientMessage::Pong,
        RawMessage::Subscribe { id, payload } => ClientMessage::Subscribe(valid(id)?, with_document(payload.into())?),
        RawMessage::Complete { id } => ClientMessage::Complete(valid(id)?),
    })
}

/// Refuses a request that names no document.
fn with_document(request: GraphqlRequest) -> Result<GraphqlRequest, Close> {
    match (&request.query, &request.document_id) {
        (None, None) => Err(Close::malformed("expected `query` or `documentId`")),
        _ => Ok(request),
    }
}

/// The `Authorization` field of a payload; its name is case-insensitive, as that of the header.
fn authorization(payload: &Value) -> Option<String> {
    let mut fields = payload.as_object()?.iter();
    let (_, value) = fields.find(|(name, _)| name.eq_ignore_ascii_case("authorization"))?;
    value.as_str().map(Into::into)
}

pub(super) fn acknowledged() -> Message {
    Message::text(r#"{"type":"connection_ack"}"#)
}

pub(super) fn pong() -> Message {
    Message::text(r#"{"type":"pong"}"#)
}

/// A `next` or `error` message.
pub(super) fn payload(id: &str, payload: SubscriptionMessage) -> Message {
    let (kind, payload) = match payload {
        SubscriptionMessage::Next(payload) => ("next", payload),
        SubscriptionMessage::Error(errors) => ("error", errors),
    };
    Message::text(json!({ "id": id, "type": kind, "payload": payload }).to_string())
}

pub(super) fn complete(id: &str) -> Message {
    Message::text(json!({ "id": id, "type": "complete" }).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_messages_close_with_4400() {
        let code = |text: &str| read(text).err().map(|close| close.0);
        assert_eq!(code(r#"{"type":"ping","payload":{"a":1}}"#), None);
        assert_eq!(code(r#"{"type":"subscribe","id":"1","payload":{"query":"{a}","extensions":{}}}"#), None);
        for bad in [
            "",
            "[]",
            "{",
            r#"{"type":"subscribe","id":"1","payload":{}}"#,
            r#"{"type":"start"}"#,
            r#"{"type":"ping","type":"pong"}"#,
            r#"{"type":"subscribe","payload":{"query":"{a}"}}"#,
            r#"{"type":"subscribe","id":"","payload":{"query":"{a}"}}"#,
            r#"{"type":"subscribe","id":"1","payload":{"quarry":"{a}"}}"#,
            r#"{"type":"complete","id":7}"#,
        ] {
            assert_eq!(code(bad), Some(4400), "{bad}");
        }
    }

    #[test]
    fn close_reason_is_cut_to_the_frame_size() {
        let Message::Close(Some(frame)) = Close::malformed(&"ä".repeat(100)).into_message() else {
            panic!("a close frame")
        };
        assert!(frame.reason.len() <= REASON_BYTES_MOST && frame.reason.starts_with("Invalid message: ä"));
    }
}
