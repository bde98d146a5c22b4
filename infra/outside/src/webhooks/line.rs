//! One request to an address outside: connected to what was checked, answered in time or given up. Nothing is followed, no
//! proxy is asked, and of the answer only the status and a bounded beginning are read.

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

/// So much of an answer is read, so that a receiver who sends a little more than nothing ends in peace.
const ANSWER_BYTES_MOST: usize = 4 * 1024;
/// What the headers of an answer may take.
const HEADER_BYTES_MOST: usize = 16 * 1024;
/// Of several addresses, one that is silent leaves time for the next.
const CONNECTED_WITHIN: Duration = Duration::from_secs(5);

/// What was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// How long the receiver wants to be left alone.
    pub(super) retry_after: Option<Duration>,
}

/// Why nothing was answered; for the tenant to read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    #[error("nobody can be connected to there")]
    NoConnection,
    #[error("no TLS connection with a certificate for this name that is trusted")]
    NoTls,
    #[error("the connection broke before there was an answer")]
    Broken,
    #[error("there was no answer in time")]
    TooSlow,
    #[error("{0}")]
    Unsendable(&'static str),
}

/// What one message has beside its body.
pub(super) struct Headers {
    pub(super) id: String,
    pub(super) timestamp: i64,
    pub(super) signature: String,
}

/// The way outside.
pub struct Line {
    guard: Arc<Guard>,
    tls: TlsConnector,
}

impl Line {
    /// Trusts the certificates that browsers trust.
    pub fn new(guard: Arc<Guard>) -> Result<Self, rustls::Error> {
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        Self::trusting(guard, roots)
    }

    /// Trusts these certificates.
    pub fn trusting(guard: Arc<Guard>, roots: RootCertStore) -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let config = config.with_root_certificates(roots).with_no_client_auth();
        Ok(Self { guard, tls: TlsConnector::from(Arc::new(config)) })
    }

    /// Sends one message and waits for the answer, for so long.
    pub(super) async fn post(
        &self,
        url: &TargetUrl,
        headers: &Headers,
        body: String,
        now: Timestamp,
        within: Duration,
    ) -> Result<Reply, Trouble> {
        let request = request(url, headers, body).map_err(|_| Trouble::Unsendable("the message cannot be sent"))?;
        let exchanged = tokio::time::timeout(within, self.exchange(url, request)).await;
        let (status, headers) = exchanged.unwrap_or(Err(Trouble::TooSlow))?;
        Ok(Reply { status, retry_after: retry_after(&headers, now) })
    }

    async fn exchange(&self, url: &TargetUrl, request: Request<Full<Bytes>>) -> Result<(u16, HeaderMap), Trouble> {
        let addresses = self.guard.addresses(url).await?;
        let stream = connect(&addresses).await?;
        if !url.is_encrypted() {
            return talk(stream, request).await;
        }
        let name = match url.host() {
            TargetHost::Address(address) => ServerName::IpAddress((*address).into()),
            TargetHost::Name(name) => ServerName::try_from(name.clone()).map_err(|_| Trouble::NoTls)?,
        };
        let stream = self.tls.connect(name, stream).await.map_err(|_| Trouble::NoTls)?;
        talk(stream, request).await
    }
}

fn request(url: &TargetUrl, headers: &Headers, body: String) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
    Request::post(url.path_and_query())
        .header(HOST, url.authority())
        .header(CONTENT_TYPE, "application/json")
        .header(USER_AGENT, concat!("cartulary/", env!("CARGO_PKG_VERSION")))
        .header("webhook-id", &headers.id)
        .header("webhook-timestamp", headers.timestamp)
        .header("webhook-signature", &headers.signature)
        .body(Full::from(body))
}

/// The first of the checked addresses that takes a connection.
async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, Trouble> {
    for address in addresses {
        if let Ok(Ok(stream)) = tokio::time::timeout(CONNECTED_WITHIN, TcpStream::connect(address)).await {
            stream.set_nodelay(true).ok();
            return Ok(stream);
        }
    }
    Err(Trouble::NoConnection)
}

/// Asks over a connection of its own, which ends with the answer.
async fn talk(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<(u16, HeaderMap), Trouble> {
    let mut http = http1::Builder::new();
    http.max_buf_size(HEADER_BYTES_MOST);
    let (mut sender, connection) = http.handshake(TokioIo::new(stream)).await.map_err(|_| Trouble::Broken)?;
    let _drives = AbortOnDropHandle::new(tokio::spawn(connection));
    let mut answer = sender.send_request(request).await.map_err(|_| Trouble::Broken)?;
    drain(&mut answer).await?;
    Ok((answer.status().as_u16(), answer.headers().clone()))
}

async fn drain(answer: &mut Response<Incoming>) -> Result<(), Trouble> {
    let mut left = ANSWER_BYTES_MOST;
    while let Some(frame) = answer.frame().await {
        let bytes = frame.map_err(|_| Trouble::Broken)?.data_ref().map_or(0, Bytes::len);
        match left.checked_sub(bytes) {
            Some(rest) => left = rest,
            None => break,
        }
    }
    Ok(())
}

/// Seconds, or the time of a day (RFC 9110, 10.2.3).
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let when = jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_microsecond();
    u64::try_from(when.saturating_sub(now.micros())).ok().map(Duration::from_micros)
}
