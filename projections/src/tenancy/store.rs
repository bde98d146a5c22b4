//! The stores of a tenant (TEN-11, TEN-20).

use domain::kernel::Recorded;
use domain::shared::{Permission, StoreId, Timestamp, Title, Zone};
use domain::tenancy::{Tenant, TenantEvent};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Folded, ReadModel, Sources};
use crate::key;

/// A place of the tenant that sells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Store {
    /// The store.
    pub store: StoreId,
    /// What it is called; the first store bears the tenant's name.
    pub name: Title,
    /// The zone in which its business days begin and end.
    pub zone: Zone,
    /// When it was opened.
    pub opened_at: Timestamp,
}

impl ReadModel for Store {
    const NEEDS: Permission = Permission::SeeTenants;
    const KEY: &'static [&'static str] = &["store"];
    const INDEXED: &'static [&'static str] = &["name"];

    fn sources(from: &mut Sources<Self>) {
        from.stream::<Tenant>(
            |event| match event.event {
                TenantEvent::Opened { store, .. } | TenantEvent::StoreOpened { store, .. } => Some(key![store]),
                TenantEvent::Suspended { .. } | TenantEvent::Reinstated { .. } => None,
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
            TenantEvent::Suspended { .. } | TenantEvent::Reinstated { .. } => Ok(row),
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
    fn the_first_store_comes_with_the_tenant_and_others_follow() {
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
