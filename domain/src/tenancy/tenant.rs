//! An organisation that runs shops here, in its own lane (TEN-01, TEN-22).
//!
//! Invariants: a tenant has one currency for ever and at least one store; a suspended tenant takes no new orders, but
//! finishes those it has.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Aggregate, Decision, Rejection, Retry};
use crate::shared::{Currency, Date, Reason, Slug, StoreId, TenantId, Timestamp, Title, Zone};

/// Stores live in the state of their tenant; so many of them keep it small.
pub const STORES_MOST: usize = 100;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Tenant {
    currency: Option<Currency>,
    stores: BTreeMap<StoreId, Store>,
    suspended: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Store {
    name: Title,
    zone: Zone,
}

/// Names and fields are the stored format.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum TenantEvent {
    /// The tenant can work from now on; its first store bears its name.
    #[serde(rename = "tenant.opened")]
    Opened { name: Title, subdomain: Slug, currency: Currency, zone: Zone, store: StoreId },
    /// The tenant has one more store.
    #[serde(rename = "tenant.store_opened")]
    StoreOpened { store: StoreId, name: Title, zone: Zone },
    /// The tenant takes no orders for now.
    #[serde(rename = "tenant.suspended")]
    Suspended { reason: Reason },
    /// The tenant takes orders again.
    #[serde(rename = "tenant.reinstated")]
    Reinstated {},
}

/// Why a tenant could not do something.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema, thiserror::Error)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TenantRejection {
    #[error("this tenant is not open")]
    TenantNotOpen {},
    #[error("this tenant takes no orders at present")]
    TenantSuspended {},
    #[error("all prices of this tenant are in {expected}, not {found}")]
    OtherCurrency { expected: Currency, found: Currency },
    #[error("this tenant has no such store")]
    StoreUnknown { store: StoreId },
    #[error("this store is open already, with another name or zone")]
    StoreExists { store: StoreId },
    #[error("a tenant has at most {most} stores")]
    TooManyStores { most: usize },
}

impl Rejection for TenantRejection {
    fn retry(&self) -> Retry {
        match self {
            Self::StoreExists { .. } | Self::OtherCurrency { .. } => Retry::Never,
            _ => Retry::NewId,
        }
    }
}

impl Tenant {
    /// The store that every tenant has from the beginning.
    pub fn first_store(tenant: TenantId) -> StoreId {
        StoreId::derived(tenant.uuid(), "default")
    }

    /// Opens the tenant with its first store. Doing so again changes nothing.
    pub fn open(&self, name: Title, subdomain: Slug, currency: Currency, zone: Zone, store: StoreId) -> Decision<Self> {
        match self.currency {
            Some(_) => Ok(vec![]),
            None => Ok(vec![TenantEvent::Opened { name, subdomain, currency, zone, store }]),
        }
    }

    /// Opens one more store.
    pub fn open_store(&self, store: StoreId, name: Title, zone: Zone) -> Decision<Self> {
        self.currency()?;
        match self.stores.get(&store) {
            Some(known) if known.name == name && known.zone == zone => Ok(vec![]),
            Some(_) => Err(TenantRejection::StoreExists { store }),
            None if self.stores.len() >= STORES_MOST => Err(TenantRejection::TooManyStores { most: STORES_MOST }),
            None => Ok(vec![TenantEvent::StoreOpened { store, name, zone }]),
        }
    }

    /// Stops new orders. A suspended tenant stays suspended for its first reason.
    pub fn suspend(&self, reason: Reason) -> Decision<Self> {
        self.currency()?;
        match self.suspended {
            true => Ok(vec![]),
            false => Ok(vec![TenantEvent::Suspended { reason }]),
        }
    }

    pub fn reinstate(&self) -> Decision<Self> {
        self.currency()?;
        match self.suspended {
            true => Ok(vec![TenantEvent::Reinstated {}]),
            false => Ok(vec![]),
        }
    }

    /// The currency of all its prices.
    pub fn currency(&self) -> Result<Currency, TenantRejection> {
        self.currency.ok_or(TenantRejection::TenantNotOpen {})
    }

    /// Says no to an amount in another currency.
    pub fn require_currency(&self, found: Currency) -> Result<(), TenantRejection> {
        let expected = self.currency()?;
        if found == expected { Ok(()) } else { Err(TenantRejection::OtherCurrency { expected, found }) }
    }

    /// The business day of an instant at a store.
    pub fn day_at(&self, store: StoreId, instant: Timestamp) -> Result<Date, TenantRejection> {
        self.zone_of(store).map(|zone| instant.date_in(zone))
    }

    /// The zone in which a store's business days begin and end.
    pub fn zone_of(&self, store: StoreId) -> Result<&Zone, TenantRejection> {
        self.currency()?;
        self.stores.get(&store).map(|store| &store.zone).ok_or(TenantRejection::StoreUnknown { store })
    }

    /// Says no unless new orders are welcome.
    pub fn taking_orders(&self) -> Result<(), TenantRejection> {
        self.currency()?;
        if self.suspended { Err(TenantRejection::TenantSuspended {}) } else { Ok(()) }
    }
}

impl Aggregate for Tenant {
    const TYPE: &'static str = "Tenant";
    type Id = TenantId;
    type Event = TenantEvent;
    type Rejection = TenantRejection;

    fn apply(&mut self, event: &TenantEvent) {
        match event.clone() {
            TenantEvent::Opened { name, currency, zone, store, .. } => {
                self.currency = Some(currency);
                self.stores.insert(store, Store { name, zone });
            }
            TenantEvent::StoreOpened { store, name, zone } => {
                self.stores.insert(store, Store { name, zone });
            }
            TenantEvent::Suspended { .. } => self.suspended = true,
            TenantEvent::Reinstated {} => self.suspended = false,
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::testing::{Given, given};

    fn name() -> Title {
        "Ada's Mugs".parse().expect("a name")
    }

    fn zone(text: &str) -> Zone {
        text.parse().expect("a zone")
    }

    fn usd() -> Currency {
        "USD".parse().expect("a currency")
    }

    fn store(number: u128) -> StoreId {
        StoreId::new(Uuid::from_u128(number))
    }

    fn reason() -> Reason {
        "fraud".parse().expect("a reason")
    }

    fn open() -> Given<Tenant> {
        let subdomain: Slug = "adas-mugs".parse().expect("a subdomain");
        let again = subdomain.clone();
        given([])
            .when(move |tenant: &Tenant| tenant.open(name(), again.clone(), usd(), zone("Europe/Berlin"), store(1)))
            .then_once([TenantEvent::Opened {
                name: name(),
                subdomain,
                currency: usd(),
                zone: zone("Europe/Berlin"),
                store: store(1),
            }])
    }

    #[test]
    fn a_tenant_that_is_not_open_does_nothing() {
        let not_open = TenantRejection::TenantNotOpen {};
        given([]).when(|tenant: &Tenant| tenant.suspend(reason())).then_rejected(not_open.clone());
        given([]).holds(|tenant: &Tenant| tenant.taking_orders() == Err(not_open.clone()));
    }

    #[test]
    fn every_store_has_its_own_zone() {
        open()
            .when(|tenant| tenant.open_store(store(2), name(), zone("Asia/Tokyo")))
            .then_once([TenantEvent::StoreOpened { store: store(2), name: name(), zone: zone("Asia/Tokyo") }])
            .holds(|tenant| {
                tenant.zone_of(store(1)) == Ok(&zone("Europe/Berlin"))
                    && tenant.zone_of(store(2)) == Ok(&zone("Asia/Tokyo"))
                    && tenant.zone_of(store(3)) == Err(TenantRejection::StoreUnknown { store: store(3) })
            });
    }

    #[test]
    fn a_business_day_follows_the_zone_of_its_store() {
        let late = "2026-11-20T23:30:00Z".parse().expect("an instant");
        open().holds(|tenant| tenant.day_at(store(1), late).map(|day| day.to_string()) == Ok("2026-11-21".into()));
    }

    #[test]
    fn all_prices_are_in_one_currency() {
        let (expected, found) = (usd(), "EUR".parse().expect("a currency"));
        open().holds(|tenant| {
            tenant.require_currency(usd()) == Ok(())
                && tenant.require_currency(found) == Err(TenantRejection::OtherCurrency { expected, found })
        });
    }

    #[test]
    fn a_store_is_opened_once() {
        open()
            .when(|tenant| tenant.open_store(store(1), name(), zone("Asia/Tokyo")))
            .then_rejected(TenantRejection::StoreExists { store: store(1) });
    }

    #[test]
    fn the_number_of_stores_is_limited() {
        let mut tenant = open().into_state();
        for number in 2..=100 {
            tenant.apply(&TenantEvent::StoreOpened { store: store(number), name: name(), zone: zone("UTC") });
        }
        assert_eq!(
            tenant.open_store(store(101), name(), zone("UTC")),
            Err(TenantRejection::TooManyStores { most: STORES_MOST })
        );
    }

    #[test]
    fn a_suspended_tenant_takes_no_orders_until_it_is_reinstated() {
        open().when(Tenant::reinstate).then_nothing();
        open()
            .when(|tenant| tenant.suspend(reason()))
            .then_once([TenantEvent::Suspended { reason: reason() }])
            .when(|tenant| tenant.taking_orders().map(|()| vec![]))
            .then_rejected(TenantRejection::TenantSuspended {});
        open()
            .when(|tenant| tenant.suspend(reason()))
            .then([TenantEvent::Suspended { reason: reason() }])
            .when(Tenant::reinstate)
            .then_once([TenantEvent::Reinstated {}])
            .holds(|tenant| tenant.taking_orders() == Ok(()));
    }
}
