//! TLS and authentication of servers, with certificates that are made by openssl.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::programs::run_quietly;

/// Certificate of a server, and authentication of its callers.
#[derive(Clone, Debug)]
pub struct Secured {
    /// File with the server's certificate and its key.
    pub identity: PathBuf,
    /// File with the certificate of the authority that callers trust, and that Kafka trusts for client certificates.
    pub authority: PathBuf,
    /// User and password for Kafka; without them it requires a client certificate.
    pub login: Option<(String, String)>,
}

/// Certificate authority. Its certificates are valid for three days.
#[derive(Clone, Debug)]
pub struct Authority {
    folder: PathBuf,
}

impl Authority {
    /// Creates an authority in a folder of its own.
    pub fn new(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("the folder {} cannot be created", folder.display()))?;
        let authority = Self { folder: folder.canonicalize()? };
        let extensions = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign";
        authority.make("authority", extensions, &[])?;
        Ok(authority)
    }

    /// File of its own certificate.
    pub fn certificate(&self) -> PathBuf {
        self.file("authority", "crt")
    }

    /// Signs a certificate for hosts, such as `DNS:localhost,IP:127.0.0.1`. Returns the file with the certificate and
    /// its key.
    pub fn sign(&self, name: &str, hosts: &str) -> Result<PathBuf> {
        let extensions = format!("basicConstraints=critical,CA:FALSE\nsubjectAltName={hosts}");
        let (certificate, key) = (self.certificate(), self.file("authority", "key"));
        self.make(name, &extensions, &[Path::new("-CA"), &certificate, Path::new("-CAkey"), &key])?;
        let identity = self.file(name, "pem");
        let both = [fs::read(self.file(name, "key"))?, fs::read(self.file(name, "crt"))?].concat();
        fs::write(&identity, both)?;
        fs::set_permissions(&identity, Permissions::from_mode(0o600))?;
        Ok(identity)
    }

    fn make(&self, name: &str, extensions: &str, signed_by: &[&Path]) -> Result<()> {
        let settings = self.file(name, "cnf");
        fs::write(&settings, format!("[req]\ndistinguished_name=subject\n[subject]\n[certificate]\n{extensions}\n"))?;
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-days", "3", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
        // Authorities need distinct names, or clients confuse them.
        let of = self.folder.file_name().unwrap_or_default().to_string_lossy();
        openssl.args(["-subj", &format!("/O={of}/CN={name}"), "-extensions", "certificate", "-config"]).arg(settings);
        openssl.arg("-keyout").arg(self.file(name, "key")).arg("-out").arg(self.file(name, "crt")).args(signed_by);
        run_quietly(openssl)
    }

    fn file(&self, name: &str, kind: &str) -> PathBuf {
        self.folder.join(format!("{name}.{kind}"))
    }
}
