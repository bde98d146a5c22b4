//! The processes that write lanes and cannot be asked: their address is wrong, or they have another key or clock.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A process that was killed keeps its lanes about so long. Until then nobody is told: callers are only kept waiting.
const TOLD_AFTER: Duration = Duration::from_secs(5);

/// By address; as many as there are addresses in `log.lanes`.
#[derive(Default)]
pub(super) struct Unanswered(Mutex<BTreeMap<String, Trouble>>);

struct Trouble {
    since: Instant,
    reason: String,
    said: bool,
}

impl Unanswered {
    /// What came of a letter to this address.
    pub(super) fn heard(&self, address: &str, error: Option<&anyhow::Error>) {
        let mut all = self.all();
        let Some(error) = error else {
            if all.remove(address).is_some_and(|trouble| trouble.said) {
                tracing::info!("letters to {address} are answered again");
            }
            return;
        };
        let begun = || Trouble { since: Instant::now(), reason: String::new(), said: false };
        let trouble = all.entry(address.to_owned()).or_insert_with(begun);
        trouble.reason = format!("{error:#}");
        if trouble.is_told() && !std::mem::replace(&mut trouble.said, true) {
            tracing::warn!(
                reason = trouble.reason,
                "letters to {address} are not answered; its lanes are not written from here"
            );
        }
    }

    /// Forgets who does not write lanes any more.
    pub(super) fn keep(&self, writing: &[String]) {
        self.all().retain(|address, _| writing.contains(address));
    }

    pub(super) fn addresses(&self) -> Vec<String> {
        self.all().keys().cloned().collect()
    }

    /// One sentence for each that could not be asked for some time.
    pub(super) fn told(&self) -> Vec<String> {
        let all = self.all();
        let told = all.iter().filter(|(_, trouble)| trouble.is_told());
        told.map(|(address, trouble)| format!("letters to {address} are not answered: {}", trouble.reason)).collect()
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Trouble>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Trouble {
    fn is_told(&self) -> bool {
        self.since.elapsed() > TOLD_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_answer_for_some_time_is_told_until_it_answers_or_somebody_else_writes() {
        let (unanswered, refused) = (Unanswered::default(), anyhow::anyhow!("refused"));
        for address in ["a:1", "b:1"] {
            unanswered.heard(address, Some(&refused));
        }
        assert!(unanswered.told().is_empty(), "a lane may be changing hands");
        unanswered.all().values_mut().for_each(|trouble| trouble.since -= 2 * TOLD_AFTER);
        unanswered.heard("a:1", Some(&refused));
        assert_eq!(unanswered.told()[0], "letters to a:1 are not answered: refused");
        assert_eq!(unanswered.told().len(), 2);
        unanswered.keep(&["a:1".to_owned()]);
        assert_eq!(unanswered.addresses(), ["a:1"]);
        unanswered.heard("a:1", None);
        assert!(unanswered.told().is_empty());
    }
}
