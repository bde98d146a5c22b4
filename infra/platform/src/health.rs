//! Health of a process: its current outages and degradations, listed at `/reason`. The beginning and the end of each are
//! logged once. A process with an outage is not ready; one with degradations alone is.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Function that returns the current outages of a component.
type Source = Box<dyn Fn() -> Vec<String> + Send + Sync>;

/// Outages of the components of one process. Clones share the list.
#[derive(Clone, Default)]
pub struct Health(Arc<Report>);

#[derive(Default)]
struct Report {
    /// Reason of each outage, by component.
    outages: Mutex<BTreeMap<&'static str, String>>,
    /// Descriptions of the parts that do not work while the rest does, by component.
    degradations: Mutex<BTreeMap<&'static str, String>>,
    sources: Mutex<Vec<Source>>,
}

impl Health {
    /// Reports that a component cannot be used. Logs a warning when the outage begins, not when it is reported again.
    pub fn report_outage(&self, component: &'static str, reason: impl Into<String>) {
        let reason = reason.into();
        match self.outages().insert(component, reason.clone()) {
            None => tracing::warn!(reason, "{component}: outage; continuing without it"),
            Some(before) if before != reason => tracing::debug!(reason, "{component}: still an outage"),
            Some(_) => {}
        }
    }

    /// Reports that a component can be used.
    pub fn report_recovery(&self, component: &'static str) {
        if self.outages().remove(component).is_some() {
            tracing::info!("{component}: recovered");
        }
    }

    /// Sets or clears the outage of a component without a log line, for a component that logs its outages itself.
    pub fn set_outage(&self, component: &'static str, reason: Option<String>) {
        match reason {
            Some(reason) => _ = self.outages().insert(component, reason),
            None => _ = self.outages().remove(component),
        }
    }

    /// Sets or clears the degradation of a component: a part of it does not work, such as one key or one stream, and the
    /// process is ready nevertheless. Logs its beginning and its end.
    pub fn set_degradation(&self, component: &'static str, reason: Option<String>) {
        let mut all = self.0.degradations.lock().unwrap_or_else(PoisonError::into_inner);
        match reason {
            Some(reason) if all.insert(component, reason.clone()).is_none() => {
                tracing::warn!(reason, "{component}: degraded; the rest continues");
            }
            Some(_) => {}
            None if all.remove(component).is_some() => tracing::info!("{component}: no longer degraded"),
            None => {}
        }
    }

    /// One sentence for each degradation.
    pub fn degradations(&self) -> Vec<String> {
        let all = self.0.degradations.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(component, reason)| format!("{component}: {reason}")).collect()
    }

    /// Adds a component that lists its outages itself; [`Self::reasons`] calls `source` each time.
    pub fn add_source(&self, source: impl Fn() -> Vec<String> + Send + Sync + 'static) {
        self.0.sources.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(source));
    }

    /// One sentence for each outage.
    pub fn reasons(&self) -> Vec<String> {
        let outages = self.outages();
        let mut reasons: Vec<String> =
            outages.iter().map(|(component, reason)| format!("{component}: {reason}")).collect();
        drop(outages);
        for source in self.0.sources.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            reasons.extend(source());
        }
        reasons
    }

    fn outages(&self) -> MutexGuard<'_, BTreeMap<&'static str, String>> {
        self.0.outages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_listed_with_its_latest_reason_until_the_recovery() {
        let health = Health::default();
        health.add_source(|| vec!["no process writes lanes".into()]);
        health.report_outage("Kafka", "connection refused");
        health.report_outage("Kafka", "timed out");
        assert_eq!(health.reasons(), ["Kafka: timed out", "no process writes lanes"]);
        health.report_recovery("Kafka");
        assert_eq!(health.reasons(), ["no process writes lanes"]);
        health.set_degradation("parked keys", Some("1 of the read models".into()));
        assert_eq!(
            (health.reasons().len(), health.degradations()),
            (1, vec!["parked keys: 1 of the read models".into()])
        );
        health.set_degradation("parked keys", None);
        assert!(health.degradations().is_empty());
    }
}
