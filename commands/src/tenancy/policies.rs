//! Policies on registrations.

use domain::kernel::Recorded;
use domain::shared::TenantId;
use domain::tenancy::{Registration, RegistrationEvent};

use super::{FollowReinstatement, FollowSuspension, OpenTenant};
use crate::kernel::{Policy, Reactions, Start};

/// Opens a registered tenant in its own lane.
pub struct OpenTenantOnRegistered;

impl Policy for OpenTenantOnRegistered {
    const ID: &'static str = "open_tenant_on_registered";
    const START: Start = Start::Beginning;
    type Source = Registration;
    const EVENTS: &'static [&'static str] = &["tenant.registered"];

    fn react(event: &Recorded<RegistrationEvent>, reactions: &mut Reactions) {
        if let RegistrationEvent::Registered { name, subdomain, currency, zone, .. } = event.event.clone() {
            reactions.command_in(TenantId::new(event.stream), OpenTenant { name, subdomain, currency, zone });
        }
    }
}

/// Passes suspensions and reinstatements on to the tenant, in its own lane. Lanes are not ordered with each other, so
/// the command carries the number of the decision.
pub struct FollowPlatform;

impl Policy for FollowPlatform {
    const ID: &'static str = "follow_platform";
    const START: Start = Start::Beginning;
    type Source = Registration;
    const EVENTS: &'static [&'static str] = &["tenant.suspension_ordered", "tenant.reinstatement_ordered"];

    fn react(event: &Recorded<RegistrationEvent>, reactions: &mut Reactions) {
        let (tenant, decision) = (TenantId::new(event.stream), event.sequence);
        match event.event.clone() {
            RegistrationEvent::SuspensionOrdered { reason } => {
                reactions.command_in(tenant, FollowSuspension { reason, decision });
            }
            RegistrationEvent::ReinstatementOrdered {} => {
                reactions.command_in(tenant, FollowReinstatement { decision });
            }
            RegistrationEvent::Registered { .. } => {}
        }
    }
}
