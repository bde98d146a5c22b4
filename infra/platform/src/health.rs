//! What keeps a process from its work, part by part: shown at `/reason`, and said in one line of the log when it begins
//! and in one when it is over.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Something that can tell by itself why it does not work; nothing where it does.
type Source = Box<dyn Fn() -> Vec<String> + Send + Sync>;

/// How the parts of one process are; clones show the same.
#[derive(Clone, Default)]
pub struct Health(Arc<Parts>);

#[derive(Default)]
struct Parts {
    away: Mutex<BTreeMap<&'static str, String>>,
    sources: Mutex<Vec<Source>>,
}

impl Health {
    /// A part does not work. Said once for each part, however often and in however many words it is told.
    pub fn away(&self, part: &'static str, reason: impl Into<String>) {
        let reason = reason.into();
        match self.parts().insert(part, reason.clone()) {
            None => tracing::warn!(reason, "{part}: not now; going on without it until it is back"),
            Some(before) if before != reason => tracing::debug!(reason, "{part}: still not"),
            Some(_) => {}
        }
    }

    /// How a part is that says so in the log by itself.
    pub fn show(&self, part: &'static str, reason: Option<String>) {
        match reason {
            Some(reason) => _ = self.parts().insert(part, reason),
            None => _ = self.parts().remove(part),
        }
    }

    /// A part works.
    pub fn back(&self, part: &'static str) {
        if self.parts().remove(part).is_some() {
            tracing::info!("{part}: back");
        }
    }

    /// Asks somebody else as well, from now on.
    pub fn ask(&self, source: impl Fn() -> Vec<String> + Send + Sync + 'static) {
        self.0.sources.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(source));
    }

    /// One sentence for each part that does not work; empty when all is well.
    pub fn reasons(&self) -> Vec<String> {
        let mut reasons: Vec<String> = self.parts().iter().map(|(part, reason)| format!("{part}: {reason}")).collect();
        for source in self.0.sources.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            reasons.extend(source());
        }
        reasons
    }

    fn parts(&self) -> MutexGuard<'_, BTreeMap<&'static str, String>> {
        self.0.away.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_that_does_not_work_is_told_with_its_latest_reason_until_it_is_back() {
        let health = Health::default();
        health.ask(|| vec!["nobody writes lanes".into()]);
        health.away("Kafka", "connection refused");
        health.away("Kafka", "timed out");
        assert_eq!(health.reasons(), ["Kafka: timed out", "nobody writes lanes"]);
        health.back("Kafka");
        assert_eq!(health.reasons(), ["nobody writes lanes"]);
    }
}
