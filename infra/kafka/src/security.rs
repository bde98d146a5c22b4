//! TLS and SASL: authentication of brokers, and of this client.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use rdkafka::ClientConfig;

/// TLS settings. Broker certificates are always verified, host names included.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// File of the certificate authorities that brokers' certificates must chain to. Default: those of the system.
    pub authorities: Option<PathBuf>,
    /// File with the client certificate and its key, for brokers that require one.
    pub client_certificate: Option<PathBuf>,
}

/// SASL credentials.
#[derive(Clone, Debug)]
pub struct Login {
    pub mechanism: Mechanism,
    pub user: String,
    pub password: Password,
}

/// A password that `Debug` does not print.
#[derive(Clone)]
pub struct Password(String);

/// SASL mechanism (RFC 4616, RFC 7677).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    Plain,
    ScramSha256,
    ScramSha512,
}

/// The name of a mechanism that is not supported.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is none of PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512")]
pub struct UnknownMechanism(String);

impl Password {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Password")
    }
}

impl Mechanism {
    const ALL: [Self; 3] = [Self::Plain, Self::ScramSha256, Self::ScramSha512];

    /// Name in the configuration of brokers.
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

impl FromStr for Mechanism {
    type Err = UnknownMechanism;

    fn from_str(name: &str) -> Result<Self, UnknownMechanism> {
        let known = Self::ALL.into_iter().find(|known| known.name() == name);
        known.ok_or_else(|| UnknownMechanism(name.to_owned()))
    }
}

/// Sets the security protocol, TLS and SASL of a client.
pub(crate) fn apply(config: &mut ClientConfig, tls: Option<&Tls>, login: Option<&Login>) {
    let protocol = match (tls, login) {
        (None, None) => "plaintext",
        (Some(_), None) => "ssl",
        (None, Some(_)) => "sasl_plaintext",
        (Some(_), Some(_)) => "sasl_ssl",
    };
    config.set("security.protocol", protocol);
    if let Some(Tls { authorities, client_certificate }) = tls {
        config.set("enable.ssl.certificate.verification", "true");
        config.set("ssl.endpoint.identification.algorithm", "https");
        if let Some(file) = authorities {
            config.set("ssl.ca.location", file.to_string_lossy());
        }
        if let Some(file) = client_certificate {
            config.set("ssl.certificate.location", file.to_string_lossy());
            config.set("ssl.key.location", file.to_string_lossy());
        }
    }
    if let Some(Login { mechanism, user, password }) = login {
        config.set("sasl.mechanisms", mechanism.name());
        config.set("sasl.username", user).set("sasl.password", &password.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_printed_and_is_set_with_a_login_only() {
        let login =
            Login { mechanism: Mechanism::Plain, user: "cartulary".into(), password: Password::new("correct horse") };
        assert!(!format!("{login:?}").contains("correct"), "{login:?}");
        let mut config = ClientConfig::new();
        apply(&mut config, Some(&Tls::default()), Some(&login));
        assert_eq!(config.get("sasl.password"), Some("correct horse"));
        assert!(!format!("{config:?}").contains("correct"), "{config:?}");
        let tls = Tls::default();
        for (tls, login, protocol) in [
            (None, None, "plaintext"),
            (Some(&tls), None, "ssl"),
            (None, Some(&login), "sasl_plaintext"),
            (Some(&tls), Some(&login), "sasl_ssl"),
        ] {
            let mut config = ClientConfig::new();
            apply(&mut config, tls, login);
            assert_eq!(config.get("security.protocol"), Some(protocol));
            assert_eq!(config.get("sasl.password").is_some(), login.is_some());
        }
    }

    #[test]
    fn a_mechanism_is_parsed_from_the_name_that_brokers_use() {
        for known in Mechanism::ALL {
            assert_eq!(known.name().parse::<Mechanism>().expect("known"), known);
        }
        let error = "GSSAPI".parse::<Mechanism>().expect_err("unknown").to_string();
        assert_eq!(error, "`GSSAPI` is none of PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512");
    }
}
