//! Daily counters of activity (ANA-09).

use domain::analytics::{Activity, ActivityEvent, ActivityKind};
use domain::shared::{Date, Permission};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{ReadModel, Sources, Unfoldable};
use crate::key;

/// Number of activities of one kind on one business day.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ActivityDay {
    /// Kind of the activity, as its clients name it.
    pub kind: ActivityKind,
    /// Business day in the time zone of the tenant's first store.
    pub day: Date,
    /// Number of activities.
    pub count: i64,
}

impl ReadModel for ActivityDay {
    const NEEDS: Permission = Permission::SeeActivity;
    const KEY: &'static [&'static str] = &["kind", "day"];
    const INDEXED: &'static [&'static str] = &["day"];

    fn sources(from: &mut Sources<Self>) {
        from.stream::<Activity>(
            |event| match &event.event {
                ActivityEvent::Tracked { kind, on, .. } => Some(key![kind, on]),
            },
            |row, event| {
                let ActivityEvent::Tracked { kind, on, .. } = &event.event;
                let mut row = row.unwrap_or_else(|| Self { kind: kind.clone(), day: *on, count: 0 });
                row.count = row.count.checked_add(1).ok_or_else(|| Unfoldable::overflow("count"))?;
                Ok(Some(row))
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use domain::shared::ActivityId;
    use uuid::Uuid;

    use super::*;
    use crate::testing::Story;

    #[test]
    fn activities_are_counted_for_each_kind_and_day() {
        let tracked = |kind: &str, day: &str| ActivityEvent::Tracked {
            kind: kind.parse().expect("a kind"),
            subject: None,
            customer: None,
            on: day.parse().expect("a day"),
        };
        let days =
            [("viewed", "2026-11-20"), ("viewed", "2026-11-20"), ("shared", "2026-11-20"), ("viewed", "2026-11-21")];
        let mut story = Story::new();
        for (number, (kind, day)) in (1..).zip(days) {
            story = story.then::<Activity>(ActivityId::new(Uuid::from_u128(number)), tracked(kind, day));
        }
        let rows = story.rows::<ActivityDay>();
        let mut counts: Vec<_> =
            rows.iter().map(|row| (row.kind.to_string(), row.day.to_string(), row.count)).collect();
        counts.sort();
        let expected = [("shared", "2026-11-20", 1), ("viewed", "2026-11-20", 2), ("viewed", "2026-11-21", 1)];
        assert_eq!(counts, expected.map(|(kind, day, count)| (kind.into(), day.into(), count)));
    }
}
