//! Page of the proven capabilities. A step of a scenario claims a clause by a line `proves:`, a test by a call of
//! `proven`. The claims are read from the sources and compared with the record of the run that executed them.

use std::{
    collections::BTreeSet,
    fmt::Write,
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use proofs::Proof;

use crate::workspace::{self, Workspace};

pub(crate) const PAGE: &str = "docs/capabilities.md";
const IDS: &str = "docs/capability-ids.txt";
const SCENARIOS: &str = "api/tests/scenarios/";
/// Line of a scenario that claims a clause.
const STEP_MARK: &str = "proves:";
/// Call of a test that claims a clause.
const TEST_MARK: &str = "proven(";

const AREAS: &[(&str, &str)] = &[
    ("ES", "event-sourcing core"),
    ("TEN", "tenancy, stores, plans"),
    ("IAM", "identity and access"),
    ("CAT", "catalogue"),
    ("INV", "inventory"),
    ("FLS", "flash sales"),
    ("BUY", "customers, cart, wishlist"),
    ("ORD", "orders"),
    ("PAY", "payments and settlement"),
    ("SUB", "subscriptions and instalments"),
    ("FUL", "fulfilment"),
    ("LOY", "points and rewards"),
    ("REF", "referrals"),
    ("VIP", "tiers"),
    ("RFM", "RFM, segments, nudges"),
    ("CMP", "campaigns and coupons"),
    ("GAM", "badges and games"),
    ("NTF", "notifications"),
    ("SOC", "social"),
    ("REV", "reviews and questions"),
    ("CHT", "chat"),
    ("CNT", "content and media"),
    ("ANA", "analytics and reports"),
    ("SRC", "search and discovery"),
    ("AIA", "assistant and forecasts"),
    ("AUD", "audit and compliance"),
    ("ADM", "platform administration"),
    ("INT", "integrations and webhooks"),
    ("SUP", "support"),
    ("FRT", "front ends and clients"),
    ("OPS", "operations"),
];

/// Writes the page. The rule `capabilities-page` compares it.
pub fn write(workspace: &Workspace) -> Result<()> {
    let path = workspace::root().join(PAGE);
    fs::write(&path, page(workspace))?;
    println!("wrote {PAGE}");
    Ok(())
}

/// Prepares the file to which a run of tests appends the proofs that it executes.
pub(crate) fn new_record() -> Result<PathBuf> {
    let path = workspace::target_folder()?.join("proofs.txt");
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).context("the old record of proofs"),
        _ => Ok(path),
    }
}

/// Differences between the claims of the workspace and the record of a run of all tests.
pub(crate) fn differences(workspace: &Workspace, record: &Path) -> Result<Vec<String>> {
    let record = fs::read_to_string(record).context("no test has recorded a proof")?;
    let executed: BTreeSet<Proof> = record.lines().filter_map(Proof::from_line).collect();
    let claimed = claims(workspace);
    let missing = claimed.difference(&executed).map(|proof| format!("not executed: {proof}"));
    let surplus = executed.difference(&claimed).map(|proof| format!("executed, but not found in the sources: {proof}"));
    Ok(missing.chain(surplus).collect())
}

/// Claims that name no listed capability, or no clause, or that are tied to no step.
pub(crate) fn unknown(workspace: &Workspace) -> Vec<String> {
    let ids: BTreeSet<&str> = ids(workspace).collect();
    let described = |Claim { file, text }: Claim<'_>| match Proof::of(text, file) {
        None => Some(format!("{file} claims `{text}`, which is not an id with a clause")),
        Some(proof) if ids.contains(proof.capability.as_str()) => None,
        Some(proof) => Some(format!("{file} proves `{}`, which {IDS} does not list", proof.capability)),
    };
    let whole_files = workspace.rust().filter(|(path, _)| is_tested(path)).filter_map(|(path, text)| {
        let marked = text.lines().any(|line| line.trim_start_matches(['/', '!', ' ']).starts_with(STEP_MARK));
        marked.then(|| format!("{path} has a comment with a proof; call `proofs::proven` in the test"))
    });
    texts(workspace).filter_map(described).chain(whole_files).collect()
}

/// Expected text of `docs/capabilities.md`.
pub(crate) fn page(workspace: &Workspace) -> String {
    let known: BTreeSet<&str> = ids(workspace).collect();
    let proofs: Vec<Proof> =
        claims(workspace).into_iter().filter(|proof| known.contains(proof.capability.as_str())).collect();
    let proven: BTreeSet<&str> = proofs.iter().map(|proof| proof.capability.as_str()).collect();
    let mut page = format!(
        "# Capabilities\n\nWritten by `cargo xtask gen` from the proofs that steps of scenarios (below `{SCENARIOS}`) and \
         tests claim; not to be edited. `cargo xtask test` fails unless its run has executed every one of them.\n\n\
         **Proven {} of {}.**\n\n| context | proven |\n|---|---|\n",
        proven.len(),
        known.len()
    );
    for (prefix, title) in AREAS {
        let all = known.iter().filter(|id| is_in(id, prefix)).count();
        let ours = proven.iter().filter(|id| is_in(id, prefix)).count();
        let _ = writeln!(page, "| {prefix} {title} | {ours} of {all} |");
    }
    page.push_str("\n| capability | clause | proof |\n|---|---|---|\n");
    for Proof { capability, clause, file } in &proofs {
        let _ = writeln!(page, "| {capability} | {clause} | `{}` |", file.strip_prefix(SCENARIOS).unwrap_or(file));
    }
    page
}

fn is_in(id: &str, prefix: &str) -> bool {
    id.split('-').next() == Some(prefix)
}

fn ids(workspace: &Workspace) -> impl Iterator<Item = &str> {
    workspace.files.get(IDS).into_iter().flat_map(|text| text.split_whitespace())
}

fn claims(workspace: &Workspace) -> BTreeSet<Proof> {
    texts(workspace).filter_map(|claim| Proof::of(claim.text, claim.file)).collect()
}

/// The text of a claim, as its file has it.
struct Claim<'a> {
    file: &'a str,
    text: &'a str,
}

fn texts(workspace: &Workspace) -> impl Iterator<Item = Claim<'_>> {
    workspace.files.iter().flat_map(|(file, text)| {
        let texts = match file {
            _ if file.starts_with(SCENARIOS) && file.ends_with(".md") => in_scenario(text),
            _ if file.ends_with(".rs") && is_tested(file) => in_tests(text),
            _ => vec![],
        };
        texts.into_iter().map(move |text| Claim { file, text })
    })
}

/// False for the crates that implement the claims.
fn is_tested(path: &str) -> bool {
    !["infra/xtask/", "infra/proofs/"].iter().any(|folder| path.starts_with(folder))
}

fn in_scenario(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.strip_prefix(STEP_MARK)).map(str::trim).collect()
}

/// The literals in calls of `proven`.
fn in_tests(text: &str) -> Vec<&str> {
    let calls = text.split(TEST_MARK).skip(1);
    calls.filter_map(|call| call.trim_start().strip_prefix('"')?.split('"').next()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace() -> Workspace {
        let files = [
            (IDS, "ES-18\nINV-01\nINV-02\nORD-01\n"),
            ("api/tests/scenarios/inventory/holds.md", "# Holds\n\nproves: INV-02 a hold\nproves: ORD-01 an order\n"),
            ("api/tests/scenarios/orders/place.md", "proves: ORD-01 a line\nproves: ORD-99 x\nproves: ES-18\n"),
            ("infra/views/tests/main/redis.rs", "fn go() { proofs::proven(\n\"ES-18 reads go on\"\n); }"),
            ("infra/views/tests/main/old.rs", "//! proves: ES-18\n"),
        ];
        crate::tidy::workspace_of(&files)
    }

    #[test]
    fn page_counts_capabilities_and_names_clauses_and_proofs() {
        let page = page(&workspace());
        assert!(page.contains("**Proven 3 of 4.**"), "{page}");
        assert!(page.contains("| INV inventory | 1 of 2 |"), "{page}");
        assert!(page.contains("| ES-18 | reads go on | `infra/views/tests/main/redis.rs` |"), "{page}");
        assert!(page.contains("| ORD-01 | a line | `orders/place.md` |"), "{page}");
        assert!(page.contains("| ORD-01 | an order | `inventory/holds.md` |"), "{page}");
    }

    #[test]
    fn claims_of_unknown_capabilities_without_a_clause_or_on_a_whole_file_are_found() {
        let expected = [
            "api/tests/scenarios/orders/place.md proves `ORD-99`, which docs/capability-ids.txt does not list",
            "api/tests/scenarios/orders/place.md claims `ES-18`, which is not an id with a clause",
            "infra/views/tests/main/old.rs has a comment with a proof; call `proofs::proven` in the test",
        ];
        assert_eq!(unknown(&workspace()), expected);
    }

    #[test]
    fn record_differs_by_claims_that_were_not_executed_and_by_proofs_that_nothing_claims() -> Result<()> {
        let path = std::env::temp_dir().join(format!("cartulary-proofs-{}", std::process::id()));
        let holds = "api/tests/scenarios/inventory/holds.md";
        let record = format!("{holds}\tINV-02 a hold\n{holds}\tINV-02 another\n{holds}\tORD-01 an order\n");
        fs::write(&path, record)?;
        let found = differences(&workspace(), &path)?;
        fs::remove_file(&path)?;
        assert_eq!(found.len(), 4, "{found:?}");
        assert_eq!(found[0], "not executed: infra/views/tests/main/redis.rs\tES-18 reads go on");
        assert_eq!(found[3], format!("executed, but not found in the sources: {holds}\tINV-02 another"));
        Ok(())
    }
}
