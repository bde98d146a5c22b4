//! SSRF guard: prevents webhooks from calling hosts of the private network. A URL is resolved and checked when it is
//! saved and before every call; the call then connects to one of the checked addresses.

use std::io::{Error, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use domain::shared::{TargetHost, TargetUrl};
use tokio::sync::Semaphore;

use super::ip_networks::{AddressList, is_public};

/// Time limit of a name resolution; a resolver that takes longer counts as unavailable.
const RESOLUTION_TIME_MOST: Duration = Duration::from_secs(5);
/// Maximum number of addresses of a name; a name with more is refused.
const ADDRESSES_MOST: usize = 16;
/// Maximum number of concurrent resolutions. Each occupies a thread until the resolver returns, also after its caller
/// has timed out.
const RESOLUTIONS_MOST: usize = 32;
/// Error texts of the system resolver if no name server has answered, in glibc and in musl.
const UNANSWERED: [&str; 2] = ["Temporary failure in name resolution", "Try again"];
/// Allowed ports: those of web servers with TLS. Other ports belong to databases, mail servers and the like.
const PORTS: [u16; 2] = [443, 8443];
/// Suffixes of names outside the public DNS (RFC 6761, RFC 6762, RFC 7686, RFC 8375, RFC 9476, and
/// `.internal`, which ICANN has reserved).
const PRIVATE_SUFFIXES: [&str; 8] =
    [".localhost", ".local", ".internal", ".home.arpa", ".onion", ".alt", ".test", ".invalid"];

/// Reason to refuse a URL. The text is shown to the tenant and reveals nothing about the private network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    #[error("expected an address that begins with https://")]
    NotEncrypted,
    #[error("expected one of the ports 443 and 8443")]
    Port,
    #[error("expected a public host name")]
    Name,
    #[error("the host has no address that may be called")]
    Address,
    /// The name cannot be resolved at present. The URL is not refused for good.
    #[error("the host name cannot be resolved at the moment; try again")]
    ResolverUnavailable,
}

/// Name resolver.
#[async_trait]
pub trait Resolver: Send + Sync {
    /// Resolves a name to all of its addresses. If no name server answers, the error is [`ErrorKind::TimedOut`].
    async fn resolve(&self, name: &str, port: u16) -> std::io::Result<Vec<SocketAddr>>;
}

/// Resolver of the operating system.
struct SystemResolver {
    permits: Arc<Semaphore>,
}

impl Default for SystemResolver {
    fn default() -> Self {
        Self { permits: Arc::new(Semaphore::new(RESOLUTIONS_MOST)) }
    }
}

#[async_trait]
impl Resolver for SystemResolver {
    async fn resolve(&self, name: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
        let permit = self.permits.clone().acquire_owned().await.map_err(Error::other)?;
        let name = name.to_owned();
        let resolved = tokio::task::spawn_blocking(move || {
            // The permit is held until the resolver returns, also if the caller has timed out.
            let _permit = permit;
            (name.as_str(), port).to_socket_addrs().map(Iterator::collect)
        });
        resolved.await.map_err(Error::other)?.map_err(|error| {
            let is_unanswered = UNANSWERED.iter().any(|text| error.to_string().ends_with(text));
            if is_unanswered { Error::new(ErrorKind::TimedOut, error) } else { error }
        })
    }
}

/// Decides which URLs may be called.
pub struct Guard {
    allowed: AddressList,
    refused: AddressList,
    resolver: Box<dyn Resolver>,
    /// True if no name server answered the last resolution. Limits the log to one line per outage.
    is_unavailable: AtomicBool,
}

/// Allows public addresses only.
impl Default for Guard {
    fn default() -> Self {
        Self::new(AddressList::default(), AddressList::default())
    }
}

impl Guard {
    /// A guard with exceptions: `allowed` hosts and networks may be private and without TLS; `refused` ones must not be
    /// called even if they are public. An address in both lists is allowed.
    pub fn new(allowed: AddressList, refused: AddressList) -> Self {
        let resolver = Box::new(SystemResolver::default());
        Self { allowed, refused, resolver, is_unavailable: AtomicBool::new(false) }
    }

    /// The same guard with another resolver.
    #[must_use]
    pub fn with_resolver(self, resolver: impl Resolver + 'static) -> Self {
        Self { resolver: Box::new(resolver), ..self }
    }

    /// The addresses to connect to, all of them checked.
    pub async fn addresses(&self, url: &TargetUrl) -> Result<Vec<SocketAddr>, Forbidden> {
        let is_listed = self.allowed.contains_host(url);
        if !is_listed && !self.allowed.has_networks() {
            check_url(url)?;
        }
        let addresses = self.resolve(url, is_listed).await?;
        if is_listed || addresses.iter().all(|address| self.allowed.contains_ip(address.ip())) {
            return Ok(addresses);
        }
        check_url(url)?;
        let is_permitted = |address: &SocketAddr| is_public(address.ip()) && !self.refused.contains_ip(address.ip());
        // Every address is checked, because the call may connect to any of them.
        match !self.refused.contains_host(url) && addresses.iter().all(is_permitted) {
            true => Ok(addresses),
            false => Err(Forbidden::Address),
        }
    }

    async fn resolve(&self, url: &TargetUrl, is_listed: bool) -> Result<Vec<SocketAddr>, Forbidden> {
        let name = match url.host() {
            TargetHost::Address(address) => return Ok(vec![SocketAddr::new(*address, url.port())]),
            // The final dot keeps the resolver from appending the search domains of the machine.
            TargetHost::Name(name) if !is_listed && name.contains('.') => format!("{name}."),
            TargetHost::Name(name) => name.clone(),
        };
        let resolved = tokio::time::timeout(RESOLUTION_TIME_MOST, self.resolver.resolve(&name, url.port())).await;
        let addresses = match resolved.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into())) {
            Err(error) if error.kind() == ErrorKind::TimedOut => {
                self.report_unavailable(&name);
                return Err(Forbidden::ResolverUnavailable);
            }
            resolved => resolved.unwrap_or_default(),
        };
        self.is_unavailable.store(false, Ordering::Relaxed);
        match addresses.len() {
            1..=ADDRESSES_MOST => Ok(addresses),
            _ => Err(Forbidden::Address),
        }
    }

    fn report_unavailable(&self, name: &str) {
        metrics::counter!("cartulary_webhook_names_away_total").increment(1);
        if !self.is_unavailable.swap(true, Ordering::Relaxed) {
            tracing::warn!(name, "no name server answers; webhook deliveries wait");
        }
    }
}

/// Checks the parts of a URL that need no name resolution.
fn check_url(url: &TargetUrl) -> Result<(), Forbidden> {
    if !url.is_encrypted() {
        return Err(Forbidden::NotEncrypted);
    }
    if !PORTS.contains(&url.port()) {
        return Err(Forbidden::Port);
    }
    match url.host() {
        TargetHost::Name(name) if !name.contains('.') => Err(Forbidden::Name),
        TargetHost::Name(name) if PRIVATE_SUFFIXES.iter().any(|suffix| name.ends_with(suffix)) => Err(Forbidden::Name),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
