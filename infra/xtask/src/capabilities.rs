//! Page of the capabilities that scenarios prove. Tests prove those that a scenario cannot, such as faults of the
//! network.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
};

use anyhow::Result;

use crate::workspace::{self, Workspace};

pub(crate) const PAGE: &str = "docs/capabilities.md";
const IDS: &str = "docs/capability-ids.txt";
const SCENARIOS: &str = "api/tests/scenarios/";

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

/// Scenarios and tests by the id that they prove.
type Proofs<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// Writes the page. The rule `capabilities-page` compares it.
pub fn write(workspace: &Workspace) -> Result<()> {
    let path = workspace::root().join(PAGE);
    fs::write(&path, page(workspace))?;
    println!("wrote {PAGE}");
    Ok(())
}

/// Proofs of ids that are not in the list of capabilities.
pub(crate) fn unknown(workspace: &Workspace) -> Vec<String> {
    let ids: BTreeSet<&str> = ids(workspace).collect();
    let unknown = proofs(workspace).into_iter().filter(|(id, _)| !ids.contains(id));
    let message = |id: &str, proof: &str| format!("{proof} proves `{id}`, which {IDS} does not list");
    unknown.flat_map(|(id, proofs)| proofs.into_iter().map(move |proof| message(id, proof))).collect()
}

/// Expected text of `docs/capabilities.md`.
pub(crate) fn page(workspace: &Workspace) -> String {
    let proofs = proofs(workspace);
    let known: BTreeSet<&str> = ids(workspace).collect();
    let proven = proofs.keys().filter(|id| known.contains(*id)).count();
    let mut page = format!(
        "# Capabilities\n\nWritten by `cargo xtask gen` from the `proves:` lines of `{SCENARIOS}` and of tests; not to \
         be edited.\n\n\
         **Proven {proven} of {}.**\n\n| context | proven | by |\n|---|---|---|\n",
        known.len()
    );
    for (prefix, title) in AREAS {
        let ours: Vec<&str> = ids(workspace).filter(|id| id.split('-').next() == Some(prefix)).collect();
        let by: Vec<String> = ours.iter().filter_map(|id| Some(with_proofs(id, proofs.get(id)?))).collect();
        let _ = writeln!(page, "| {prefix} {title} | {} of {} | {} |", by.len(), ours.len(), by.join(", "));
    }
    page
}

fn with_proofs(id: &str, proofs: &BTreeSet<&str>) -> String {
    let short = |proof: &&str| format!("`{}`", proof.strip_prefix(SCENARIOS).unwrap_or(proof));
    let files: Vec<String> = proofs.iter().map(short).collect();
    format!("{id} ({})", files.join(", "))
}

fn ids(workspace: &Workspace) -> impl Iterator<Item = &str> {
    workspace.files.get(IDS).into_iter().flat_map(|text| text.split_whitespace())
}

fn proofs(workspace: &Workspace) -> Proofs<'_> {
    let mut proofs = Proofs::new();
    for (path, text) in &workspace.files {
        let scenario = path.starts_with(SCENARIOS) && path.ends_with(".md");
        let marks: &[char] = match path {
            _ if scenario => &['-', '>', '*', ' '],
            _ if path.contains("/tests/") && path.ends_with(".rs") => &['/', '!', ' '],
            _ => continue,
        };
        let lines = text.lines().filter_map(|line| line.trim_start_matches(marks).strip_prefix("proves:"));
        for id in lines.flat_map(|line| line.split([',', ' ', '`'])).filter(|id| !id.is_empty()) {
            proofs.entry(id).or_default().insert(path);
        }
    }
    proofs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace() -> Workspace {
        let files = [
            (IDS, "ES-18\nINV-01\nINV-02\nORD-01\n"),
            ("api/tests/scenarios/inventory/holds.md", "# Holds\n\nproves: INV-02, ORD-01\n"),
            ("api/tests/scenarios/orders/place.md", "proves: `ORD-01`, ORD-99\n"),
            ("infra/tests/main/redis.rs", "/// proves: ES-18\nasync fn reads_go_on() {}\n"),
            ("infra/src/redis.rs", "/// proves: INV-01\n"),
        ];
        crate::tidy::workspace_of(&files)
    }

    #[test]
    fn the_page_counts_proven_capabilities_and_names_the_scenarios() {
        let page = page(&workspace());
        assert!(page.contains("**Proven 3 of 4.**"), "{page}");
        assert!(page.contains("| 1 of 1 | ES-18 (`infra/tests/main/redis.rs`) |"), "{page}");
        assert!(page.contains("| INV inventory | 1 of 2 | INV-02 (`inventory/holds.md`) |"), "{page}");
        assert!(page.contains("| ORD orders | 1 of 1 | ORD-01 (`inventory/holds.md`, `orders/place.md`) |"), "{page}");
    }

    #[test]
    fn a_proof_of_an_unknown_capability_is_found() {
        let expected =
            "api/tests/scenarios/orders/place.md proves `ORD-99`, which docs/capability-ids.txt does not list";
        assert_eq!(unknown(&workspace()), [expected]);
    }
}
