//! One subscription as server-sent events: the *distinct connections* mode of
//! <https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md>.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, Response, StatusCode};
use axum::response::IntoResponse;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use serde_json::{Value, json};
use tokio::time::{Sleep, sleep};
use uuid::Uuid;

use crate::admission::concurrency::Permit;
use crate::admission::connections::ConnectionLimits;
use crate::graphql::{CheckedRequest, GraphqlExecutor, RequestError, SubscriptionMessage, request_error, subscribe};
use crate::port::{Caller, Ended};

/// Media type of server-sent events. It must be named by the client: other clients would wait for the end of the response.
pub(in crate::http) const EVENTS: &str = "text/event-stream";
/// Interval of comments on an idle stream. Without them, proxies may close the stream, and a lost client is not
/// detected.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(15);

/// An open event stream.
struct EventStream {
    payloads: BoxStream<'static, SubscriptionMessage>,
    /// Timer of the end of the token's validity.
    until: Pin<Box<Sleep>>,
    /// Completes when the process begins to shut down.
    stopping: BoxFuture<'static, ()>,
    ended: bool,
    _permit: Permit,
}

/// Answers a subscription with an event stream, which ends with the subscription, the token or the process.
pub(in crate::http) fn event_stream(
    graphql: &Arc<GraphqlExecutor>,
    connections: &ConnectionLimits,
    caller: Caller,
    correlation: Option<Uuid>,
    checked: CheckedRequest,
) -> Result<Response<Body>, RequestError> {
    let until = Box::pin(sleep(caller.valid_for(graphql.backend.now())));
    let permit = connections.streams.take(&caller).map_err(|problem| request_error(&problem))?;
    let payloads = subscribe(graphql, caller, correlation, checked)?;
    let stopping = graphql.backend.stopping();
    let events = EventStream { payloads, until, stopping, ended: false, _permit: permit };
    let events = stream::unfold(events, async |mut events| {
        let event = events.next().await?;
        Some((Ok::<_, Infallible>(event), events))
    });
    // `x-accel-buffering: no` keeps nginx from buffering the response.
    let headers = [(CONTENT_TYPE, EVENTS), (HeaderName::from_static("x-accel-buffering"), "no")];
    Ok((StatusCode::OK, headers, Body::from_stream(events)).into_response())
}

impl EventStream {
    async fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        let (text, ended) = tokio::select! {
            payload = self.payloads.next() => match payload {
                Some(SubscriptionMessage::Next(payload)) => (next(&payload), false),
                Some(SubscriptionMessage::Error(errors)) => (next(&json!({ "errors": errors })), true),
                None => (String::new(), true),
            },
            () = &mut self.until => (error("UNAUTHENTICATED", "the token has expired"), true),
            () = &mut self.stopping => (error(Ended::ShuttingDown.code(), Ended::ShuttingDown.message()), true),
            () = sleep(HEARTBEAT_EVERY) => (":\n\n".into(), false),
        };
        self.ended = ended;
        let complete = if ended { "event: complete\ndata:\n\n" } else { "" };
        Some((text + complete).into())
    }
}

/// A `next` event. JSON text has no line breaks, so one data line is enough.
fn next(payload: &Value) -> String {
    format!("event: next\ndata: {payload}\n\n")
}

fn error(code: &str, message: &str) -> String {
    next(&json!({ "errors": [{ "message": message, "extensions": { "code": code } }] }))
}
