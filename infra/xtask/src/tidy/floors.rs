//! Which crate may use which.

use super::Rule;
use crate::house::{Crate, House};

pub(super) const EDGES: Rule = Rule {
    name: "floors",
    why: "floors only use floors below them, and the write side and the read side never meet, so that each can be \
          understood and changed alone",
    broken: wrong_edges,
};

pub(super) const OUTSIDE_CRATES: Rule = Rule {
    name: "outside-crates",
    why: "the lower floors are pure and compile in seconds, and only infra talks to databases and brokers",
    broken: wrong_outside_crates,
};

const ALLOWED: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("commands", &["domain"]),
    ("projections", &["domain"]),
    ("api", &["commands", "projections", "domain"]),
    ("replay", &["projections", "domain"]),
    ("kafka", &["projections", "domain"]),
    ("infra", &["api", "replay", "commands", "projections", "domain", "kafka", "servers"]),
    ("schemas", &["api", "commands", "projections", "domain"]),
    ("servers", &[]),
    ("xtask", &["servers"]),
];

const PURE: &[&str] = &["domain", "commands", "projections"];
const PURE_MAY_USE: &[&str] =
    &["heck", "serde", "serde_json", "schemars", "serde_path_to_error", "thiserror", "uuid", "jiff", "iso_currency"];
const ONLY_INFRA_MAY_USE: &[&str] =
    &["sqlx", "tokio-postgres", "cqrs-es", "postgres-es", "rdkafka", "redis", "reqwest", "hyper-util", "rustix"];

/// The part of infra that speaks to Kafka is a crate of its own, so that its C library is built once and linked by
/// nobody who does not need it.
const KAFKA: &str = "kafka";
const KAFKA_MAY_USE: &[&str] = &["sqlx"];

fn wrong_edges(house: &House) -> Vec<String> {
    house.crates.iter().flat_map(wrong_edges_of).collect()
}

fn wrong_edges_of(found: &Crate) -> Vec<String> {
    let Some((name, allowed)) = ALLOWED.iter().find(|(name, _)| *name == found.name) else {
        return vec![format!("the crate `{}` has no place in the table of floors", found.name)];
    };
    let ours = ALLOWED.iter().map(|(ours, _)| ours).filter(|ours| found.uses.contains(**ours));
    ours.filter(|used| !allowed.contains(used)).map(|used| format!("`{name}` uses `{used}`")).collect()
}

fn wrong_outside_crates(house: &House) -> Vec<String> {
    let is_ours = |used: &str| ALLOWED.iter().any(|(name, _)| *name == used);
    let mut broken = vec![];
    for found in &house.crates {
        let name = found.name.as_str();
        let may_use = |used: &str| match (PURE.contains(&name), used) {
            (true, "tracing") => name != "domain",
            // The scribe looks things up a dozen times for every command.
            (true, "foldhash") => name == "commands",
            // A command is made of short texts and names few streams; in place, they cost no piece of memory each.
            (true, "compact_str") => ["domain", "commands"].contains(&name),
            (true, "smallvec") => name == "commands",
            (true, used) => PURE_MAY_USE.contains(&used),
            (false, "rdkafka") => name == KAFKA,
            (false, used) if name == KAFKA && KAFKA_MAY_USE.contains(&used) => true,
            (false, _) if name == "infra" => true,
            (false, used) => !ONLY_INFRA_MAY_USE.contains(&used),
        };
        let wrong = found.uses.iter().filter(|used| !is_ours(used) && !may_use(used));
        broken.extend(wrong.map(|used| format!("`{name}` uses `{used}`")));
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn house(name: &str, uses: &[&str]) -> House {
        let uses = uses.iter().map(|used| (*used).to_owned()).collect();
        House { crates: vec![Crate { name: name.to_owned(), uses }], ..House::default() }
    }

    #[test]
    fn the_write_side_may_not_use_the_read_side() {
        assert_eq!(wrong_edges(&house("commands", &["domain", "projections"])), ["`commands` uses `projections`"]);
        assert!(wrong_edges(&house("replay", &["domain", "projections", "serde"])).is_empty());
        assert_eq!(wrong_edges(&house("extra", &[])).len(), 1);
    }

    #[test]
    fn lower_floors_stay_pure_and_only_infra_talks_to_the_outside() {
        assert_eq!(wrong_outside_crates(&house("domain", &["serde", "tracing"])), ["`domain` uses `tracing`"]);
        assert_eq!(wrong_outside_crates(&house("commands", &["tracing", "tokio"])), ["`commands` uses `tokio`"]);
        assert_eq!(wrong_outside_crates(&house("api", &["axum", "sqlx"])), ["`api` uses `sqlx`"]);
        assert!(wrong_outside_crates(&house("infra", &["sqlx"])).is_empty());
        assert_eq!(wrong_outside_crates(&house("infra", &["rdkafka"])), ["`infra` uses `rdkafka`"]);
        assert!(wrong_outside_crates(&house("kafka", &["rdkafka", "sqlx"])).is_empty());
        assert_eq!(wrong_outside_crates(&house("kafka", &["reqwest"])), ["`kafka` uses `reqwest`"]);
    }
}
