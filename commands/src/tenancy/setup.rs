//! Setup commands.

use domain::shared::Permission;
use domain::tenancy::{Setup, SetupTask};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Command, Context, Desk, Refusal};

/// Complete a task of the setup. A completed task stays completed.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CompleteSetupTask {
    pub task: SetupTask,
}

impl Command for CompleteSetupTask {
    const NEEDS: Permission = Permission::ManageStores;

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        desk.decide::<Setup>(context.tenant, |setup| setup.complete(self.task))
    }
}
