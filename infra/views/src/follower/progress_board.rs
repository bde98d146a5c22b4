//! Progress board: how far the groups of this process have come, and which of them have problems.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Progress of all groups, and of the models that catch up outside of their group. Clones share it.
#[derive(Clone, Default)]
pub(super) struct ProgressBoard(Arc<Mutex<Entries>>);

#[derive(Default)]
struct Entries {
    next_id: u64,
    all: BTreeMap<u64, Progress>,
}

#[derive(Default)]
struct Progress {
    is_group: bool,
    /// Position reached in each lane; `None` in a lane that no model of the group follows, as while all are being built. A lane
    /// whose checkpoints are not read yet is missing.
    reached: BTreeMap<i16, Option<i64>>,
    problems: Vec<String>,
}

/// Entry of one group or model, removed on drop.
pub(super) struct Entry {
    board: ProgressBoard,
    id: u64,
}

impl ProgressBoard {
    /// Adds a group.
    pub(super) fn enter_group(&self) -> Entry {
        self.enter(true)
    }

    /// Adds a model that catches up outside of its group.
    pub(super) fn enter_model(&self) -> Entry {
        self.enter(false)
    }

    fn enter(&self, is_group: bool) -> Entry {
        let mut entries = self.entries();
        entries.next_id += 1;
        let id = entries.next_id;
        entries.all.insert(id, Progress { is_group, ..Progress::default() });
        Entry { board: self.clone(), id }
    }

    /// Position that all groups have reached in a lane; `None` if no group follows it.
    pub(super) fn reached(&self, lane: i16) -> Option<i64> {
        self.entries().all.values().filter_map(|progress| *progress.reached.get(&lane)?).min()
    }

    /// Number of events up to these heads that the last group has not projected. A group that has not read its checkpoints
    /// yet, as while their table is locked, may lack them all.
    pub(super) fn lag(&self, heads: &BTreeMap<i16, i64>) -> i64 {
        let missing = |progress: &Progress| -> i64 {
            let reached = |lane| progress.reached.get(lane).copied().unwrap_or(Some(0));
            heads.iter().filter_map(|(lane, head)| Some((head - reached(lane)?).max(0))).sum()
        };
        self.entries().all.values().filter(|progress| progress.is_group).map(missing).max().unwrap_or(0)
    }

    /// Problems of all groups and models, for operators.
    pub(super) fn problems(&self) -> Vec<String> {
        self.entries().all.values().flat_map(|progress| progress.problems.clone()).collect()
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    pub(super) fn set_reached(&self, positions: impl Iterator<Item = (i16, Option<i64>)>) {
        if let Some(progress) = self.board.entries().all.get_mut(&self.id) {
            progress.reached = positions.collect();
        }
    }

    pub(super) fn set_problems(&self, problems: Vec<String>) {
        if let Some(progress) = self.board.entries().all.get_mut(&self.id) {
            progress.problems = problems;
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.board.entries().all.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_is_that_of_the_last_group_and_entries_end_with_their_group() {
        let board = ProgressBoard::default();
        let heads = BTreeMap::from([(0, 10), (1, 5)]);
        assert_eq!((board.lag(&heads), board.reached(0)), (0, None));
        let (first, second, _model) = (board.enter_group(), board.enter_group(), board.enter_model());
        first.set_reached([(0, Some(10)), (1, Some(4))].into_iter());
        assert_eq!(board.lag(&heads), 15, "a group has not read its checkpoints");
        second.set_reached([(0, Some(7))].into_iter());
        assert_eq!(board.lag(&heads), 8, "a group has not read its checkpoints in one lane");
        second.set_reached([(0, Some(7)), (1, None)].into_iter());
        second.set_problems(vec!["Order does not advance".into()]);
        assert_eq!((board.lag(&heads), board.reached(0), board.reached(2)), (3, Some(7), None));
        assert_eq!(board.problems(), ["Order does not advance"]);
        drop(second);
        assert_eq!((board.lag(&heads), board.reached(0), board.problems().len()), (1, Some(10), 0));
    }
}
