//! Versions of stored events. An event begins at version 1; each upcaster of it raises its version by one.
//!
//! Every stored event is brought to the current version before it is decoded, so that verbs and read models know one
//! shape of each event. The log itself is never rewritten.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::Unreadable;

/// Step from one version of an event to the next.
#[derive(Clone, Copy, Debug)]
pub struct Upcaster {
    /// Dotted name of the event.
    pub event: &'static str,
    /// Version that the step reads. It writes the version after it.
    pub from: i16,
    /// Changes the stored body. Fails with a reason if the body is not of version `from`.
    pub step: fn(&mut Map<String, Value>) -> Result<(), String>,
}

/// Version that is written for an event: one more than its number of upcasters.
pub(super) fn current_version(upcasters: &[Upcaster], event: &str) -> i16 {
    let steps = upcasters.iter().filter(|upcaster| upcaster.event == event).count();
    i16::try_from(steps).unwrap_or(i16::MAX).saturating_add(1)
}

/// Brings a stored body to the current version of its event.
pub(super) fn upcast<'a>(
    upcasters: &[Upcaster],
    event: &str,
    version: i16,
    body: &'a str,
) -> Result<Cow<'a, str>, Unreadable> {
    let unreadable = |reason: String| Unreadable { name: event.into(), reason };
    let current = current_version(upcasters, event);
    if version == current {
        return Ok(Cow::Borrowed(body));
    }
    if version < 1 || version > current {
        return Err(unreadable(format!("its version {version} is unknown; this program reads 1 to {current}")));
    }
    let mut fields: Map<String, Value> = serde_json::from_str(body).map_err(|error| unreadable(error.to_string()))?;
    for from in version..current {
        let step = upcasters.iter().find(|upcaster| upcaster.event == event && upcaster.from == from);
        let step = step.ok_or_else(|| unreadable(format!("no upcaster reads its version {from}")))?;
        (step.step)(&mut fields).map_err(|reason| unreadable(format!("version {from}: {reason}")))?;
    }
    serde_json::to_string(&fields).map(Cow::Owned).map_err(|error| unreadable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPCASTERS: &[Upcaster] = &[
        Upcaster { event: "sample.moved", from: 1, step: |fields| rename(fields, "target", "to") },
        Upcaster { event: "sample.moved", from: 2, step: |fields| rename(fields, "to", "place") },
        Upcaster { event: "sample.closed", from: 1, step: |_| Ok(()) },
    ];

    fn rename(fields: &mut Map<String, Value>, old: &str, new: &str) -> Result<(), String> {
        let value = fields.remove(old).ok_or_else(|| format!("`{old}` is missing"))?;
        fields.insert(new.into(), value);
        Ok(())
    }

    fn read(event: &str, version: i16, body: &str) -> Result<String, String> {
        upcast(UPCASTERS, event, version, body).map(Cow::into_owned).map_err(|error| error.to_string())
    }

    #[test]
    fn every_version_is_brought_to_the_current_one() {
        assert_eq!(current_version(UPCASTERS, "sample.moved"), 3);
        assert_eq!(current_version(UPCASTERS, "sample.opened"), 1);
        for (version, body) in [(1, r#"{"target":"A"}"#), (2, r#"{"to":"A"}"#), (3, r#"{"place":"A"}"#)] {
            assert_eq!(read("sample.moved", version, body).as_deref(), Ok(r#"{"place":"A"}"#));
        }
        assert_eq!(read("sample.opened", 1, "{}").as_deref(), Ok("{}"));
    }

    #[test]
    fn unknown_version_or_a_body_of_another_version_is_an_error() {
        for (event, version, body, reason) in [
            ("sample.moved", 4, "{}", "its version 4 is unknown"),
            ("sample.moved", 0, "{}", "its version 0 is unknown"),
            ("sample.moved", 1, r#"{"to":"A"}"#, "version 1: `target` is missing"),
            ("sample.moved", 2, "[]", "invalid type"),
        ] {
            let error = read(event, version, body).expect_err("an error");
            assert!(error.contains(reason), "{error}");
        }
    }
}
