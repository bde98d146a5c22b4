//! Stores of a tenant (TEN-11, TEN-20).

use domain::kernel::Recorded;
use domain::shared::{Permission, StoreId, Timestamp, Title, Zone};
use domain::tenancy::{Tenant, TenantEvent};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Folded, ReadModel, Sources};
use crate::key;

/// Store of a tenant: a place of sale with its own stock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Store {
    /// Id of the store.
    pub store: StoreId,
    /// Name of the store; the first store has the name of the tenant.
    pub name: Title,
    /// Time zone of its business days.
    pub zone: Zone,
    /// Time at which the store was opened.
    pub opened_at: Timestamp,
}

impl ReadModel for Store {
    const NEEDS: Permission = Permission::SeeTenants;
    const KEY: &'static [&'static str] = &["store"];
    const INDEXED: &'static [&'static str] = &["name"];
    const PUBLIC: &'static [&'static str] = &["store", "name", "zone"];

    fn sources(from: &mut Sources<Self>) {
        from.stream::<Tenant>(
            |event| match event.event {
                TenantEvent::Opened { store, .. } | TenantEvent::StoreOpened { store, .. } => Some(key![store]),
                TenantEvent::CurrenciesSet { .. }
                | TenantEvent::Restricted { .. }
                | TenantEvent::Suspended { .. }
                | TenantEvent::Reinstated { .. }
                | TenantEvent::Closed { .. } => None,
            },
            Self::on_tenant,
        );
    }
}

impl Store {
    fn on_tenant(row: Option<Self>, event: &Recorded<TenantEvent>) -> Folded<Self> {
        match &event.event {
            TenantEvent::Opened { store, name, zone, .. } | TenantEvent::StoreOpened { store, name, zone } => {
                let (name, zone) = (name.clone(), zone.clone());
                Ok(Some(Self { store: *store, name, zone, opened_at: event.occurred_at }))
            }
            TenantEvent::CurrenciesSet { .. }
            | TenantEvent::Restricted { .. }
            | TenantEvent::Suspended { .. }
            | TenantEvent::Reinstated { .. }
            | TenantEvent::Closed { .. } => Ok(row),
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::shared::TenantId;
    use uuid::Uuid;

    use super::*;
    use crate::testing::Story;

    #[test]
    fn opening_a_tenant_makes_its_first_store() {
        let (first, second) = (StoreId::new(Uuid::from_u128(1)), StoreId::new(Uuid::from_u128(2)));
        let zone: Zone = "Europe/Berlin".parse().expect("a zone");
        let opened = TenantEvent::Opened {
            name: "Shop".parse().expect("a name"),
            subdomain: "shop".parse().expect("a subdomain"),
            currency: "EUR".parse().expect("a currency"),
            zone: zone.clone(),
            store: first,
        };
        let tenant = TenantId::new(Uuid::from_u128(9));
        let more = TenantEvent::StoreOpened { store: second, name: "Annex".parse().expect("a name"), zone };
        let story = Story::new().then::<Tenant>(tenant, opened).then::<Tenant>(tenant, more);
        let names: Vec<_> = story.rows::<Store>().iter().map(|row| row.name.to_string()).collect();
        assert_eq!(names, ["Shop", "Annex"]);
    }
}
