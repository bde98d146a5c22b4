//! One subscription as server-sent events: the *distinct connections* mode of
//! <https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md>.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, Response, StatusCode};
use axum::response::IntoResponse;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use serde_json::{Value, json};
use tokio::time::{Sleep, sleep};
use uuid::Uuid;

use super::conversation::counts_for;
use crate::auth::Caller;
use crate::front::{Front, Place};
use crate::graphql::{Checked, Refusal, Told, refused_by, subscribe};
use crate::live::Ended;

const EVENTS: &str = "text/event-stream";
/// Something must be sent now and then, or proxies close the connection and nobody notices that a reader has gone.
const SIGN_EVERY: Duration = Duration::from_secs(15);

/// What has been told so far, and for how long.
struct Telling {
    told: BoxStream<'static, Told>,
    until: Pin<Box<Sleep>>,
    stopping: BoxFuture<'static, ()>,
    ended: bool,
    _place: Place,
}

/// Whether a caller takes events. Others would never see the end of the answer.
pub(in crate::http) fn takes_events(headers: &HeaderMap) -> bool {
    let accepts = headers.get_all(ACCEPT).iter().filter_map(|accept| accept.to_str().ok());
    let mut kinds = accepts.flat_map(|accept| accept.split(','));
    kinds.any(|range| range.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(EVENTS))
}

/// Answers a subscription.
pub(in crate::http) fn events(
    front: &Arc<Front>,
    caller: Caller,
    correlation: Option<Uuid>,
    checked: Checked,
) -> Result<Response<Body>, Refusal> {
    let until = Box::pin(sleep(counts_for(front, &caller)));
    let place = front.streams.take(&caller).map_err(|problem| refused_by(&problem))?;
    let told = subscribe(front, caller, correlation, checked)?;
    let telling = Telling { told, until, stopping: front.backend.stopping(), ended: false, _place: place };
    let events = stream::unfold(telling, async |mut telling| {
        let event = telling.next().await?;
        Some((Ok::<_, Infallible>(event), telling))
    });
    // Some proxies keep an answer back until it is whole.
    let headers = [(CONTENT_TYPE, EVENTS), (HeaderName::from_static("x-accel-buffering"), "no")];
    Ok((StatusCode::OK, headers, Body::from_stream(events)).into_response())
}

impl Telling {
    async fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        let (told, ended) = tokio::select! {
            told = self.told.next() => match told {
                Some(Told::Next(payload)) => (next(&payload), false),
                Some(Told::Error(errors)) => (next(&json!({ "errors": errors })), true),
                None => (String::new(), true),
            },
            () = &mut self.until => (refused("UNAUTHENTICATED", "the token has expired"), true),
            () = &mut self.stopping => (refused(Ended::ShuttingDown.code(), Ended::ShuttingDown.told()), true),
            () = sleep(SIGN_EVERY) => (":\n\n".into(), false),
        };
        self.ended = ended;
        let complete = if ended { "event: complete\ndata:\n\n" } else { "" };
        Some((told + complete).into())
    }
}

/// JSON has no line breaks of its own, so one line carries it.
fn next(payload: &Value) -> String {
    format!("event: next\ndata: {payload}\n\n")
}

fn refused(code: &str, message: &str) -> String {
    next(&json!({ "errors": [{ "message": message, "extensions": { "code": code } }] }))
}
