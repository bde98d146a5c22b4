//! Digest of a read model: one hash over all rows. The same history gives the same digest on any machine.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};
use domain::shared::TenantId;
use projections::ports::Checkpoint;

/// SHA-256 over the rows of one read model in the order of tenant and key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    pub sha256: [u8; 32],
    pub rows: u64,
    /// Checkpoints that the rows reflect, one per lane.
    pub at: Vec<Checkpoint>,
}

/// Incremental computation of a [`Digest`].
pub struct Digester {
    hash: Context,
    rows: u64,
}

impl Default for Digester {
    fn default() -> Self {
        Self { hash: Context::new(&SHA256), rows: 0 }
    }
}

impl Digester {
    /// Adds the next row, in the order of tenant and key, in the form of
    /// [`Model::canonical`](projections::kernel::Model::canonical).
    pub fn add_row(&mut self, tenant: TenantId, canonical: &str) {
        // Canonical JSON contains no line break, so different lists of rows never give the same bytes.
        self.hash.update(tenant.to_string().as_bytes());
        self.hash.update(b" ");
        self.hash.update(canonical.as_bytes());
        self.hash.update(b"\n");
        self.rows += 1;
    }

    /// Finishes the digest of all rows added.
    pub fn finish(self, at: Vec<Checkpoint>) -> Digest {
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(self.hash.finish().as_ref());
        Digest { sha256, rows: self.rows, at }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.sha256.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(rows: &[(u8, &str)]) -> String {
        let mut digester = Digester::default();
        for (tenant, row) in rows {
            let tenant = format!("0190a5b2-7c3d-7e4f-8a9b-0000000000{tenant:02x}");
            digester.add_row(tenant.parse().expect("an id"), row);
        }
        digester.finish(Vec::new()).to_string()
    }

    #[test]
    fn digest_depends_on_rows_tenants_and_order() {
        let one = digest(&[(1, r#"{"a":1}"#), (1, r#"{"a":2}"#)]);
        assert_eq!(one, digest(&[(1, r#"{"a":1}"#), (1, r#"{"a":2}"#)]));
        for other in [
            &[(1, r#"{"a":2}"#), (1, r#"{"a":1}"#)][..],
            &[(1, r#"{"a":1}"#), (2, r#"{"a":2}"#)],
            &[(1, r#"{"a":1}"#)],
            &[],
        ] {
            assert_ne!(one, digest(other));
        }
    }
}
