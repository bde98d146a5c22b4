//! A token that was believed, in the words of the house.

use domain::kernel::Actor;
use domain::shared::{CustomerId, Permission, Principal, Role, TenantId, Timestamp};
use projections::kernel::Model;

use super::Claims;

/// Who is calling, and as what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub tenant: TenantId,
    pub principal: Principal,
    pub actor: Actor,
    pub roles: Vec<Role>,
    /// Present exactly for a customer's token: it reaches no further than this customer.
    pub customer: Option<CustomerId>,
    /// When the token counts no more.
    pub until: Timestamp,
}

impl Caller {
    /// Refuses roles that do not go together: customers are nothing else, operators act in the platform's tenant and
    /// nobody else does, and nobody outside is the engine.
    pub fn from_claims(claims: &Claims) -> Result<Self, &'static str> {
        let (tenant, principal) = (claims.tenant, claims.sub);
        let is = |role| claims.roles.contains(&role);
        if claims.roles.is_empty() || is(Role::Engine) || principal == Principal::ENGINE {
            return Err("no role, or the engine's");
        }
        if is(Role::Operator) != (tenant == TenantId::PLATFORM) {
            return Err("an operator outside the platform, or a stranger in it");
        }
        let alone = claims.roles.len() == 1;
        let actor = match (claims.customer, is(Role::Customer), is(Role::Operator)) {
            (Some(customer), true, false) if alone => Actor::Customer(customer),
            (None, false, true) if alone => Actor::Operator(principal),
            (None, false, false) => Actor::Member(principal),
            _ => return Err("roles that do not go together"),
        };
        let (roles, customer, until) = (claims.roles.clone(), claims.customer, claims.until());
        Ok(Self { tenant, principal, actor, roles, customer, until })
    }

    /// Whether one of the caller's roles may do this.
    pub fn may(&self, permission: Permission) -> bool {
        self.roles.iter().any(|role| role.permits(permission))
    }

    /// Whether this caller may see rows of a read model at all, and if so, only whose.
    ///
    /// Customers see their own rows where a model names an owner; where none is named they see what is sold and
    /// nothing else.
    pub fn sees(&self, model: &Model) -> Option<Option<CustomerId>> {
        let seen = match self.customer {
            None => true,
            Some(_) => model.owner.is_some() || model.needs == Permission::SeeProducts,
        };
        let owner = self.customer.filter(|_| model.owner.is_some());
        (seen && self.may(model.needs)).then_some(owner)
    }

    /// Whether this caller may read personal fields of the rows she sees: staff who may see customers, and a customer
    /// who sees herself.
    pub fn sees_personal(&self, model: &Model) -> bool {
        self.may(Permission::SeeCustomers) && (self.customer.is_none() || model.owner.is_some())
    }
}
