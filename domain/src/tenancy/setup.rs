//! Setup of a new tenant, task by task (TEN-23).
//!
//! Invariant: a task is completed once; the setup is completed with its last task.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Aggregate, Decision, NoRejection};
use crate::shared::TenantId;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Setup {
    completed: BTreeSet<SetupTask>,
}

/// Task of the setup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SetupTask {
    AddProduct,
    ReceiveStock,
    ConfigurePoints,
    AddReward,
    AddWidget,
    InviteTeam,
}

/// Stored format: names and fields of events are never renamed or removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum SetupEvent {
    /// A task of the setup was completed.
    #[serde(rename = "setup.task_completed")]
    TaskCompleted { task: SetupTask },
    /// All tasks of the setup are completed.
    #[serde(rename = "setup.completed")]
    Completed {},
}

impl SetupTask {
    /// All tasks, in the order in which the wizard shows them.
    pub const ALL: [Self; 6] = [
        Self::AddProduct,
        Self::ReceiveStock,
        Self::ConfigurePoints,
        Self::AddReward,
        Self::AddWidget,
        Self::InviteTeam,
    ];
}

impl Setup {
    /// Completes a task, and the setup with the last one. A repeat changes nothing.
    pub fn complete(&self, task: SetupTask) -> Decision<Self> {
        if self.completed.contains(&task) {
            return Ok(vec![]);
        }
        let is_last = SetupTask::ALL.iter().all(|other| *other == task || self.completed.contains(other));
        let completed = SetupEvent::TaskCompleted { task };
        Ok(std::iter::once(completed).chain(is_last.then_some(SetupEvent::Completed {})).collect())
    }
}

impl Aggregate for Setup {
    const TYPE: &'static str = "Setup";
    type Id = TenantId;
    type Event = SetupEvent;
    type Rejection = NoRejection;

    fn apply(&mut self, event: &SetupEvent) {
        if let SetupEvent::TaskCompleted { task } = event {
            self.completed.insert(*task);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::given;

    #[test]
    fn task_is_completed_once() {
        given([])
            .when(|setup: &Setup| setup.complete(SetupTask::AddWidget))
            .then_once([SetupEvent::TaskCompleted { task: SetupTask::AddWidget }]);
    }

    #[test]
    fn last_task_completes_the_setup() {
        let others = SetupTask::ALL.into_iter().filter(|task| *task != SetupTask::AddWidget);
        given(others.map(|task| SetupEvent::TaskCompleted { task }))
            .when(|setup: &Setup| setup.complete(SetupTask::AddWidget))
            .then_once([SetupEvent::TaskCompleted { task: SetupTask::AddWidget }, SetupEvent::Completed {}]);
    }
}
