//! URLs of known SSRF attacks: each is refused, by the parser of URLs or by the guard.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// Resolver with fixed addresses. `flips.example.org` is public at its first resolution and private afterwards.
#[derive(Default)]
struct Zone {
    flips: AtomicUsize,
}

#[async_trait]
impl Resolver for Zone {
    async fn resolve(&self, name: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
        let found: &[&str] = match name {
            "public.example.org." => &["1.1.1.1", "2606:4700::1111"],
            // A CNAME is not visible to the guard: only the addresses count.
            "private.example.org." | "cname-to-private.example.org." => &["10.0.0.7"],
            "both.example.org." => &["1.1.1.1", "127.0.0.1"],
            "mapped.example.org." => &["::ffff:127.0.0.1"],
            "metadata.example.org." => &["169.254.169.254"],
            "flips.example.org." if self.flips.fetch_add(1, Ordering::Relaxed) == 0 => &["1.1.1.1"],
            "flips.example.org." => &["127.0.0.1"],
            "own.example.org." => &["5.5.5.5"],
            "receiver" => &["172.17.0.2"],
            "nothing.example.org." => &[],
            "away.example.org." => return Err(ErrorKind::TimedOut.into()),
            _ => return Err(ErrorKind::NotFound.into()),
        };
        Ok(found.iter().map(|address| SocketAddr::new(address.parse().expect("an address"), port)).collect())
    }
}

fn list(entries: &[&str]) -> AddressList {
    AddressList::parse(&entries.iter().map(|entry| (*entry).to_owned()).collect::<Vec<_>>()).expect("a list")
}

fn guard(allowed: &[&str], refused: &[&str]) -> Guard {
    Guard::new(list(allowed), list(refused)).with_resolver(Zone::default())
}

async fn verdict(guard: &Guard, url: &str) -> Result<usize, Option<Forbidden>> {
    let url: TargetUrl = url.parse().map_err(|_| None)?;
    guard.addresses(&url).await.map(|found| found.len()).map_err(Some)
}

#[tokio::test]
async fn urls_that_lead_to_private_addresses_are_refused() {
    let guard = guard(&[], &["own.example.org:443", "6.6.6.0/24"]);
    for host in [
        "127.0.0.1",
        "127.1",
        "0",
        "0.0.0.0",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:ffff:169.254.169.254]",
        "169.254.169.254",
        "100.64.0.1",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "[fc00::1]",
        "[fd00:ec2::254]",
        "[fe80::1%lo]",
        "[fe80::1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "localhost",
        "localhost.",
        "[localhost]",
        "metadata.internal",
        "printer.local",
        "a.localhost",
        "private.example.org",
        "cname-to-private.example.org",
        "both.example.org",
        "mapped.example.org",
        "metadata.example.org",
        "nothing.example.org",
        "unknown.example.org",
        "own.example.org",
        "6.6.6.6",
        "receiver",
        "user:pass@public.example.org",
        "public.example.org#@127.0.0.1",
        "public.example.org\\@127.0.0.1",
        "public。example.org",
        "public.example.org.",
        "public.example.org:0",
        "public.example.org:65536",
        "public.example.org:22",
        "public.example.org:80",
        "public.example.org:5432",
        "public.example.org:6379",
        "public.example.org:9092",
    ] {
        let found = verdict(&guard, &format!("https://{host}/hook")).await;
        assert!(found.is_err(), "{host}: {found:?}");
    }
    for url in [
        "http://public.example.org/",
        "ht\ttps://public.example.org/",
        "file:///etc/passwd",
        "gopher://public.example.org",
        "ftp://public.example.org",
        "unix:/run/docker.sock",
        "//public.example.org",
        "https:public.example.org",
    ] {
        assert!(verdict(&guard, url).await.is_err(), "{url}");
    }
    let long = format!("https://public.example.org/{}", "x".repeat(8_192));
    assert_eq!(verdict(&guard, &long).await, Err(None));
}

#[tokio::test]
async fn public_urls_resolve_to_all_of_their_addresses() {
    let guard = guard(&[], &[]);
    assert_eq!(verdict(&guard, "https://public.example.org/hook").await, Ok(2));
    assert_eq!(verdict(&guard, "https://public.example.org:8443/").await, Ok(2));
    assert_eq!(verdict(&guard, "https://1.1.1.1/").await, Ok(1));
}

#[tokio::test]
async fn a_name_that_becomes_private_after_it_was_saved_is_refused_at_the_call() {
    let guard = guard(&[], &[]);
    assert_eq!(verdict(&guard, "https://flips.example.org/").await, Ok(1));
    assert_eq!(verdict(&guard, "https://flips.example.org/").await, Err(Some(Forbidden::Address)));
}

#[tokio::test]
async fn an_unavailable_resolver_is_distinguished_from_a_refused_name() {
    let guard = guard(&[], &[]);
    assert_eq!(verdict(&guard, "https://away.example.org/").await, Err(Some(Forbidden::ResolverUnavailable)));
    // A URL that fails the checks without resolution is refused in any case.
    assert_eq!(verdict(&guard, "http://away.example.org/").await, Err(Some(Forbidden::NotEncrypted)));
}

#[tokio::test]
async fn private_and_unknown_hosts_are_refused_with_the_same_reason() {
    let guard = guard(&[], &[]);
    for name in ["private", "both", "nothing", "unknown"] {
        let found = verdict(&guard, &format!("https://{name}.example.org/")).await;
        assert_eq!(found, Err(Some(Forbidden::Address)), "{name}");
    }
}

#[tokio::test]
async fn only_the_hosts_and_networks_of_the_allow_list_are_exceptions() {
    let by_name = guard(&["receiver:9000"], &[]);
    assert_eq!(verdict(&by_name, "http://receiver:9000/").await, Ok(1));
    assert_eq!(verdict(&by_name, "http://receiver:9001/").await, Err(Some(Forbidden::NotEncrypted)));
    let by_network = guard(&["10.0.0.0/24"], &[]);
    assert_eq!(verdict(&by_network, "http://private.example.org:8080/").await, Ok(1));
    assert_eq!(verdict(&by_network, "http://10.0.0.9/").await, Ok(1));
    assert_eq!(verdict(&by_network, "https://10.0.1.9/").await, Err(Some(Forbidden::Address)));
    assert_eq!(verdict(&by_network, "https://both.example.org/").await, Err(Some(Forbidden::Address)));
    assert_eq!(verdict(&by_network, "https://127.0.0.1/").await, Err(Some(Forbidden::Address)));
}
