//! Which of the promised capabilities a scenario proves, or a test where a scenario cannot: it plays no broken network.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
};

use anyhow::Result;

use crate::house::{self, House};

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

/// Proven ids with the scenarios and tests that prove them.
type Proofs<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// Writes the page that `tidy` compares.
pub fn write(house: &House) -> Result<()> {
    let path = house::root().join(PAGE);
    fs::write(&path, page(house))?;
    println!("wrote {PAGE}");
    Ok(())
}

/// Claims of a proof for something that was never promised.
pub(crate) fn unknown(house: &House) -> Vec<String> {
    let ids: BTreeSet<&str> = ids(house).collect();
    let strange = proofs(house).into_iter().filter(|(id, _)| !ids.contains(id));
    let told = |id: &str, proof: &str| format!("{proof} proves `{id}`, which {IDS} does not have");
    strange.flat_map(|(id, proofs)| proofs.into_iter().map(move |proof| told(id, proof))).collect()
}

/// What `docs/capabilities.md` should say.
pub(crate) fn page(house: &House) -> String {
    let proofs = proofs(house);
    let known: BTreeSet<&str> = ids(house).collect();
    let proven = proofs.keys().filter(|id| known.contains(*id)).count();
    let mut page = format!(
        "# Capabilities\n\nWritten by `cargo xtask gen` from the `proves:` lines of `{SCENARIOS}` and of tests; not to be \
         edited.\n\n\
         **Proven {proven} of {}.**\n\n| context | proven | by |\n|---|---|---|\n",
        known.len()
    );
    for (prefix, title) in AREAS {
        let ours: Vec<&str> = ids(house).filter(|id| id.split('-').next() == Some(prefix)).collect();
        let by: Vec<String> = ours.iter().filter_map(|id| Some(told(id, proofs.get(id)?))).collect();
        let _ = writeln!(page, "| {prefix} {title} | {} of {} | {} |", by.len(), ours.len(), by.join(", "));
    }
    page
}

fn told(id: &str, proofs: &BTreeSet<&str>) -> String {
    let short = |proof: &&str| format!("`{}`", proof.strip_prefix(SCENARIOS).unwrap_or(proof));
    let files: Vec<String> = proofs.iter().map(short).collect();
    format!("{id} ({})", files.join(", "))
}

fn ids(house: &House) -> impl Iterator<Item = &str> {
    house.files.get(IDS).into_iter().flat_map(|text| text.split_whitespace())
}

fn proofs(house: &House) -> Proofs<'_> {
    let mut proofs = Proofs::new();
    for (path, text) in &house.files {
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

    fn house() -> House {
        let files = [
            (IDS, "ES-18\nINV-01\nINV-02\nORD-01\n"),
            ("api/tests/scenarios/inventory/holds.md", "# Holds\n\nproves: INV-02, ORD-01\n"),
            ("api/tests/scenarios/orders/place.md", "proves: `ORD-01`, ORD-99\n"),
            ("infra/tests/main/redis.rs", "/// proves: ES-18\nasync fn reads_go_on() {}\n"),
            ("infra/src/redis.rs", "/// proves: INV-01\n"),
        ];
        House { files: files.map(|(path, text)| (path.to_owned(), text.to_owned())).into(), ..House::default() }
    }

    #[test]
    fn the_page_counts_what_is_proven_and_names_the_scenarios() {
        let page = page(&house());
        assert!(page.contains("**Proven 3 of 4.**"), "{page}");
        assert!(page.contains("| 1 of 1 | ES-18 (`infra/tests/main/redis.rs`) |"), "{page}");
        assert!(page.contains("| INV inventory | 1 of 2 | INV-02 (`inventory/holds.md`) |"), "{page}");
        assert!(page.contains("| ORD orders | 1 of 1 | ORD-01 (`inventory/holds.md`, `orders/place.md`) |"), "{page}");
    }

    #[test]
    fn a_claim_for_something_never_promised_is_found() {
        let expected =
            "api/tests/scenarios/orders/place.md proves `ORD-99`, which docs/capability-ids.txt does not have";
        assert_eq!(unknown(&house()), [expected]);
    }
}
