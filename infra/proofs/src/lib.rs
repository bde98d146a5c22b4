//! Record of the proofs that tests and scenarios execute.
//!
//! A test that proves a capability calls [`proven`] after its assertions; a scenario has a line `proves:` at the step.
//! `cargo xtask gen` writes `docs/capabilities.md` from these claims, and `cargo xtask test` sets [`RECORD`] and fails
//! if a claim was not executed.

use std::{env, fmt, fs::OpenOptions, io::Write, panic::Location};

/// Environment variable with the path of the file that executed proofs are appended to.
pub const RECORD: &str = "PROOFS_RECORD";

/// A clause of a capability, and the file that proves it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Proof {
    /// Id in `docs/capability-ids.txt`.
    pub capability: String,
    /// The part of the capability that is shown, in a few words.
    pub clause: String,
    /// Path from the root of the workspace.
    pub file: String,
}

impl Proof {
    /// Reads a claim: `INV-06 an order lowers the available units`.
    pub fn of(claim: &str, file: &str) -> Option<Self> {
        let (capability, clause) = claim.trim().split_once(' ')?;
        let number = capability.split_once('-')?.1;
        let is_id = !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit());
        let clause = clause.trim();
        (is_id && !clause.is_empty()).then(|| Self {
            capability: capability.to_owned(),
            clause: clause.to_owned(),
            file: file.to_owned(),
        })
    }

    /// Reads a line of the record.
    pub fn from_line(line: &str) -> Option<Self> {
        let (file, claim) = line.split_once('\t')?;
        Self::of(claim, file)
    }

    /// Appends this proof to the record, if there is one.
    pub fn record(&self) {
        let Some(path) = env::var_os(RECORD) else { return };
        let mut file = OpenOptions::new().create(true).append(true).open(&path).expect("the record can be opened");
        // One write, so that lines of concurrent tests do not mix.
        file.write_all(format!("{self}\n").as_bytes()).expect("the record can be written");
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}\t{} {}", self.file, self.capability, self.clause)
    }
}

/// Records that the calling test has shown a clause of a capability. To be called after the assertions, with literals.
#[track_caller]
pub fn proven(claim: &'static str) {
    Proof::of(claim, Location::caller().file()).expect("a claim has an id and a clause").record();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claim_has_an_id_and_a_clause() {
        let proof = Proof::of("INV-06 an order holds units", "a.rs").expect("a claim");
        assert_eq!((proof.capability.as_str(), proof.clause.as_str()), ("INV-06", "an order holds units"));
        assert_eq!(Proof::from_line(&proof.to_string()), Some(proof));
        for bad in ["INV-06", "INV-06 ", "holds units", "INV-x units", "INV units"] {
            assert_eq!(Proof::of(bad, "a.rs"), None, "{bad}");
        }
    }
}
