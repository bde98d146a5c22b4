//! Tenancy: tenants, their registration and stores, and unique names.

mod name_claim;
mod registration;
mod setup;
mod tenant;
mod tenant_state;

pub use name_claim::{NameClaim, NameClaimEvent, NameClaimRejection};
pub use registration::{Registration, RegistrationEvent, RegistrationRejection};
pub use setup::{Setup, SetupEvent, SetupTask};
pub use tenant::{CURRENCIES_MOST, STORES_MOST, Tenant, TenantEvent, TenantRejection};
pub use tenant_state::{TenantState, TenantStates};

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.aggregate::<NameClaim>();
    each.aggregate::<Registration>();
    each.aggregate::<Setup>();
    each.aggregate::<Tenant>();
}
