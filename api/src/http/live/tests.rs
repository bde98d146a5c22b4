use std::time::Duration;

use axum::body::to_bytes;
use axum::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN};
use axum::http::{HeaderValue, Request};
use projections::kernel::Model;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tower::ServiceExt;

use crate::http::router;
use crate::port::{Ended, Freshness, Update};
use crate::testing::{Engine, live_row};

use super::*;

const ITEM: &str = "0190a5b2-7c3d-7e4f-8a9b-0c1d2e3f4a5b";

fn level(available: i64) -> Value {
    json!({
        "stock_item": ITEM, "product": ITEM, "store": ITEM, "on_hand": 9, "reserved": 9 - available,
        "available": available, "low_at": 0, "status": "ok", "changed_at": "2026-11-20T12:00:00Z",
    })
}

fn watch(item: &str) -> Value {
    json!({ "query": format!(r#"subscription {{ stockLevel(stockItem: "{item}") {{ row {{ available }} position }} }}"#) })
}

fn request(token: &str, accept: &str, origin: Option<&str>, body: &Value) -> Request<Body> {
    let request = Request::post("/graphql")
        .header(AUTHORIZATION, format!("Bearer {token}"))
        .header(CONTENT_TYPE, "application/json")
        .header(HOST, "shop.example")
        .header(ORIGIN, origin.unwrap_or("https://shop.example"))
        .header(ACCEPT, accept);
    request.body(Body::from(body.to_string())).expect("a request")
}

async fn post(engine: &Arc<Engine>, accept: &str, origin: Option<&str>, body: &Value) -> (u16, String) {
    let request = request(&Engine::token(&json!({})), accept, origin, body);
    let response = router(engine.state()).oneshot(request).await.expect("an answer");
    let status = response.status().as_u16();
    (
        status,
        String::from_utf8(to_bytes(response.into_body(), usize::MAX).await.expect("a body").into()).expect("UTF-8"),
    )
}

#[tokio::test]
async fn event_stream_sends_the_row_its_changes_and_the_reason_of_its_end() {
    let mut engine = Engine::default();
    engine.rows.insert("StockLevel", vec![level(9)]);
    let (sender, updates) = mpsc::unbounded_channel();
    *engine.updates.lock().expect("not poisoned") = Some(updates);
    let model = Model::of::<projections::inventory::StockLevel>();
    let at = |tenant_position| Freshness { tenant_position, epoch: 3 };
    let rows = vec![live_row(&model, &level(4).to_string())];
    sender.send(Ok(Update { rows, gone: vec![], more: false, at: at(9) })).expect("a subscriber");
    sender.send(Ok(Update { rows: vec![], gone: vec![], more: false, at: at(10) })).expect("a subscriber");
    sender.send(Err(Ended::TooSlow)).expect("a subscriber");

    let (status, text) = post(&Arc::new(engine), "text/event-stream", None, &watch(ITEM)).await;
    let payloads: Vec<Value> = text
        .split("\n\n")
        .filter_map(|event| event.strip_prefix("event: next\ndata: "))
        .map(|data| serde_json::from_str(data).expect("JSON"))
        .collect();
    let next = |row: Value, position| json!({ "data": { "stockLevel": { "row": row, "position": position } } });
    assert_eq!(status, 200);
    assert_eq!(payloads[0], next(json!({ "available": 9 }), at(8).to_token()));
    assert_eq!(payloads[1], next(json!({ "available": 4 }), at(9).to_token()));
    assert_eq!(payloads[2], next(Value::Null, at(10).to_token()));
    assert_eq!(payloads[3]["errors"][0]["extensions"], json!({ "code": "TOO_SLOW", "retry": "SAME_ID" }));
    assert!(payloads.len() == 4 && text.ends_with("\n\nevent: complete\ndata:\n\n"), "{text}");
}

#[tokio::test]
async fn queries_foreign_origins_and_invalid_subscriptions_are_refused() {
    let engine = Arc::new(Engine::default());
    let query = json!({ "query": "{ stockLevels { edges { cursor } } }" });
    let two = json!({ "query": "subscription { a: stockLevels { position } b: stockLevels { position } }" });
    let hidden =
        json!({ "query": "subscription { ...all } fragment all on Subscription { stockLevels { position } }" });
    let relation = json!({ "query": "subscription { stockLevels { rows { product { name } } } }" });
    let key = json!({ "query": "subscription { stockLevel(stockItem: \"7\") { position } }" });
    let position = json!({ "query": "subscription { stockLevels(minPosition: \"7\") { position } }" });
    let (both, events, json) = ("application/json, text/event-stream", "text/event-stream", "application/json");
    for (accept, origin, body, status, code) in [
        (both, None, &query, 200, ""),
        (json, None, &watch(ITEM), 400, "SUBSCRIPTION"),
        (events, Some("https://evil.example"), &watch(ITEM), 403, "FOREIGN_ORIGIN"),
        (events, None, &two, 400, "INVALID_QUERY"),
        (events, None, &hidden, 400, "INVALID_QUERY"),
        (events, None, &relation, 200, "INVALID_ARGUMENT"),
        (events, None, &key, 200, "INVALID_QUERY"),
        (events, None, &position, 200, "INVALID_ARGUMENT"),
    ] {
        let (actual, text) = post(&engine, accept, origin, body).await;
        assert_eq!(actual, status, "{text}");
        assert!(text.contains(code), "{body}: {text}");
    }
}

#[tokio::test]
async fn customer_is_limited_to_twenty_streams_and_others_are_not_affected() {
    let state = Arc::new(Engine::default()).state();
    let customer = json!({ "roles": ["customer"], "customer": ITEM, "sub": ITEM });
    let watch = json!({ "query": "subscription { orders { position } }" });
    let open = async |claims: &Value| {
        let request = request(&Engine::token(claims), "text/event-stream", None, &watch);
        router(state.clone()).oneshot(request).await.expect("an answer")
    };
    let mut streams = Vec::new();
    for number in 0..20 {
        let stream = open(&customer).await;
        assert_eq!(stream.status(), 200, "{number}");
        streams.push(stream);
    }
    let refused = open(&customer).await;
    assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (429, &HeaderValue::from_static("5")));
    let text = to_bytes(refused.into_body(), usize::MAX).await.expect("a body");
    assert!(String::from_utf8_lossy(&text).contains("TOO_MANY_STREAMS"));
    assert_eq!(open(&json!({})).await.status(), 200, "other callers are not affected");
    streams.pop();
    assert_eq!(open(&customer).await.status(), 200);
}

#[tokio::test]
async fn subscription_starts_before_its_stream_is_read() {
    let engine = Engine::default();
    let (_sender, updates) = mpsc::unbounded_channel();
    *engine.updates.lock().expect("not poisoned") = Some(updates);
    let engine = Arc::new(engine);
    let request = request(&Engine::token(&json!({})), "text/event-stream", None, &watch(ITEM));
    let unread = router(engine.state()).oneshot(request).await.expect("an answer");
    let started = async {
        while engine.updates.lock().expect("not poisoned").is_some() {
            tokio::task::yield_now().await
        }
    };
    timeout(Duration::from_secs(5), started).await.expect("the backend is asked for the rows");
    drop(unread);
}

/// A WebSocket without a client library, which would not send what is forbidden.
async fn raw_socket() -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let mut socket = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("a connection");
    let router = router(Arc::new(Engine::default()).state());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let handshake = format!(
        "GET /graphql HTTP/1.1\r\nHost: shop.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: graphql-transport-ws\r\nAuthorization: Bearer {}\r\n\r\n",
        Engine::token(&json!({}))
    );
    socket.write_all(handshake.as_bytes()).await.expect("sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.expect("a response"));
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    socket
}

/// A frame with a mask of zeros, which leaves the payload as it is.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("a short payload");
    [&[first, 0x80 | length, 0, 0, 0, 0], payload].concat()
}

#[tokio::test]
async fn socket_that_sends_invalid_frames_is_closed_with_the_code_of_the_standard() {
    let (text, part, rest) = (0x81, 0x01, 0x80);
    let init = frame(text, br#"{"type":"connection_init"}"#);
    for (name, frames, code) in [
        ("a text that is not UTF-8", frame(text, b"\xc3\x28"), 1007),
        ("half a character", frame(text, b"{\xe2\x82"), 1007),
        ("an encoded surrogate", frame(text, b"\xed\xa0\x80"), 1007),
        ("a part that is not UTF-8", [frame(part, b"{\xff"), frame(rest, b"}")].concat(), 1007),
        ("invalid UTF-8 after the first message", [init, frame(text, b"\xff")].concat(), 1007),
        ("a frame without a mask", vec![text, 2, b'{', b'}'], 1002),
        ("an unknown kind of frame", frame(0x83, b"{}"), 1002),
        ("a reserved bit", frame(0xc1, b"{}"), 1002),
        ("the rest of nothing", frame(rest, b"{}"), 1002),
        ("a binary message", frame(0x82, b"{}"), 4400),
    ] {
        let mut socket = raw_socket().await;
        socket.write_all(&frames).await.expect("sent");
        let mut sent = Vec::new();
        timeout(Duration::from_secs(60), socket.read_to_end(&mut sent)).await.expect("an end").expect("a clean end");
        // The close frame is the last one, and the only one that begins with this byte.
        let close = sent.iter().position(|byte| *byte == 0x88).map(|at| &sent[at + 2..at + 4]);
        assert_eq!(close, Some(&u16::to_be_bytes(code)[..]), "{name}: {sent:?}");
    }
}
