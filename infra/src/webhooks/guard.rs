//! Keeps the engine from being sent into its own house (SSRF): every address is looked up and checked when it is saved and
//! again whenever it is called, and what was checked is what is connected to.

use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use domain::shared::{TargetHost, TargetUrl};

use super::networks::{Places, is_public};

/// A name server that takes longer is away.
const LOOKED_UP_WITHIN: Duration = Duration::from_secs(5);
/// A name that leads to more addresses than this is looked at no further.
const ADDRESSES_MOST: usize = 16;
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
}

/// Who looks names up.
#[async_trait]
pub trait Names: Send + Sync {
    /// All addresses of a name.
    async fn addresses(&self, name: &str, port: u16) -> std::io::Result<Vec<SocketAddr>>;
}

/// The resolver of the machine.
struct Machine;

#[async_trait]
impl Names for Machine {
    async fn addresses(&self, name: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((name, port)).await?.collect())
    }
}

/// Says which addresses may be called.
pub struct Guard {
    allowed: Places,
    refused: Places,
    names: Box<dyn Names>,
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
        Self { allowed, refused, names: Box::new(Machine) }
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
        let found = asked.ok().and_then(Result::ok).unwrap_or_default();
        match found.len() {
            1..=ADDRESSES_MOST => Ok(found),
            _ => Err(Forbidden::Address),
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
