//! Tenancy commands and policies: registration of tenants, and their stores.

mod policies;
mod registration;
mod setup;
mod tenant;

pub use policies::*;
pub use registration::*;
pub use setup::*;
pub use tenant::*;

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.command::<RegisterTenant>();
    each.command::<OpenTenant>();
    each.command::<OpenStore>();
    each.command::<RestrictTenant>();
    each.command::<SetCurrencies>();
    each.command::<SuspendTenant>();
    each.command::<ReinstateTenant>();
    each.command::<CloseTenant>();
    each.command::<FollowRestriction>();
    each.command::<FollowSuspension>();
    each.command::<FollowReinstatement>();
    each.command::<FollowClosure>();
    each.command::<CompleteSetupTask>();
    each.policy::<OpenTenantOnRegistered>();
    each.policy::<FollowPlatform>();
}
