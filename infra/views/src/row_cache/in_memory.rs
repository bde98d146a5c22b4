//! Copies in the memory of this process.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use projections::kernel::Model;
use projections::ports::Checkpoint;

use super::{Copied, Copies, Name};
use platform::recent::Recent;

/// With 8 KiB a row at most, and twice the number at most, 32 MiB in the worst case.
const COPIES_MOST: usize = 2_048;

/// Bounded, and gone with the process.
pub struct InMemory(Mutex<Kept>);

struct Kept {
    copies: Recent<Name, Copied>,
    /// Up to where each model has told of changes, lane by lane: what was read earlier is not kept any more.
    told: HashMap<(String, i16), i64>,
}

impl Default for InMemory {
    fn default() -> Self {
        Self(Mutex::new(Kept { copies: Recent::new(COPIES_MOST), told: HashMap::new() }))
    }
}

impl InMemory {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Copies for InMemory {
    async fn find(&self, names: &[Name]) -> Vec<Option<Copied>> {
        let kept = self.kept();
        names.iter().map(|name| kept.copies.get(name).cloned()).collect()
    }

    async fn keep(&self, model: &Model, at: Checkpoint, copies: Vec<(Name, Copied)>) {
        let mut kept = self.kept();
        let told = kept.told.get(&(model.name.clone(), at.lane)).copied().unwrap_or_default();
        if at.position >= told {
            copies.into_iter().for_each(|(name, copy)| kept.copies.insert(name, copy));
        }
    }

    async fn forget(&self, model: &Model, at: &[Checkpoint], names: Vec<Name>) {
        let mut kept = self.kept();
        for at in at {
            // A lower one than before belongs to a history that was restored, and counts from now on.
            kept.told.insert((model.name.clone(), at.lane), at.position);
        }
        names.iter().for_each(|name| kept.copies.remove(name));
    }
}
