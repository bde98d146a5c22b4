//! Policies on registrations.

use domain::kernel::Recorded;
use domain::shared::TenantId;
use domain::tenancy::{Registration, RegistrationEvent};

use super::{FollowClosure, FollowReinstatement, FollowRestriction, FollowSuspension, OpenTenant};
use crate::kernel::{Policy, Reactions, Start};

/// Opens a registered tenant: sends the command to the new tenant, which may be in another lane than the platform.
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

/// Sends the platform's decisions about the state of a tenant to the tenant. The commands may arrive out of order, so each one
/// contains the number of its decision: the sequence of the event in the stream of the registration.
pub struct FollowPlatform;

impl Policy for FollowPlatform {
    const ID: &'static str = "follow_platform";
    const START: Start = Start::Beginning;
    type Source = Registration;
    const EVENTS: &'static [&'static str] = &[
        "tenant.restriction_ordered",
        "tenant.suspension_ordered",
        "tenant.reinstatement_ordered",
        "tenant.closure_ordered",
    ];

    fn react(event: &Recorded<RegistrationEvent>, reactions: &mut Reactions) {
        let (tenant, decision) = (TenantId::new(event.stream), event.sequence);
        match event.event.clone() {
            RegistrationEvent::RestrictionOrdered { reason } => {
                reactions.command_in(tenant, FollowRestriction { reason, decision });
            }
            RegistrationEvent::SuspensionOrdered { reason } => {
                reactions.command_in(tenant, FollowSuspension { reason, decision });
            }
            RegistrationEvent::ReinstatementOrdered {} => {
                reactions.command_in(tenant, FollowReinstatement { decision });
            }
            RegistrationEvent::ClosureOrdered { reason } => {
                reactions.command_in(tenant, FollowClosure { reason, decision });
            }
            RegistrationEvent::Registered { .. } => {}
        }
    }
}
