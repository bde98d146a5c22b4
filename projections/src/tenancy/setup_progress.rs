//! Progress of a tenant's setup (TEN-23).

use domain::kernel::Recorded;
use domain::shared::{Permission, TenantId, Timestamp};
use domain::tenancy::{Setup, SetupEvent, SetupTask};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Folded, ReadModel, Sources};

/// Progress of a tenant's setup: what is done, what is left, and a message for the last step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SetupProgress {
    /// Id of the setup, which is the id of its tenant.
    pub setup: TenantId,
    /// Completed tasks, in the order of completion.
    pub completed: Vec<SetupTask>,
    /// Tasks that are left, in the order of the wizard.
    pub remaining: Vec<SetupTask>,
    /// Share of completed tasks, from 0 to 100.
    pub percent: i64,
    /// Message that congratulates on the last step.
    pub congratulation: String,
    /// Time at which the last task was completed.
    pub completed_at: Option<Timestamp>,
    /// Time of the last change.
    pub changed_at: Timestamp,
}

impl ReadModel for SetupProgress {
    const NEEDS: Permission = Permission::ManageStores;
    const KEY: &'static [&'static str] = &["setup"];

    fn sources(from: &mut Sources<Self>) {
        from.row_per_stream::<Setup>(Self::on_setup);
    }
}

impl SetupProgress {
    fn on_setup(row: Option<Self>, event: &Recorded<SetupEvent>) -> Folded<Self> {
        let mut row = row.unwrap_or_else(|| Self::begun(event));
        match event.event {
            SetupEvent::TaskCompleted { task } => {
                row.completed.push(task);
                row.remaining.retain(|other| *other != task);
                let (done, all) = (row.completed.len(), SetupTask::ALL.len());
                row.percent = i64::try_from(done.saturating_mul(100) / all).unwrap_or(100);
                row.congratulation = format!("Well done: {done} of {all} tasks are completed.");
            }
            SetupEvent::Completed {} => {
                row.congratulation = "Congratulations, your shop is set up!".to_owned();
                row.completed_at = Some(event.occurred_at);
            }
        }
        Ok(Some(Self { changed_at: event.occurred_at, ..row }))
    }

    fn begun(event: &Recorded<SetupEvent>) -> Self {
        Self {
            setup: TenantId::new(event.stream),
            completed: Vec::new(),
            remaining: SetupTask::ALL.to_vec(),
            percent: 0,
            congratulation: String::new(),
            completed_at: None,
            changed_at: event.occurred_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::testing::Story;

    fn then(story: Story, event: SetupEvent) -> Story {
        story.then::<Setup>(TenantId::new(Uuid::from_u128(7)), event)
    }

    #[test]
    fn last_task_brings_the_congratulation() {
        let first = then(Story::new(), SetupEvent::TaskCompleted { task: SetupTask::AddWidget });
        let row: SetupProgress = first.row();
        assert_eq!((row.percent, row.remaining.len(), row.completed_at), (16, 5, None));
        assert!(row.congratulation.contains("1 of 6"), "{}", row.congratulation);

        let rest = SetupTask::ALL.into_iter().filter(|task| *task != SetupTask::AddWidget);
        let all = rest.fold(first, |story, task| then(story, SetupEvent::TaskCompleted { task }));
        let row: SetupProgress = then(all, SetupEvent::Completed {}).row();
        assert_eq!((row.percent, row.remaining.len(), row.completed_at), (100, 0, Some(Story::at(7))));
        assert!(row.congratulation.starts_with("Congratulations"), "{}", row.congratulation);
    }
}
