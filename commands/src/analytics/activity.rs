//! Activity commands.

use domain::analytics::{Activity, ActivityEvent, ActivityKind};
use domain::shared::{CustomerId, Permission, Text};
use domain::tenancy::Tenant;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Command, Context, Desk, Refusal, Subject, TenantStates, rejected};

/// Record an activity, such as a view of a product or a click on a nudge. A repeat under the same command id counts once.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrackActivity {
    /// A name of your choice for activity of this kind. Figures are kept for each kind.
    pub kind: ActivityKind,
    /// The thing that the activity was about, such as the id of a product.
    pub subject: Option<Text<100>>,
    /// The customer whose activity it was; required for customers.
    pub customer: Option<CustomerId>,
}

impl Command for TrackActivity {
    const NEEDS: Permission = Permission::TrackActivity;
    const WHILE: TenantStates = TenantStates::SELLING;

    fn subject(&self) -> Subject {
        self.customer.map_or(Subject::Tenant, Subject::Customer)
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        let store = Tenant::first_store(context.tenant);
        let on = desk.read::<Tenant>(context.tenant)?.day_at(store, context.now).map_err(rejected)?;
        let (kind, subject, customer) = (self.kind.clone(), self.subject.clone(), self.customer);
        desk.append::<Activity>(context, ActivityEvent::Tracked { kind, subject, customer, on });
        Ok(())
    }
}
