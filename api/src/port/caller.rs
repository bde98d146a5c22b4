//! The authenticated caller of a request.

use std::time::Duration;

use domain::kernel::Actor;
use domain::shared::{CustomerId, Permission, Principal, Role, TenantId, Timestamp};
use projections::kernel::Model;

/// Identity, tenant and roles of a caller, as its verified token states them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub tenant: TenantId,
    pub principal: Principal,
    pub actor: Actor,
    pub roles: Vec<Role>,
    /// Present exactly for a customer's token: it gives access to this customer's data only.
    pub customer: Option<CustomerId>,
    /// End of the token's validity.
    pub until: Timestamp,
}

/// Rows and fields of a read model that a caller may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// The customer whose rows the caller sees; `None` for all rows of the tenant.
    pub owner: Option<CustomerId>,
    /// True if the caller sees only the public fields, and only rows that are visible to the public.
    pub public_only: bool,
}

impl Access {
    /// True if the caller sees this field of the model.
    pub fn shows(self, model: &Model, field: &str) -> bool {
        !self.public_only || model.public.contains(&field)
    }
}

impl Caller {
    /// True if one of the caller's roles has this permission.
    pub fn may(&self, permission: Permission) -> bool {
        self.roles.iter().any(|role| role.permits(permission))
    }

    /// Access to a read model; `None` if the caller may not read it.
    ///
    /// Customers see their own rows of models that name an owner. Of the other models, customers and members without
    /// the permission see the public fields.
    pub fn access(&self, model: &Model) -> Option<Access> {
        let permitted = self.may(model.needs);
        let public = (!model.public.is_empty()).then_some(Access { owner: None, public_only: true });
        match (self.customer, model.owner) {
            (Some(_), Some(_)) => permitted.then_some(Access { owner: self.customer, public_only: false }),
            (None, _) if permitted => Some(Access { owner: None, public_only: false }),
            _ => public,
        }
    }

    /// True if the caller may read personal fields of the rows that it sees: members with the permission
    /// `SeeCustomers`, and customers in their own rows.
    pub fn sees_personal(&self, model: &Model) -> bool {
        self.may(Permission::SeeCustomers) && (self.customer.is_none() || model.owner.is_some())
    }

    /// Remaining validity of the caller's token; zero once it has expired.
    pub(crate) fn valid_for(&self, now: Timestamp) -> Duration {
        let left = self.until.micros().saturating_sub(now.micros());
        Duration::from_micros(u64::try_from(left).unwrap_or(0))
    }
}
