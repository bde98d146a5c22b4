//! TLS, users and client certificates for Kafka and Redis.
//!
//! PostgreSQL needs no settings for this: its URL has parameters (`sslmode`, `sslrootcert`, `sslcert`, `sslkey`).

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use kafka::{Login, Mechanism, Password, Tls};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::Settings;
use edge::redis;
use vault::read_secret;

/// Default SASL mechanism: the strongest that we support.
pub(super) const MECHANISM: &str = "SCRAM-SHA-512";

impl Settings {
    /// Refuses settings that contradict each other. The files are not read here.
    pub(super) fn check_secured(&self) -> Result<()> {
        for (name, file) in [("kafka_ca_file", &self.kafka_ca_file), ("kafka_identity_file", &self.kafka_identity_file)]
        {
            ensure!(self.kafka_tls || file.is_none(), "{name} is of use with kafka_tls only");
        }
        self.kafka_mechanism.parse::<Mechanism>().context("kafka_mechanism")?;
        let (user, password) = (self.kafka_user.is_some(), self.kafka_password_file.is_some());
        ensure!(password || !user, "kafka_user is of no use alone; set kafka_password_file as well");
        ensure!(user || !password, "kafka_password_file is of no use alone; set kafka_user as well");
        ensure!(self.kafka_user.as_deref().is_none_or(is_one_line), "kafka_user must be a name");
        ensure!(
            !user || self.kafka_tls || self.kafka_password_in_clear,
            "the password of kafka_user would be sent in clear: set kafka_tls, or kafka_password_in_clear where the \
             network is private"
        );
        let over_tls = self.redis_url.as_ref().is_some_and(|url| url.starts_with("rediss://"));
        ensure!(over_tls || self.redis_ca_file.is_none(), "redis_ca_file requires a rediss:// address");
        self.redis_url.as_ref().map_or(Ok(()), |url| redis::client(url, None).map(drop))
    }

    /// Connection settings of Kafka, if it is used.
    pub(crate) fn kafka(&self) -> Result<Option<kafka::Settings>> {
        let Some(brokers) = self.kafka_brokers.clone() else { return Ok(None) };
        if let Some(file) = &self.kafka_ca_file {
            authorities(file)?;
        }
        if let Some(file) = &self.kafka_identity_file {
            check_identity(file)?;
        }
        let tls = Tls { authorities: self.kafka_ca_file.clone(), client_certificate: self.kafka_identity_file.clone() };
        Ok(Some(kafka::Settings {
            brokers,
            tls: self.kafka_tls.then_some(tls),
            login: self.kafka_login()?,
            topic: self.kafka_topic.clone(),
            replication: self.kafka_replication,
            lease_ms: self.lease_ms,
            ..kafka::Settings::default()
        }))
    }

    fn kafka_login(&self) -> Result<Option<Login>> {
        let (Some(user), Some(file)) = (&self.kafka_user, &self.kafka_password_file) else { return Ok(None) };
        let text = read_secret(file)?;
        let password = text.strip_suffix('\n').unwrap_or(&text);
        ensure!(is_one_line(password), "{} must hold a password, in one line", file.display());
        let (mechanism, user) = (self.kafka_mechanism.parse()?, user.clone());
        Ok(Some(Login { mechanism, user, password: Password::new(password) }))
    }

    /// Client of Redis, if it is used.
    pub(crate) fn redis(&self) -> Result<Option<::redis::Client>> {
        let Some(url) = &self.redis_url else { return Ok(None) };
        redis::client(url, self.redis_ca_file.as_deref().map(authorities).transpose()?).map(Some)
    }
}

/// True for a text that is not empty and has no control character, such as a line end.
fn is_one_line(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(char::is_control)
}

/// Reads certificates of authorities, and refuses a file without a certificate.
fn authorities(file: &Path) -> Result<Vec<u8>> {
    let text = fs::read(file).with_context(|| format!("cannot read the certificates in {}", file.display()))?;
    let mut trusted = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let added = certificate.map_err(anyhow::Error::from).and_then(|found| Ok(trusted.add(found)?));
        added.with_context(|| format!("{} holds a certificate that does not read", file.display()))?;
    }
    ensure!(!trusted.is_empty(), "{} holds no certificate in PEM", file.display());
    Ok(text)
}

/// Refuses a file without a certificate and its private key.
fn check_identity(file: &Path) -> Result<()> {
    let text = read_secret(file)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let certificates = certificates.with_context(|| format!("{} holds what is no PEM", file.display()))?;
    ensure!(!certificates.is_empty(), "{} holds no certificate in PEM", file.display());
    PrivateKeyDer::from_pem_slice(text.as_bytes())
        .with_context(|| format!("{} holds no key in PEM that can be used without a password", file.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use servers::Authority;

    use super::*;

    type Change = fn(&mut Settings);

    /// Files of one test.
    struct Files(PathBuf);

    impl Files {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("cartulary-secured-{name}-{}", std::process::id()));
            fs::create_dir_all(&folder).expect("a folder");
            Self(folder)
        }

        fn write(&self, name: &str, text: &str, mode: u32) -> Option<PathBuf> {
            let file = self.0.join(name);
            fs::write(&file, text).expect("written");
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("chmod");
            Some(file)
        }
    }

    impl Drop for Files {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn complete(files: &Files) -> Settings {
        let authority = Authority::new(&files.0.join("authority")).expect("openssl makes one");
        Settings {
            kafka_brokers: Some("kafka.example:9093".into()),
            kafka_tls: true,
            kafka_ca_file: Some(authority.certificate()),
            kafka_identity_file: Some(authority.sign("ours", "DNS:cartulary").expect("signed")),
            kafka_user: Some("cartulary".into()),
            kafka_password_file: files.write("password", "correct horse\n", 0o600),
            redis_url: Some("rediss://redis.example:6379/".into()),
            redis_ca_file: Some(authority.certificate()),
            ..Settings::default()
        }
    }

    #[test]
    fn contradicting_settings_are_refused_with_a_reason() {
        let files = Files::new("contradictions");
        let right = complete(&files);
        right.check_secured().expect("nothing is wrong with it");
        let wrong: [(Change, &str); 9] = [
            (|settings| settings.kafka_tls = false, "kafka_ca_file is of use with kafka_tls only"),
            (
                |settings| (settings.kafka_tls, settings.kafka_ca_file) = (false, None),
                "kafka_identity_file is of use with kafka_tls only",
            ),
            (|settings| settings.kafka_user = None, "kafka_password_file is of no use alone; set kafka_user as well"),
            (
                |settings| settings.kafka_password_file = None,
                "kafka_user is of no use alone; set kafka_password_file as well",
            ),
            (|settings| settings.kafka_user = Some("two\nlines".into()), "kafka_user must be a name"),
            (
                |settings| settings.kafka_mechanism = "GSSAPI".into(),
                "kafka_mechanism: `GSSAPI` is none of PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512",
            ),
            (
                |settings| {
                    (settings.kafka_tls, settings.kafka_ca_file, settings.kafka_identity_file) = (false, None, None);
                },
                "the password of kafka_user would be sent in clear: set kafka_tls, or kafka_password_in_clear where the \
                 network is private",
            ),
            (
                |settings| settings.redis_url = Some("redis://redis.example:6379/".into()),
                "redis_ca_file requires a rediss:// address",
            ),
            (|settings| settings.redis_url = None, "redis_ca_file requires a rediss:// address"),
        ];
        for (change, expected) in wrong {
            let mut settings = right.clone();
            change(&mut settings);
            let refused = settings.check_secured().expect_err(expected);
            assert_eq!(format!("{refused:#}"), expected);
        }
        let in_clear = Settings { redis_ca_file: None, kafka_password_in_clear: true, ..right };
        let in_clear = Settings { kafka_tls: false, kafka_ca_file: None, kafka_identity_file: None, ..in_clear };
        in_clear.check_secured().expect("allowed explicitly");
    }

    #[test]
    fn missing_readable_by_others_or_malformed_files_are_named() {
        let files = Files::new("files");
        let right = complete(&files);
        let kafka = right.kafka().expect("every file is right").expect("there are brokers");
        assert!(kafka.tls.is_some() && kafka.login.is_some_and(|login| login.user == "cartulary"));
        right.redis().expect("it reads").expect("there is an address");

        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let authority = fs::read_to_string(right.kafka_ca_file.as_deref().expect("set")).expect("it reads");
        let wrong = [
            Settings { kafka_ca_file: Some(files.0.join("nowhere")), ..right.clone() },
            Settings { kafka_ca_file: files.write("no.pem", "nothing", 0o600), ..right.clone() },
            Settings { kafka_ca_file: files.write("broken.pem", broken, 0o600), ..right.clone() },
            Settings { kafka_identity_file: files.write("no.key", &authority, 0o600), ..right.clone() },
            Settings { kafka_identity_file: files.write("open.pem", &authority, 0o640), ..right.clone() },
            Settings { kafka_password_file: Some(files.0.join("nowhere")), ..right.clone() },
            Settings { kafka_password_file: files.write("empty", "\n", 0o600), ..right.clone() },
            Settings { kafka_password_file: files.write("open", "correct horse", 0o604), ..right },
        ];
        let expected = [
            "cannot read the certificates in /nowhere: No such file or directory",
            "/no.pem holds no certificate in PEM",
            "/broken.pem holds a certificate that does not read",
            "/no.key holds no key in PEM that can be used without a password",
            "/open.pem can be read by others; `chmod 600` it",
            "cannot read /nowhere: No such file or directory",
            "/empty must hold a password, in one line",
            "/open can be read by others; `chmod 600` it",
        ];
        for (settings, expected) in wrong.into_iter().zip(expected) {
            let refused = format!("{:#}", settings.kafka().expect_err(expected));
            let folder = files.0.display().to_string();
            assert!(refused.replace(&folder, "").starts_with(expected), "{refused}");
            assert!(!refused.contains("horse"), "{refused}");
        }
    }
}
