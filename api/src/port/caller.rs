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

impl Caller {
    /// True if one of the caller's roles has this permission.
    pub fn may(&self, permission: Permission) -> bool {
        self.roles.iter().any(|role| role.permits(permission))
    }

    /// Row access to a read model: `None` is no access, `Some(None)` is all rows of the tenant, and
    /// `Some(Some(customer))` is the rows that this customer owns.
    ///
    /// Customers see their own rows of models that name an owner. Of the other models they see only those that need
    /// `SeeProducts`; the filter for published products is added when rows are read.
    pub fn sees(&self, model: &Model) -> Option<Option<CustomerId>> {
        let visible = match self.customer {
            None => true,
            Some(_) => model.owner.is_some() || model.needs == Permission::SeeProducts,
        };
        let owner = self.customer.filter(|_| model.owner.is_some());
        (visible && self.may(model.needs)).then_some(owner)
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
