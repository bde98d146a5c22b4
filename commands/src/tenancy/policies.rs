//! What follows from a registration.

use domain::kernel::Recorded;
use domain::shared::TenantId;
use domain::tenancy::{Registration, RegistrationEvent};

use super::OpenTenant;
use crate::kernel::{Policy, Reactions, Start};

/// A registered tenant is opened in its own lane.
pub struct OpenTenantOnRegistered;

impl Policy for OpenTenantOnRegistered {
    const ID: &'static str = "open_tenant_on_registered";
    const START: Start = Start::Beginning;
    type Source = Registration;

    fn react(event: &Recorded<RegistrationEvent>, reactions: &mut Reactions) {
        let RegistrationEvent::Registered { name, subdomain, currency, zone, .. } = event.event.clone();
        reactions.command_in(TenantId::new(event.stream), OpenTenant { name, subdomain, currency, zone });
    }
}
