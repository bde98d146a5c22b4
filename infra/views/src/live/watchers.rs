//! Who watches what in this process. One change of a row is decoded once, for everybody who watches it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use api::port::Freshness;
use api::port::{Ended, LiveRow};
use domain::shared::TenantId;
use projections::kernel::{Change, Key, Place};
use projections::ports::Checkpoint;
use tokio::sync::watch;
use tokio::time::Instant;

use super::mailbox::{Became, Mailbox};

/// What waits for a reader longer than this is not wanted.
const TAKEN_WITHIN: Duration = Duration::from_secs(10);

/// A read model in one lane.
pub(super) type Course = (String, i16);

/// All subscriptions of this process.
pub(super) struct Watchers {
    inside: Mutex<Inside>,
    /// Whether anybody watches, and whether changes are listened to.
    pub(super) anybody: watch::Sender<bool>,
    listening: watch::Sender<bool>,
}

#[derive(Default)]
struct Inside {
    next: u64,
    groups: HashMap<Group, HashMap<u64, Arc<Mailbox>>>,
    courses: HashMap<Course, Standing>,
}

/// Who watches one row, or rows of one tenant by a filter.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Group {
    pub(super) model: String,
    pub(super) tenant: TenantId,
    pub(super) key: Option<Key>,
}

/// How far what was told of a read model in one lane goes.
#[derive(Default)]
struct Standing {
    watchers: usize,
    /// Nothing until the first reader has begun.
    at: Option<Checkpoint>,
}

/// A place among the watchers, given up when it is dropped.
pub(super) struct Seat {
    watchers: Arc<Watchers>,
    pub(super) mailbox: Arc<Mailbox>,
    group: Group,
    number: u64,
}

/// What becomes of news about one read model in one lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// Nobody watches there, or it was told before.
    Old,
    /// It goes on where the last one ended.
    Next,
    /// Something between was missed.
    Gap,
}

impl Watchers {
    pub(super) fn new() -> Arc<Self> {
        let (anybody, listening) = (watch::Sender::new(false), watch::Sender::new(false));
        Arc::new(Self { inside: Mutex::default(), anybody, listening })
    }

    /// Watches from now on; comes back when changes are listened to.
    pub(super) async fn join(self: &Arc<Self>, group: Group, mailbox: Mailbox) -> Seat {
        let mailbox = Arc::new(mailbox);
        let seat = {
            let mut inside = self.inside();
            inside.next += 1;
            let number = inside.next;
            inside.groups.entry(group.clone()).or_default().insert(number, Arc::clone(&mailbox));
            inside.courses.entry((group.model.clone(), mailbox.lane)).or_default().watchers += 1;
            self.anybody.send_replace(true);
            Seat { watchers: Arc::clone(self), mailbox, group, number }
        };
        metrics::gauge!("cartulary_live_subscriptions").increment(1);
        // Who listens lives as long as the process.
        self.listening.subscribe().wait_for(|listening| *listening).await.ok();
        seat
    }

    pub(super) fn listens(&self) {
        self.listening.send_replace(true);
    }

    /// Whether nobody watches; then changes need not be listened to either, until somebody joins.
    pub(super) fn rests(&self) -> bool {
        let inside = self.inside();
        let empty = inside.courses.is_empty();
        if empty {
            self.anybody.send_replace(false);
            self.listening.send_replace(false);
        }
        empty
    }

    /// What a reader has read at a checkpoint is as good as told.
    pub(super) fn begun(&self, course: Course, at: Checkpoint) {
        if let Some(standing) = self.inside().courses.get_mut(&course) {
            standing.at.get_or_insert(at);
        }
    }

    /// Everything that somebody watches, and how far it was told.
    pub(super) fn standings(&self) -> Vec<(Course, Checkpoint)> {
        let inside = self.inside();
        inside.courses.iter().filter_map(|(course, standing)| Some((course.clone(), standing.at?))).collect()
    }

    /// How news from one checkpoint to another go with what was told. A first reader who is still reading is told all.
    pub(super) fn fit(&self, course: &Course, from: Checkpoint, to: Checkpoint) -> Fit {
        match self.inside().courses.get(course).map(|standing| standing.at) {
            None => Fit::Old,
            Some(None) => Fit::Next,
            Some(Some(at)) if at == from => Fit::Next,
            // Positions of two histories say nothing about each other; log and store know what was lost.
            Some(Some(at)) if at.epoch != to.epoch || at.position < from.position => Fit::Gap,
            Some(Some(at)) if to.position <= at.position => Fit::Old,
            Some(Some(_)) => Fit::Next,
        }
    }

    /// What was told of a course goes up to here.
    pub(super) fn stands_at(&self, course: &Course, at: Checkpoint) {
        if let Some(standing) = self.inside().courses.get_mut(course).filter(|standing| standing.at.is_some()) {
            standing.at = Some(at);
        }
    }

    /// Whether anybody watches a place.
    pub(super) fn watch(&self, model: &str, place: &Place) -> bool {
        let inside = self.inside();
        let group = |key| Group { model: model.to_owned(), tenant: place.tenant, key };
        inside.groups.contains_key(&group(None)) || inside.groups.contains_key(&group(Some(place.key.clone())))
    }

    /// The tenants of whose rows some are watched.
    pub(super) fn tenants(&self, model: &str) -> HashSet<TenantId> {
        self.inside().groups.keys().filter(|group| group.model == model).map(|group| group.tenant).collect()
    }

    /// Tells everybody who watches a row what it has become. `lanes` has the lanes that there are news of, and how far
    /// those go. Gives the mailboxes that had nothing of these news yet; they are to be settled after the last row.
    pub(super) fn tell(
        &self,
        model: &str,
        change: &Change,
        lanes: &HashMap<i16, i64>,
        at: Freshness,
    ) -> Vec<Arc<Mailbox>> {
        let mut group = Group { model: model.to_owned(), tenant: change.place.tenant, key: None };
        let inside = self.inside();
        let by_filter = inside.groups.get(&group);
        group.key = Some(change.place.key.clone());
        let by_key = inside.groups.get(&group);
        let mut mailboxes = by_filter.into_iter().chain(by_key).flat_map(HashMap::values).peekable();
        // A tenant lives in one lane, and so does everybody who watches its rows.
        let Some(position) = mailboxes.peek().and_then(|mailbox| lanes.get(&mailbox.lane)).copied() else {
            return Vec::new();
        };
        let key = change.place.key.clone();
        let row = match change.row.as_deref().map(serde_json::from_str) {
            None => None,
            Some(Ok(json)) => Some(Arc::new(LiveRow::new(key.clone(), json))),
            // A row that does not read cannot be shown; the look at the store says what it is.
            Some(Err(_)) => {
                mailboxes.for_each(|mailbox| mailbox.end(Ended::StartOver));
                return Vec::new();
            }
        };
        let became = Became { key, row, position, at };
        mailboxes.filter(|mailbox| mailbox.put(&became)).cloned().collect()
    }

    /// Sends everybody away who watches a read model, in one lane or in all.
    pub(super) fn start_over(&self, model: &str, lane: Option<i16>) {
        let seats = self.end(Ended::StartOver, |group, mailbox| {
            group.model == model && lane.is_none_or(|lane| lane == mailbox.lane)
        });
        for ((watched, at), standing) in &mut self.inside().courses {
            if watched == model && lane.is_none_or(|lane| lane == *at) {
                standing.at = None;
            }
        }
        tracing::info!(model, lane, seats, "whoever watched a read model must begin anew");
    }

    /// Sends everybody away who does not take what waits for her.
    pub(super) fn send_slow_away(&self) {
        if let Some(moment) = Instant::now().checked_sub(TAKEN_WITHIN) {
            self.end(Ended::TooSlow, |_, mailbox| mailbox.waits_since_before(moment));
        }
    }

    fn end(&self, why: Ended, whom: impl Fn(&Group, &Mailbox) -> bool) -> usize {
        let inside = self.inside();
        let all = inside.groups.iter().flat_map(|(group, seats)| seats.values().map(move |mailbox| (group, mailbox)));
        all.filter(|(group, mailbox)| whom(group, mailbox)).map(|(_, mailbox)| mailbox.end(why)).count()
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// The next update, as soon as there is one.
    pub(super) async fn next(&self) -> Result<api::port::Update, Ended> {
        loop {
            if let Some(update) = self.mailbox.take() {
                return update;
            }
            self.mailbox.filled.notified().await;
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut inside = self.watchers.inside();
        if let Some(seats) = inside.groups.get_mut(&self.group) {
            seats.remove(&self.number);
            if seats.is_empty() {
                inside.groups.remove(&self.group);
            }
        }
        let course = (self.group.model.clone(), self.mailbox.lane);
        if let Some(standing) = inside.courses.get_mut(&course) {
            standing.watchers -= 1;
            if standing.watchers == 0 {
                inside.courses.remove(&course);
            }
        }
        metrics::gauge!("cartulary_live_subscriptions").decrement(1);
    }
}

#[cfg(test)]
mod tests {
    use projections::inventory::StockLevel;
    use projections::kernel::Model;
    use projections::query::{Conditions, RowQuery};
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn news_go_on_from_what_was_told_in_the_same_history() {
        let at = |position, epoch| Checkpoint { lane: 0, position, epoch };
        let question = RowQuery::all(TenantId::new(Uuid::from_u128(1)), 1);
        let conditions = Conditions::of(&Model::of::<StockLevel>(), &question).expect("it makes sense");
        let (watchers, course) = (Watchers::new(), (String::from("StockLevel"), 0));
        let fit = |from, to| watchers.fit(&course, from, to);
        assert_eq!(fit(at(0, 0), at(5, 1)), Fit::Old, "nobody watches");

        watchers.listens();
        let group = Group { model: course.0.clone(), tenant: question.tenant, key: None };
        let _seat = watchers.join(group, Mailbox::new(0, conditions, false)).await;
        assert_eq!(fit(at(3, 1), at(5, 1)), Fit::Next, "the first reader is still reading");
        watchers.begun(course.clone(), at(10, 1));
        for (from, to, fits) in [
            (at(10, 1), at(12, 1), Fit::Next),
            (at(9, 1), at(12, 1), Fit::Next),
            (at(8, 1), at(10, 1), Fit::Old),
            (at(11, 1), at(12, 1), Fit::Gap),
            // A fail-over that lost nothing, and those that lost something.
            (at(10, 1), at(12, 2), Fit::Next),
            (at(9, 1), at(12, 2), Fit::Gap),
            (at(7, 1), at(9, 2), Fit::Gap),
            (at(9, 2), at(12, 2), Fit::Gap),
        ] {
            assert_eq!(fit(from, to), fits, "{from:?} to {to:?}");
        }
    }
}
