//! A broker like those of a cloud provider: TLS, with authentication by password or client certificate.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kafka::{Availability, Feed, Login, Mechanism, Password, Tls, probe};
use tokio::sync::{Mutex, MutexGuard};
use xtask::servers::{Authority, Program, Secured, Servers, in_folder};

use crate::feed::{Received, eventually, feed, relay};
use crate::log::Log;
use crate::servers::TestEnvironment;

const USER: &str = "cartulary";
const PASSWORD: &str = "correct-horse";
const OTHER_PASSWORD: &str = "battery-staple";

/// Lock that allows one such broker at a time, because each is a Java process.
static TURN: Mutex<()> = Mutex::const_new(());

/// A broker that the tests restart with other certificates and passwords.
struct Provider {
    folder: PathBuf,
    servers: Servers,
    authority: Authority,
    _turn: MutexGuard<'static, ()>,
}

impl Provider {
    async fn new() -> Self {
        let turn = TURN.lock().await;
        let folder = std::env::temp_dir().join(format!("cartulary-provider-{}", std::process::id()));
        let servers = in_folder(&folder.join("servers")).expect("a folder");
        let authority = Authority::new(&folder.join("authority")).expect("an authority");
        Self { folder, servers, authority, _turn: turn }
    }

    /// Restarts the broker on its port. Returns its address.
    async fn start(&self, identity: &Path, password: Option<&str>) -> String {
        let login = password.map(|password| (USER.to_owned(), password.to_owned()));
        let secured = Secured { identity: identity.to_owned(), authority: self.authority.certificate(), login };
        let (before, servers) = (self.servers.clone(), self.servers.clone().secured(secured));
        let up = move || {
            before.down(&[Program::Kafka])?;
            servers.up(&[Program::Kafka])
        };
        let started = tokio::task::spawn_blocking(up).await.expect("no panic").expect("Kafka starts");
        started.first().expect("one server").address.clone()
    }

    /// Deletes the broker's data, its users included.
    fn wipe(&self) {
        self.servers.down(&[Program::Kafka]).expect("ended");
        fs::remove_dir_all(self.folder.join("servers/kafka/data")).expect("wiped");
    }

    fn tls(&self, client_certificate: Option<PathBuf>) -> Option<Tls> {
        Some(Tls { authorities: Some(self.authority.certificate()), client_certificate })
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.servers.down(&[Program::Kafka]);
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn login(mechanism: Mechanism, password: &str) -> Option<Login> {
    Some(Login { mechanism, user: USER.into(), password: Password::new(password) })
}

/// Asserts that the broker rejects both a feed and `probe` with this reason. Retries, because the broker may close a
/// connection before its message is read.
async fn rejected(environment: &TestEnvironment, why: &str) {
    eventually(why, async || {
        let opened = Feed::open(&environment.settings, "consumer", Log::default(), Availability::new("Kafka"));
        let (opened, probed) = tokio::join!(opened, probe(&environment.settings, Some(16)));
        let errors = [opened.err().expect("rejected").to_string(), probed.expect_err("rejected").to_string()];
        println!("{errors:?}");
        assert!(errors.iter().all(|error| !error.contains(OTHER_PASSWORD)), "{errors:?}");
        errors.iter().all(|error| error.contains(why))
    })
    .await;
}

/// Asserts that events pass through the broker, from a relay to a consumer.
async fn carries_events(environment: &TestEnvironment) {
    let log = Log::with(50);
    let running = relay(environment, &log);
    eventually("the relay gets through", async || {
        probe(&environment.settings, Some(16)).await.is_ok_and(|status| status == "reachable")
    })
    .await;
    let mut received = Received::default();
    received.until(&mut feed(environment, &log, "consumer").await, 800).await;
    assert_eq!((received.gaps, received.foreign), (0, 0));
    running.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_of_authentication_is_accepted_with_the_right_secret_and_rejected_with_a_wrong_one() {
    let (provider, mut environment) = (Provider::new().await, TestEnvironment::shared().await);
    let identity = provider.authority.sign("broker", "IP:127.0.0.1").expect("signed");
    let secured = provider.start(&identity, Some(PASSWORD)).await;
    let plain = std::mem::replace(&mut environment.settings.brokers, secured.clone());
    environment.settings.tls = provider.tls(None);
    let topic = environment.settings.topic.clone();
    for mechanism in [Mechanism::Plain, Mechanism::ScramSha256, Mechanism::ScramSha512] {
        environment.settings.topic = format!("{topic}-{mechanism:?}");
        environment.settings.login = login(mechanism, PASSWORD);
        carries_events(&environment).await;
        environment.settings.login = login(mechanism, OTHER_PASSWORD);
        rejected(&environment, "uthentication failed").await;
    }

    // With missing or superfluous TLS settings, the error names the possible causes.
    let sides = [(&secured, None), (&secured, provider.tls(None)), (&plain, provider.tls(None))];
    for (brokers, tls) in sides {
        (environment.settings.brokers, environment.settings.tls, environment.settings.login) =
            (brokers.clone(), tls, None);
        rejected(&environment, "TLS is set on one side only, or it requires a login").await;
    }
    environment.settings.brokers = secured;

    provider.start(&identity, None).await;
    environment.settings.topic = format!("{topic}-certificate");
    environment.settings.tls =
        provider.tls(Some(provider.authority.sign("cartulary", "DNS:cartulary").expect("signed")));
    carries_events(&environment).await;
    environment.settings.tls = provider.tls(None);
    rejected(&environment, "it requires a client certificate").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_with_a_wrong_certificate_or_login_is_reported_and_used_once_it_is_corrected() {
    let (provider, mut environment) = (Provider::new().await, TestEnvironment::shared().await);
    let untrusted = Authority::new(&provider.folder.join("untrusted")).expect("an authority");
    let sign = |by: &Authority, name: &str, host: &str| by.sign(name, host).expect("signed");
    let right = sign(&provider.authority, "broker", "IP:127.0.0.1");
    let elsewhere = sign(&provider.authority, "elsewhere", "DNS:elsewhere.example,IP:127.0.0.2");
    let forged = sign(&untrusted, "broker", "IP:127.0.0.1");
    environment.settings.brokers = provider.start(&forged, Some(OTHER_PASSWORD)).await;
    environment.settings.tls = provider.tls(None);
    environment.settings.login = login(Mechanism::ScramSha512, PASSWORD);
    let log = Log::with(50);
    let running = relay(&environment, &log);
    let reports = async |word: &str| {
        eventually(word, async || running.kafka.outage_reason().is_some_and(|reason| reason.contains(word))).await;
    };
    for identity in [&forged, &elsewhere] {
        provider.start(identity, Some(OTHER_PASSWORD)).await;
        reports("its certificate is not for this host").await;
        rejected(&environment, "its certificate is not for this host").await;
    }

    provider.start(&right, Some(OTHER_PASSWORD)).await;
    reports("uthentication failed").await;
    provider.wipe();
    provider.start(&right, Some(PASSWORD)).await;
    eventually("the relay gets through", async || running.kafka.outage_reason().is_none()).await;
    let (mut received, mut feed) = (Received::default(), feed(&environment, &log, "consumer").await);
    received.until(&mut feed, 800).await;

    // The certificate changes while a relay and a consumer use the broker.
    provider.start(&elsewhere, Some(PASSWORD)).await;
    reports("its certificate is not for this host").await;
    eventually("the consumer reports it, too", async || {
        received.add(feed.next(1_000, Duration::from_millis(100)).await.expect("the log answers"));
        feed.availability()
            .outage_reason()
            .is_some_and(|reason| reason.contains("its certificate is not for this host"))
    })
    .await;
    (0..16).for_each(|lane| log.append(lane, 10));
    provider.start(&right, Some(PASSWORD)).await;
    received.until(&mut feed, 960).await;
    assert_eq!((received.gaps, received.foreign), (0, 0));
    eventually("the relay reports no outage", async || running.kafka.outage_reason().is_none()).await;
    running.stop().await.expect("a clean stop");
}
