//! Dependencies between crates, and on external crates.

use super::Rule;
use crate::workspace::{Crate, Workspace};

pub(super) const EDGES: Rule = Rule {
    name: "layers",
    why: "a layer only uses layers below it, and the write side and the read side never use each other, so that each \
          can be understood and changed alone",
    violations: forbidden_edges,
};

pub(super) const EXTERNAL_CRATES: Rule = Rule {
    name: "external-crates",
    why: "the lower layers are pure and compile in seconds, and only infra accesses databases, brokers and the network",
    violations: forbidden_external_crates,
};

/// Crates of the workspace, from the lowest layer to the highest, with the crates that each may use. Dev-dependencies
/// do not count.
pub(super) const ALLOWED: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("commands", &["domain"]),
    ("projections", &["domain"]),
    ("api", &["domain", "commands", "projections"]),
    ("replay", &["domain", "projections"]),
    ("schemas", &["domain", "commands", "projections", "api"]),
    ("servers", &[]),
    ("proofs", &[]),
    ("xtask", &["proofs", "servers"]),
    ("kafka", &["domain", "projections"]),
    ("platform", &["domain"]),
    ("vault", &["domain", "commands", "platform"]),
    ("event_log", &["domain", "commands", "projections", "kafka", "platform"]),
    ("scribe", &["domain", "commands", "platform", "vault", "event_log"]),
    ("edge", &["domain", "commands", "projections", "api", "platform", "vault"]),
    ("views", &["domain", "commands", "projections", "api", "replay", "kafka", "platform", "event_log", "edge"]),
    ("work", &["domain", "commands", "projections", "api", "kafka", "platform", "vault", "event_log", "scribe"]),
    ("outside", &["domain", "commands", "projections", "api", "platform", "vault", "event_log", "scribe", "work"]),
    ("generated", &["domain", "commands", "projections", "api"]),
    (PRODUCT, ALL_BELOW_THE_PRODUCT),
    (LAB, ALL_BELOW_THE_LAB),
];

/// The crate of the product binary.
pub(super) const PRODUCT: &str = "cartulary";
/// The crate of demo, benchmarks and fault scenarios.
const LAB: &str = "lab";

const ALL_BELOW_THE_PRODUCT: &[&str] = ALL_BELOW_THE_LAB.split_at(ALL_BELOW_THE_LAB.len() - 3).0;
const ALL_BELOW_THE_LAB: &[&str] = &[
    "domain",
    "commands",
    "projections",
    "api",
    "replay",
    "schemas",
    "servers",
    "kafka",
    "platform",
    "vault",
    "event_log",
    "scribe",
    "edge",
    "views",
    "work",
    "outside",
    PRODUCT,
    "generated",
    // The test harness installs missing servers as the project tasks do.
    "xtask",
];

const PURE: &[&str] = &["domain", "commands", "projections"];
const PURE_MAY_USE: &[&str] =
    &["heck", "serde", "serde_json", "schemars", "serde_path_to_error", "thiserror", "uuid", "jiff", "iso_currency"];
const ONLY_INFRA_MAY_USE: &[&str] =
    &["sqlx", "tokio-postgres", "cqrs-es", "postgres-es", "rdkafka", "redis", "reqwest", "hyper-util", "rustix"];
const INFRA: &[&str] = &["platform", "vault", "event_log", "scribe", "edge", "views", "work", "outside", PRODUCT, LAB];

/// The only crate that may use `rdkafka`, so that its C library is linked only where Kafka is used.
const KAFKA: &str = "kafka";
const KAFKA_MAY_USE: &[&str] = &["sqlx"];

fn forbidden_edges(workspace: &Workspace) -> Vec<String> {
    workspace.crates.iter().flat_map(forbidden_edges_of).collect()
}

fn forbidden_edges_of(found: &Crate) -> Vec<String> {
    let Some((name, allowed)) = ALLOWED.iter().find(|(name, _)| *name == found.name) else {
        return vec![format!("the crate `{}` is missing in the table of infra/xtask/src/tidy/layers.rs", found.name)];
    };
    let used = ALLOWED.iter().map(|(ours, _)| ours).filter(|ours| found.uses.contains(**ours));
    used.filter(|used| !allowed.contains(used)).map(|used| format!("`{name}` uses `{used}`")).collect()
}

fn forbidden_external_crates(workspace: &Workspace) -> Vec<String> {
    let mut violations = vec![];
    for found in &workspace.crates {
        let name = found.name.as_str();
        let may_use = |used: &str| match (PURE.contains(&name), used) {
            (true, "tracing") => name != "domain",
            // The scribe does about a dozen hash lookups per command.
            (true, "foldhash") => name == "commands",
            // A command has short texts and few streams; stored inline, these need no allocation each.
            (true, "compact_str") => ["domain", "commands"].contains(&name),
            (true, "smallvec") => name == "commands",
            // The domain parses the address of a webhook, so that every layer means the same host.
            (true, "url") => name == "domain",
            // Texts are compared in one normal form; the tables of Unicode belong to no layer.
            (true, "unicode-normalization") => name == "domain",
            (true, used) => PURE_MAY_USE.contains(&used),
            (false, "rdkafka") => name == KAFKA,
            (false, used) if name == KAFKA && KAFKA_MAY_USE.contains(&used) => true,
            (false, _) if INFRA.contains(&name) => true,
            (false, used) => !ONLY_INFRA_MAY_USE.contains(&used),
        };
        let forbidden = found.uses.iter().filter(|used| !is_ours(used) && !may_use(used));
        violations.extend(forbidden.map(|used| format!("`{name}` uses `{used}`")));
    }
    violations
}

/// True if the crate belongs to the workspace.
pub(super) fn is_ours(name: &str) -> bool {
    ALLOWED.iter().any(|(ours, _)| *ours == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::crate_of;

    fn workspace(name: &str, uses: &[&str]) -> Workspace {
        Workspace { crates: vec![crate_of(name, uses)], ..Workspace::default() }
    }

    #[test]
    fn the_write_side_may_not_use_the_read_side() {
        let violations = forbidden_edges(&workspace("commands", &["domain", "projections"]));
        assert_eq!(violations, ["`commands` uses `projections`"]);
        assert!(forbidden_edges(&workspace("replay", &["domain", "projections", "serde"])).is_empty());
        assert_eq!(forbidden_edges(&workspace("extra", &[])).len(), 1);
    }

    #[test]
    fn crates_of_infra_use_only_those_below_them() {
        assert!(forbidden_edges(&workspace("outside", &["work", "vault", "sqlx"])).is_empty());
        assert_eq!(forbidden_edges(&workspace("work", &["outside"])), ["`work` uses `outside`"]);
        assert_eq!(forbidden_edges(&workspace("platform", &["vault"])), ["`platform` uses `vault`"]);
    }

    #[test]
    fn no_crate_uses_the_lab_and_only_the_lab_uses_the_product() {
        assert_eq!(forbidden_edges(&workspace("cartulary", &["views", "lab"])), ["`cartulary` uses `lab`"]);
        assert!(forbidden_edges(&workspace("lab", &["cartulary", "servers"])).is_empty());
        assert!(forbidden_edges(&workspace("lab", &["xtask"])).is_empty());
        assert_eq!(forbidden_edges(&workspace("cartulary", &["xtask"])), ["`cartulary` uses `xtask`"]);
        assert_eq!(forbidden_edges(&workspace("views", &["cartulary"])), ["`views` uses `cartulary`"]);
    }

    #[test]
    fn lower_layers_are_pure_and_only_infra_accesses_databases_and_brokers() {
        let violations = |name: &str, uses: &[&str]| forbidden_external_crates(&workspace(name, uses));
        assert_eq!(violations("domain", &["serde", "tracing"]), ["`domain` uses `tracing`"]);
        assert_eq!(violations("commands", &["tracing", "tokio"]), ["`commands` uses `tokio`"]);
        assert_eq!(violations("api", &["axum", "sqlx"]), ["`api` uses `sqlx`"]);
        assert!(violations("views", &["sqlx"]).is_empty());
        assert_eq!(violations("views", &["rdkafka"]), ["`views` uses `rdkafka`"]);
        assert!(violations("kafka", &["rdkafka", "sqlx"]).is_empty());
        assert_eq!(violations("kafka", &["reqwest"]), ["`kafka` uses `reqwest`"]);
    }
}
