//! What one reader has not taken yet: the last value of each row, and never more.

use std::collections::{BTreeMap, HashSet};
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api::freshness::Freshness;
use api::live::{Ended, LiveRow, Update};
use foldhash::fast::RandomState;
use projections::kernel::Key;
use projections::question::Conditions;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Rows that wait for one reader; with more she is too slow.
const ROWS_WAITING_MOST: usize = 1_000;
/// Rows that one reader was told of and will be told of when they go away; with more she must narrow her filter.
const ROWS_KNOWN_MOST: usize = 10_000;

/// The mailbox of one subscription. Whoever changes rows puts into it and never waits.
pub(super) struct Mailbox {
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

struct Inside {
    hash: RandomState,
    first: Option<Update>,
    /// Up to this position of the lane, changes are part of the first update; nothing while that is being read.
    floor: Option<i64>,
    /// What waits, and at which position it became so.
    waiting: BTreeMap<Key, (i64, Option<Arc<LiveRow>>)>,
    /// Since when something waits.
    since: Option<Instant>,
    at: Freshness,
    /// The rows that the reader knows, or will know from what waits. Two keys of one hash cost a needless word.
    known: HashSet<u64, RandomState>,
    ended: Option<Ended>,
}

impl Mailbox {
    pub(super) fn new(conditions: Conditions) -> Self {
        let nowhere = Freshness { tenant_position: 0, epoch: 0 };
        let inside = Inside {
            hash: RandomState::default(),
            first: None,
            floor: None,
            waiting: BTreeMap::new(),
            since: None,
            at: nowhere,
            known: HashSet::default(),
            ended: None,
        };
        Self { conditions, filled: Notify::new(), inside: Mutex::new(inside) }
    }

    /// Begins with what was read at a position of the lane; what had changed meanwhile comes after it.
    pub(super) fn begin(&self, position: i64, first: Update) {
        let mut inside = self.inside();
        let Inside { hash, waiting, known, .. } = &mut *inside;
        known.extend(first.rows.iter().map(|row| hash.hash_one(&row.key)));
        waiting.retain(|key, (at, row)| *at > position && (row.is_some() || known.contains(&hash.hash_one(key))));
        known.extend(waiting.iter().filter(|(_, (_, row))| row.is_some()).map(|(key, _)| hash.hash_one(key)));
        inside.floor = Some(position);
        if inside.waiting.is_empty() {
            inside.at = first.at;
        }
        inside.first = Some(first);
        self.filled.notify_one();
    }

    /// Takes in what a row has become, if it is the reader's concern.
    pub(super) fn put(&self, became: &Became) {
        let fits = became.row.as_ref().is_some_and(|row| self.conditions.hold(&row.json));
        let mut inside = self.inside();
        if inside.ended.is_some() || inside.floor.is_some_and(|floor| became.position <= floor) {
            return;
        }
        let hash = inside.hash.hash_one(&became.key);
        let concerns = match (fits, inside.floor) {
            (true, _) => {
                inside.known.insert(hash);
                true
            }
            // What the first update will have is not known yet.
            (false, None) => true,
            (false, Some(_)) => inside.known.remove(&hash),
        };
        if !concerns {
            return;
        }
        let row = became.row.clone().filter(|_| fits);
        inside.waiting.insert(became.key.clone(), (became.position, row));
        inside.since.get_or_insert_with(Instant::now);
        inside.at = became.at;
        if inside.waiting.len() > ROWS_WAITING_MOST {
            inside.end(Ended::TooSlow);
        } else if inside.known.len() > ROWS_KNOWN_MOST {
            inside.end(Ended::TooManyRows);
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
        inside.since = None;
        let mut update = Update { rows: Vec::new(), gone: Vec::new(), more: false, at: inside.at };
        for (key, (_, row)) in std::mem::take(&mut inside.waiting) {
            match row {
                Some(row) => update.rows.push(row),
                None => update.gone.push(key),
            }
        }
        Some(Ok(update))
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
        self.known.clear();
    }
}
