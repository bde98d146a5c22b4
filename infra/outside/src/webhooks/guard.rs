//! Keeps the engine from being sent into its own house (SSRF): every address is looked up and checked when it is saved and
//! again whenever it is called, and what was checked is what is connected to.

use std::io::{Error, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use domain::shared::{TargetHost, TargetUrl};
use tokio::sync::Semaphore;

use super::networks::{Places, is_public};

/// A name server that takes longer is away.
const LOOKED_UP_WITHIN: Duration = Duration::from_secs(5);
/// A name that leads to more addresses than this is looked at no further.
const ADDRESSES_MOST: usize = 16;
/// Each takes a thread, also when nobody waits for it any more.
const LOOK_UPS_MOST: usize = 32;
/// How the resolver of the machine says that nobody answered it, in glibc and in musl.
const UNANSWERED: [&str; 2] = ["Temporary failure in name resolution", "Try again"];
/// Where web servers that speak TLS are found. Other ports belong to databases, mail and the like.
const PORTS: [u16; 2] = [443, 8443];
/// Names that never lead to the internet (RFC 6761, RFC 6762, RFC 8375, RFC 9476).
const INNER_NAMES: [&str; 8] =
    [".localhost", ".local", ".internal", ".home.arpa", ".onion", ".alt", ".test", ".invalid"];

/// Why an address is not called. The text is for the tenant, and tells nothing of what is inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    #[error("expected an address that begins with https://")]
    NotEncrypted,
    #[error("expected one of the ports 443 and 8443")]
    Port,
    #[error("expected a name of the internet")]
    Name,
    #[error("this leads to no address that may be called")]
    Address,
    /// This alone says nothing of the address: it may be called at another time.
    #[error("nobody says at the moment where this name leads")]
    NamesAway,
}

/// Who looks names up.
#[async_trait]
pub trait Names: Send + Sync {
    /// All addresses of a name. Where nobody can say now, the error is [`ErrorKind::TimedOut`].
    async fn addresses(&self, name: &str, port: u16) -> std::io::Result<Vec<SocketAddr>>;
}

/// The resolver of the machine.
struct Machine {
    free: Arc<Semaphore>,
}

impl Default for Machine {
    fn default() -> Self {
        Self { free: Arc::new(Semaphore::new(LOOK_UPS_MOST)) }
    }
}

#[async_trait]
impl Names for Machine {
    async fn addresses(&self, name: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
        let place = self.free.clone().acquire_owned().await.map_err(Error::other)?;
        let name = name.to_owned();
        let asked = tokio::task::spawn_blocking(move || {
            // Whoever asked may give up; the thread is busy until the resolver does.
            let _place = place;
            (name.as_str(), port).to_socket_addrs().map(Iterator::collect)
        });
        asked.await.map_err(Error::other)?.map_err(|error| {
            let unanswered = UNANSWERED.iter().any(|text| error.to_string().ends_with(text));
            if unanswered { Error::new(ErrorKind::TimedOut, error) } else { error }
        })
    }
}

/// Says which addresses may be called.
pub struct Guard {
    allowed: Places,
    refused: Places,
    names: Box<dyn Names>,
    /// Whether names could not be looked up at last, so that it is said once.
    away: AtomicBool,
}

/// Lets nothing private be called.
impl Default for Guard {
    fn default() -> Self {
        Self::new(Places::default(), Places::default())
    }
}

impl Guard {
    /// `allowed` may be called though they are private, and without TLS; `refused` not though they are public.
    pub fn new(allowed: Places, refused: Places) -> Self {
        Self { allowed, refused, names: Box::new(Machine::default()), away: AtomicBool::new(false) }
    }

    /// With somebody else who looks names up.
    #[must_use]
    pub fn asking(self, names: impl Names + 'static) -> Self {
        Self { names: Box::new(names), ..self }
    }

    /// The addresses to connect to, every one of them checked.
    pub async fn addresses(&self, url: &TargetUrl) -> Result<Vec<SocketAddr>, Forbidden> {
        let named = self.allowed.name(url);
        if !named && !self.allowed.have_networks() {
            check_as_written(url)?;
        }
        let found = self.look_up(url, named).await?;
        if named || found.iter().all(|address| self.allowed.hold(address.ip())) {
            return Ok(found);
        }
        check_as_written(url)?;
        let permitted = |address: &SocketAddr| is_public(address.ip()) && !self.refused.hold(address.ip());
        // One bad address among good ones is how a check that looks at the first one is passed by.
        match !self.refused.name(url) && found.iter().all(permitted) {
            true => Ok(found),
            false => Err(Forbidden::Address),
        }
    }

    async fn look_up(&self, url: &TargetUrl, named: bool) -> Result<Vec<SocketAddr>, Forbidden> {
        let name = match url.host() {
            TargetHost::Address(address) => return Ok(vec![SocketAddr::new(*address, url.port())]),
            // The dot keeps the resolver from trying the machine's own domains behind the name.
            TargetHost::Name(name) if !named && name.contains('.') => format!("{name}."),
            TargetHost::Name(name) => name.clone(),
        };
        let asked = tokio::time::timeout(LOOKED_UP_WITHIN, self.names.addresses(&name, url.port())).await;
        let found = match asked.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into())) {
            Err(error) if error.kind() == ErrorKind::TimedOut => {
                self.tell_that_names_are_away(&name);
                return Err(Forbidden::NamesAway);
            }
            found => found.unwrap_or_default(),
        };
        self.away.store(false, Ordering::Relaxed);
        match found.len() {
            1..=ADDRESSES_MOST => Ok(found),
            _ => Err(Forbidden::Address),
        }
    }

    fn tell_that_names_are_away(&self, name: &str) {
        metrics::counter!("cartulary_webhook_names_away_total").increment(1);
        if !self.away.swap(true, Ordering::Relaxed) {
            tracing::warn!(name, "names cannot be looked up at the moment; webhooks wait");
        }
    }
}

/// What can be seen without asking anybody.
fn check_as_written(url: &TargetUrl) -> Result<(), Forbidden> {
    if !url.is_encrypted() {
        return Err(Forbidden::NotEncrypted);
    }
    if !PORTS.contains(&url.port()) {
        return Err(Forbidden::Port);
    }
    match url.host() {
        TargetHost::Name(name) if !name.contains('.') => Err(Forbidden::Name),
        TargetHost::Name(name) if INNER_NAMES.iter().any(|inner| name.ends_with(inner)) => Err(Forbidden::Name),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
