//! HTTP client of webhooks: connects only to addresses that the guard has checked, follows no redirects, uses no proxy,
//! and reads only the status, the headers and a bounded part of the body.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::shared::{TargetHost, TargetUrl, Timestamp};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use super::guard::{Forbidden, Guard};

/// Maximum number of bytes of a response body that are read, so that a receiver can complete a short response.
const BODY_BYTES_MOST: usize = 4 * 1024;
/// Maximum size of the response headers.
const HEADER_BYTES_MOST: usize = 16 * 1024;
/// Time limit for connecting to one address, so that an unresponsive address leaves time for the next one.
const CONNECT_TIME_MOST: Duration = Duration::from_secs(5);

/// Response of a receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// Delay that the receiver asks for before the next request.
    pub(super) retry_after: Option<Duration>,
}

/// Reason for a missing response. The text is shown to the tenant.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    #[error("no connection to the address could be made")]
    NoConnection,
    #[error("no TLS connection could be made with a trusted certificate for this name")]
    NoTls,
    #[error("the connection broke before there was an answer")]
    Broken,
    #[error("there was no answer in time")]
    TooSlow,
    #[error("{0}")]
    Unsendable(&'static str),
}

/// Headers of a message, as in Standard Webhooks.
pub(super) struct MessageHeaders {
    pub(super) id: String,
    pub(super) timestamp: i64,
    pub(super) signature: String,
}

/// Client for requests to webhook URLs.
pub struct HttpClient {
    guard: Arc<Guard>,
    tls: TlsConnector,
}

impl HttpClient {
    /// A client that trusts Mozilla's root certificates.
    pub fn new(guard: Arc<Guard>) -> Result<Self, rustls::Error> {
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        Self::trusting(guard, roots)
    }

    /// A client that trusts these root certificates.
    pub fn trusting(guard: Arc<Guard>, roots: RootCertStore) -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let config = config.with_root_certificates(roots).with_no_client_auth();
        Ok(Self { guard, tls: TlsConnector::from(Arc::new(config)) })
    }

    /// Sends a message and waits for the response, within a time limit for the whole exchange.
    pub(super) async fn post(
        &self,
        url: &TargetUrl,
        headers: &MessageHeaders,
        body: String,
        now: Timestamp,
        time_limit: Duration,
    ) -> Result<Reply, SendError> {
        let request = request(url, headers, body).map_err(|_| SendError::Unsendable("the request cannot be built"))?;
        let response = tokio::time::timeout(time_limit, self.exchange(url, request)).await;
        let (status, headers) = response.unwrap_or(Err(SendError::TooSlow))?;
        Ok(Reply { status, retry_after: retry_after(&headers, now) })
    }

    async fn exchange(&self, url: &TargetUrl, request: Request<Full<Bytes>>) -> Result<(u16, HeaderMap), SendError> {
        let addresses = self.guard.addresses(url).await?;
        let stream = connect(&addresses).await?;
        if !url.is_encrypted() {
            return send(stream, request).await;
        }
        let name = match url.host() {
            TargetHost::Address(address) => ServerName::IpAddress((*address).into()),
            TargetHost::Name(name) => ServerName::try_from(name.clone()).map_err(|_| SendError::NoTls)?,
        };
        let stream = self.tls.connect(name, stream).await.map_err(|_| SendError::NoTls)?;
        send(stream, request).await
    }
}

fn request(
    url: &TargetUrl,
    headers: &MessageHeaders,
    body: String,
) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
    Request::post(url.path_and_query())
        .header(HOST, url.authority())
        .header(CONTENT_TYPE, "application/json")
        .header(USER_AGENT, concat!("cartulary/", env!("CARGO_PKG_VERSION")))
        .header("webhook-id", &headers.id)
        .header("webhook-timestamp", headers.timestamp)
        .header("webhook-signature", &headers.signature)
        .body(Full::from(body))
}

/// Connects to the first of the checked addresses that accepts a connection.
async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, SendError> {
    for address in addresses {
        if let Ok(Ok(stream)) = tokio::time::timeout(CONNECT_TIME_MOST, TcpStream::connect(address)).await {
            stream.set_nodelay(true).ok();
            return Ok(stream);
        }
    }
    Err(SendError::NoConnection)
}

/// Sends a request over a new connection, which is closed after the response.
async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<(u16, HeaderMap), SendError> {
    let mut http = http1::Builder::new();
    http.max_buf_size(HEADER_BYTES_MOST);
    let (mut sender, connection) = http.handshake(TokioIo::new(stream)).await.map_err(|_| SendError::Broken)?;
    let _connection_task = AbortOnDropHandle::new(tokio::spawn(connection));
    let mut response = sender.send_request(request).await.map_err(|_| SendError::Broken)?;
    drain(&mut response).await?;
    Ok((response.status().as_u16(), response.headers().clone()))
}

/// Reads the body up to [`BODY_BYTES_MOST`].
async fn drain(response: &mut Response<Incoming>) -> Result<(), SendError> {
    let mut left = BODY_BYTES_MOST;
    while let Some(frame) = response.frame().await {
        let bytes = frame.map_err(|_| SendError::Broken)?.data_ref().map_or(0, Bytes::len);
        match left.checked_sub(bytes) {
            Some(rest) => left = rest,
            None => break,
        }
    }
    Ok(())
}

/// Parses `Retry-After`: seconds, or a date (RFC 9110, 10.2.3).
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let when = jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_microsecond();
    u64::try_from(when.saturating_sub(now.micros())).ok().map(Duration::from_micros)
}
