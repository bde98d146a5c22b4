//! Tenant, its currencies and its state (TEN-21, TEN-22).

use domain::kernel::Recorded;
use domain::shared::{Currency, Permission, Reason, Slug, TenantId, Timestamp, Title};
use domain::tenancy::{TenantEvent, TenantState};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Folded, ReadModel, Sources};

/// Tenant: what a storefront shows of it, and whether it sells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Tenant {
    /// Id of the tenant.
    pub tenant_id: TenantId,
    /// Name of the organisation; null before the tenant is open.
    pub name: Option<Title>,
    /// Subdomain on the platform; null before the tenant is open.
    pub subdomain: Option<Slug>,
    /// The tenant's own currency, in which points, tiers and rewards count; null before the tenant is open.
    pub currency: Option<Currency>,
    /// Currencies in which the tenant sells beside its own.
    pub other_currencies: Vec<Currency>,
    /// State ordered by the platform. A storefront of a suspended or closed tenant says that it is closed.
    pub state: TenantState,
    /// Reason of the platform for a restriction, suspension or closure.
    pub reason: Option<Reason>,
    /// Time of the last change of the state; that of the opening if it has never changed.
    pub state_since: Timestamp,
}

impl ReadModel for Tenant {
    const NEEDS: Permission = Permission::SeeTenants;
    const KEY: &'static [&'static str] = &["tenant_id"];
    const PUBLIC: &'static [&'static str] =
        &["tenant_id", "name", "subdomain", "currency", "other_currencies", "state"];

    fn sources(from: &mut Sources<Self>) {
        from.row_per_stream::<domain::tenancy::Tenant>(Self::on_tenant);
    }
}

impl Tenant {
    fn on_tenant(row: Option<Self>, event: &Recorded<TenantEvent>) -> Folded<Self> {
        let row = row.unwrap_or_else(|| Self {
            tenant_id: TenantId::new(event.stream),
            name: None,
            subdomain: None,
            currency: None,
            other_currencies: Vec::new(),
            state: TenantState::Active,
            reason: None,
            state_since: event.occurred_at,
        });
        let moved = |state, reason| Self { state, reason, state_since: event.occurred_at, ..row.clone() };
        Ok(Some(match event.event.clone() {
            TenantEvent::Opened { name, subdomain, currency, .. } => {
                Self { name: Some(name), subdomain: Some(subdomain), currency: Some(currency), ..row }
            }
            TenantEvent::StoreOpened { .. } => row,
            TenantEvent::CurrenciesSet { currencies } => Self { other_currencies: currencies, ..row },
            TenantEvent::Restricted { reason, .. } => moved(TenantState::Restricted, Some(reason)),
            TenantEvent::Suspended { reason, .. } => moved(TenantState::Suspended, Some(reason)),
            TenantEvent::Reinstated { .. } => moved(TenantState::Active, None),
            TenantEvent::Closed { reason, .. } => moved(TenantState::Closed, Some(reason)),
        }))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::testing::Story;

    #[test]
    fn last_decision_of_the_platform_is_the_state_even_if_it_came_before_the_opening() {
        let tenant = TenantId::new(Uuid::from_u128(9));
        let suspended = |decision| TenantEvent::Suspended { reason: "unpaid".parse().expect("a reason"), decision };
        let opened = TenantEvent::Opened {
            name: "Shop".parse().expect("a name"),
            subdomain: "shop".parse().expect("a subdomain"),
            currency: "EUR".parse().expect("a currency"),
            zone: "Europe/Berlin".parse().expect("a zone"),
            store: domain::tenancy::Tenant::first_store(tenant),
        };
        let story = Story::new()
            .then::<domain::tenancy::Tenant>(tenant, suspended(1))
            .then::<domain::tenancy::Tenant>(tenant, opened);
        let row = &story.rows::<Tenant>()[0];
        assert_eq!(
            (row.state, row.name.as_ref().map(ToString::to_string)),
            (TenantState::Suspended, Some("Shop".into()))
        );
        let story = story.then::<domain::tenancy::Tenant>(tenant, TenantEvent::Reinstated { decision: 2 });
        let row = &story.rows::<Tenant>()[0];
        assert_eq!((row.state, &row.reason), (TenantState::Active, &None));
    }
}
