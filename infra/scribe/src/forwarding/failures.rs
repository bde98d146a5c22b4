//! Forwarding failures: owners of lanes that cannot be reached, or refuse requests because of another key or clock.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Duration after which a failure is reported. A killed process keeps its lanes for about this long, until its lease
/// has expired and they are taken over; until then callers only wait.
const REPORT_AFTER: Duration = Duration::from_secs(5);

/// Failing owners by address. Bounded by the number of addresses in `log.lanes`.
#[derive(Default)]
pub(super) struct ForwardingFailures(Mutex<BTreeMap<String, Failure>>);

struct Failure {
    since: Instant,
    reason: String,
    logged: bool,
}

impl ForwardingFailures {
    /// Records the outcome of a request to this address.
    pub(super) fn record(&self, address: &str, error: Option<&anyhow::Error>) {
        let mut all = self.all();
        let Some(error) = error else {
            if all.remove(address).is_some_and(|failure| failure.logged) {
                tracing::info!("commands forwarded to {address} are answered again");
            }
            return;
        };
        let first = || Failure { since: Instant::now(), reason: String::new(), logged: false };
        let failure = all.entry(address.to_owned()).or_insert_with(first);
        failure.reason = format!("{error:#}");
        if failure.is_reportable() && !std::mem::replace(&mut failure.logged, true) {
            tracing::warn!(
                reason = failure.reason,
                "commands forwarded to {address} are not answered; this process cannot execute commands of its lanes"
            );
        }
    }

    /// Removes addresses that own no lanes any more.
    pub(super) fn retain(&self, owners: &[String]) {
        self.all().retain(|address, _| owners.contains(address));
    }

    pub(super) fn addresses(&self) -> Vec<String> {
        self.all().keys().cloned().collect()
    }

    /// One sentence per address that has failed for longer than [`REPORT_AFTER`].
    pub(super) fn problems(&self) -> Vec<String> {
        let all = self.all();
        let failures = all.iter().filter(|(_, failure)| failure.is_reportable());
        let problem = |(address, failure): (&String, &Failure)| {
            format!("commands forwarded to {address} are not answered: {}", failure.reason)
        };
        failures.map(problem).collect()
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Failure>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Failure {
    fn is_reportable(&self) -> bool {
        self.since.elapsed() > REPORT_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lasting_failure_is_reported_until_the_owner_answers_or_loses_its_lanes() {
        let (failures, refused) = (ForwardingFailures::default(), anyhow::anyhow!("refused"));
        for address in ["a:1", "b:1"] {
            failures.record(address, Some(&refused));
        }
        assert!(failures.problems().is_empty(), "a lane may be changing hands");
        failures.all().values_mut().for_each(|failure| failure.since -= 2 * REPORT_AFTER);
        failures.record("a:1", Some(&refused));
        assert_eq!(failures.problems()[0], "commands forwarded to a:1 are not answered: refused");
        assert_eq!(failures.problems().len(), 2);
        failures.retain(&["a:1".to_owned()]);
        assert_eq!(failures.addresses(), ["a:1"]);
        failures.record("a:1", None);
        assert!(failures.problems().is_empty());
    }
}
