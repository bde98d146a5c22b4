//! What one reader has not taken yet: the last value of each row, and never more.

use std::collections::{BTreeMap, HashSet};
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api::port::Freshness;
use api::port::{Ended, LiveRow, Update};
use foldhash::fast::RandomState;
use projections::kernel::Key;
use projections::query::Conditions;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Rows that wait for one reader; with more she is too slow. A few batches of the projector: of each batch all is put
/// before she is woken.
const ROWS_WAITING_MOST: usize = 10_000;
/// Rows that are told at once; others come with the next update.
const ROWS_TOLD_MOST: usize = 100;
/// Rows that one reader was told of and will be told of when they go away; with more she must narrow her filter.
const ROWS_KNOWN_MOST: usize = 10_000;

/// The mailbox of one subscription. Whoever changes rows puts into it and never waits.
pub(super) struct Mailbox {
    /// In which the tenant lives.
    pub(super) lane: i16,
    conditions: Conditions,
    /// Wakes the reader.
    pub(super) filled: Notify,
    inside: Mutex<Inside>,
}

/// A row as it became at some position of its lane.
#[derive(Clone)]
pub(super) struct Became {
    pub(super) key: Key,
    /// Nothing where it went away.
    pub(super) row: Option<Arc<LiveRow>>,
    pub(super) position: i64,
    pub(super) at: Freshness,
}

/// A position of the lane, and the tenant's own.
type At = (i64, Freshness);

struct Inside {
    hash: RandomState,
    first: Option<Update>,
    /// Up to this position of the lane, changes are part of the first update; nothing while that is being read.
    floor: Option<i64>,
    /// What waits, and at which position it became so.
    waiting: BTreeMap<Key, (i64, Option<Arc<LiveRow>>)>,
    /// Since when something waits.
    since: Option<Instant>,
    /// Up to where the news go of which some rows are here and some may still come.
    coming: Option<At>,
    /// Up to where everything is told once nothing waits any more, and up to where it is.
    at: At,
    told: Freshness,
    /// The rows that the reader knows, or will know from what waits. Two keys of one hash cost a needless word. Nothing
    /// where rows never change, and so never cease to fit.
    known: Option<HashSet<u64, RandomState>>,
    ended: Option<Ended>,
}

impl Mailbox {
    /// `appends` says that a row never changes once it is there.
    pub(super) fn new(lane: i16, conditions: Conditions, appends: bool) -> Self {
        let nowhere = Freshness { tenant_position: 0, epoch: 0 };
        let inside = Inside {
            hash: RandomState::default(),
            first: None,
            floor: None,
            waiting: BTreeMap::new(),
            since: None,
            coming: None,
            at: (0, nowhere),
            told: nowhere,
            known: (!appends).then(HashSet::default),
            ended: None,
        };
        Self { lane, conditions, filled: Notify::new(), inside: Mutex::new(inside) }
    }

    /// Begins with what was read at a position of the lane; what had changed meanwhile comes after it.
    pub(super) fn begin(&self, position: i64, first: Update) {
        let mut inside = self.inside();
        let Inside { hash, waiting, known, .. } = &mut *inside;
        waiting.retain(|_, (at, _)| *at > position);
        if let Some(known) = known {
            known.extend(first.rows.iter().map(|row| hash.hash_one(&row.key)));
            waiting.retain(|key, (_, row)| row.is_some() || known.contains(&hash.hash_one(key)));
            known.extend(waiting.iter().filter(|(_, (_, row))| row.is_some()).map(|(key, _)| hash.hash_one(key)));
        }
        inside.floor = Some(position);
        inside.told = first.at;
        if inside.at.0 <= position {
            inside.at = (position, first.at);
        }
        // She could not take it before.
        inside.since = (!inside.waiting.is_empty()).then(Instant::now);
        inside.first = Some(first);
        self.filled.notify_one();
    }

    /// Takes in what a row has become, if it is the reader's concern, and tells whether nothing of the same news came
    /// before. The reader is woken when they [settle](Self::settle).
    pub(super) fn put(&self, became: &Became) -> bool {
        let fits = became.row.as_ref().is_some_and(|row| self.conditions.matches(&row.json));
        let mut inside = self.inside();
        if inside.ended.is_some() || inside.floor.is_some_and(|floor| became.position <= floor) {
            return false;
        }
        let hash = inside.hash.hash_one(&became.key);
        let begun = inside.floor.is_some();
        let concerns = match (fits, &mut inside.known) {
            (true, Some(known)) => {
                known.insert(hash);
                true
            }
            (fits, None) => fits,
            // What the first update will have is not known yet.
            (false, Some(known)) => known.remove(&hash) || !begun,
        };
        if !concerns {
            return false;
        }
        let row = became.row.clone().filter(|_| fits);
        inside.waiting.insert(became.key.clone(), (became.position, row));
        inside.since.get_or_insert_with(Instant::now);
        let is_first = inside.coming.replace((became.position, became.at)).is_none();
        if inside.waiting.len() > ROWS_WAITING_MOST {
            inside.end(Ended::TooSlow);
        } else if inside.known.as_ref().is_some_and(|known| known.len() > ROWS_KNOWN_MOST) {
            inside.end(Ended::TooManyRows);
        }
        is_first
    }

    /// All rows of the same news were put.
    pub(super) fn settle(&self) {
        let mut inside = self.inside();
        if let Some(coming) = inside.coming.take().filter(|coming| coming.0 > inside.at.0) {
            inside.at = coming;
            if inside.floor.is_some() && inside.waiting.is_empty() {
                inside.told = coming.1;
            }
        }
        self.filled.notify_one();
    }

    /// Sends the reader away.
    pub(super) fn end(&self, why: Ended) {
        self.inside().end(why);
        self.filled.notify_one();
    }

    /// Whether something has been waiting since before a moment.
    pub(super) fn waits_since_before(&self, moment: Instant) -> bool {
        self.inside().since.is_some_and(|since| since < moment)
    }

    /// What there is to tell; nothing where the reader must wait.
    pub(super) fn take(&self) -> Option<Result<Update, Ended>> {
        let mut inside = self.inside();
        if let Some(why) = inside.ended {
            return Some(Err(why));
        }
        if let Some(first) = inside.first.take() {
            return Some(Ok(first));
        }
        if inside.floor.is_none() || inside.waiting.is_empty() {
            return None;
        }
        let (mut rows, mut gone) = (Vec::new(), Vec::new());
        while rows.len() + gone.len() < ROWS_TOLD_MOST
            && let Some((key, (_, row))) = inside.waiting.pop_first()
        {
            match row {
                Some(row) => rows.push(row),
                None => gone.push(key),
            }
        }
        inside.since = (!inside.waiting.is_empty()).then(Instant::now);
        if inside.waiting.is_empty() {
            inside.told = inside.at.1;
        }
        Some(Ok(Update { rows, gone, more: false, at: inside.told }))
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    fn end(&mut self, why: Ended) {
        self.ended.get_or_insert(why);
        self.first = None;
        self.waiting.clear();
        self.known = None;
    }
}

#[cfg(test)]
mod tests {
    use domain::shared::TenantId;
    use projections::inventory::{StockLevel, StockMovement};
    use projections::kernel::Model;
    use projections::query::{Filter, RowQuery, Test};
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    /// For whoever watches what is available up to five units.
    fn mailbox() -> Mailbox {
        let mut question = RowQuery::all(TenantId::new(Uuid::from_u128(1)), 10);
        question.filters = vec![Filter { field: "available".into(), test: Test::To(5.into()) }];
        Mailbox::new(0, Conditions::of(&Model::of::<StockLevel>(), &question).expect("it makes sense"), false)
    }

    fn at(position: i64) -> Freshness {
        Freshness { tenant_position: position, epoch: 1 }
    }

    fn key(number: i64) -> Key {
        Key::of(&[number])
    }

    fn row(number: i64, available: i64) -> Arc<LiveRow> {
        Arc::new(LiveRow::new(key(number), json!({ "available": available })))
    }

    fn became(number: i64, available: Option<i64>, position: i64) -> Became {
        Became { key: key(number), row: available.map(|units| row(number, units)), position, at: at(position) }
    }

    /// News of one row.
    fn put(mailbox: &Mailbox, became: Became) {
        mailbox.put(&became);
        mailbox.settle();
    }

    fn begin(mailbox: &Mailbox, rows: Vec<Arc<LiveRow>>, position: i64) {
        mailbox.begin(position, Update { rows, gone: vec![], more: false, at: at(position) });
    }

    /// What is told next: available units, what is gone, and up to where.
    fn told(mailbox: &Mailbox) -> Option<(Vec<i64>, Vec<Key>, i64)> {
        let update = mailbox.take()?.expect("not sent away");
        let units = update.rows.iter().map(|row| row.json["available"].as_i64().expect("a number"));
        Some((units.collect(), update.gone, update.at.tenant_position))
    }

    #[test]
    fn a_slow_reader_gets_the_last_value_of_each_row() {
        let mailbox = mailbox();
        begin(&mailbox, vec![row(1, 5)], 10);
        for position in 11..500 {
            put(&mailbox, became(1, Some(position % 5), position));
        }
        put(&mailbox, became(2, Some(3), 500));
        assert_eq!(told(&mailbox), Some((vec![5], vec![], 10)));
        assert_eq!(told(&mailbox), Some((vec![4, 3], vec![], 500)));
        assert_eq!(told(&mailbox), None);
    }

    #[test]
    fn what_changed_while_the_first_rows_were_read_is_told_once() {
        let mailbox = mailbox();
        put(&mailbox, became(1, Some(4), 10));
        put(&mailbox, became(2, Some(9), 11));
        put(&mailbox, became(3, Some(9), 11));
        put(&mailbox, became(4, Some(2), 11));
        assert_eq!(told(&mailbox), None);
        begin(&mailbox, vec![row(1, 4), row(2, 5)], 10);
        assert_eq!(told(&mailbox), Some((vec![4, 5], vec![], 10)));
        assert_eq!(told(&mailbox), Some((vec![2], vec![key(2)], 11)));
    }

    #[test]
    fn only_who_knows_a_row_is_told_that_it_is_gone() {
        let mailbox = mailbox();
        begin(&mailbox, vec![row(1, 5)], 10);
        told(&mailbox);
        put(&mailbox, became(1, Some(6), 11));
        put(&mailbox, became(2, None, 11));
        assert_eq!(told(&mailbox), Some((vec![], vec![key(1)], 11)));
        put(&mailbox, became(1, None, 12));
        put(&mailbox, became(1, Some(1), 9));
        assert_eq!(told(&mailbox), None);
    }

    #[test]
    fn a_position_is_told_when_everything_up_to_it_is() {
        let mailbox = mailbox();
        begin(&mailbox, vec![], 10);
        told(&mailbox);
        let next = || told(&mailbox).map(|(rows, _, at)| (rows.len(), at));
        (1..=150).for_each(|number| put(&mailbox, became(number, Some(1), 11)));
        assert_eq!([next(), next(), next()], [Some((100, 10)), Some((50, 11)), None]);

        // Whoever takes one row while the next of the same news is still to come has not been told all.
        assert!(mailbox.put(&became(1, Some(2), 12)));
        assert_eq!(next(), Some((1, 11)));
        assert!(!mailbox.put(&became(2, Some(2), 12)));
        mailbox.settle();
        assert_eq!(next(), Some((1, 12)));
    }

    #[test]
    fn a_whole_batch_makes_nobody_slow() {
        let mailbox = mailbox();
        begin(&mailbox, vec![], 10);
        told(&mailbox);
        for number in 1..=2_000 {
            mailbox.put(&became(number, Some(1), 11));
        }
        mailbox.settle();
        let updates: Vec<_> = std::iter::from_fn(|| told(&mailbox)).collect();
        assert_eq!(updates.iter().map(|(rows, ..)| rows.len()).sum::<usize>(), 2_000);
        assert_eq!(updates.last().map(|(.., at)| *at), Some(11));
    }

    #[test]
    fn nothing_is_kept_without_end() {
        let slow = mailbox();
        begin(&slow, vec![], 0);
        (1..=10_001).for_each(|number| put(&slow, became(number, Some(1), number)));
        assert_eq!(slow.take().and_then(Result::err), Some(Ended::TooSlow));
        assert!(slow.inside().waiting.is_empty() && slow.inside().known.is_none());

        let broad = mailbox();
        begin(&broad, vec![], 0);
        for number in 1..=10_001 {
            put(&broad, became(number, Some(1), number));
            broad.take();
        }
        put(&broad, became(10_002, Some(1), 10_002));
        assert_eq!(broad.take().and_then(Result::err), Some(Ended::TooManyRows));

        // Entries of a ledger stay as they are, so that nobody need know who was told of which.
        let question = RowQuery::all(TenantId::new(Uuid::from_u128(1)), 10);
        let model = Model::of::<StockMovement>();
        let ledger = Mailbox::new(0, Conditions::of(&model, &question).expect("it makes sense"), model.appends);
        begin(&ledger, vec![], 0);
        for number in 1..=20_000 {
            put(&ledger, became(number, Some(1), number));
            assert!(ledger.take().is_some_and(|told| told.is_ok()));
        }
    }
}
