//! An organisation that runs shops here, in its own lane (TEN-01, TEN-22).
//!
//! Invariants: a tenant has one currency for ever and at least one store; a suspended tenant takes no new orders, but
//! finishes those it has; of the platform's decisions to suspend or reinstate it, the newest counts.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Aggregate, Decision, Rejection, Retry};
use crate::shared::{Currency, Date, Fingerprint, Reason, Slug, StoreId, TenantId, Timestamp, Title, Zone};

/// Stores live in the state of their tenant; so many of them keep it small.
pub const STORES_MOST: usize = 100;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Tenant {
    opened: Option<Opened>,
    stores: BTreeMap<StoreId, Store>,
    suspended: bool,
    /// The newest decision of the platform that was followed.
    followed: i64,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Opened {
    currency: Currency,
    /// All that was said when it was opened.
    as_told: Fingerprint,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Store {
    name: Fingerprint,
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
    /// The tenant takes no orders for now; `decision` is the number of what the platform decided.
    #[serde(rename = "tenant.suspended")]
    Suspended { reason: Reason, decision: i64 },
    /// The tenant takes orders again.
    #[serde(rename = "tenant.reinstated")]
    Reinstated { decision: i64 },
}

/// Why a tenant could not do something.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema, thiserror::Error)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TenantRejection {
    #[error("this tenant is not open")]
    TenantNotOpen {},
    #[error("this tenant takes no orders at present")]
    TenantSuspended {},
    #[error("this tenant is open already, with other data")]
    TenantExists {},
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
            Self::TenantExists {} | Self::StoreExists { .. } | Self::OtherCurrency { .. } => Retry::Never,
            _ => Retry::NewId,
        }
    }
}

impl Tenant {
    /// The store that every tenant has from the beginning.
    pub fn first_store(tenant: TenantId) -> StoreId {
        StoreId::derived(tenant.uuid(), "default")
    }

    /// Opens the tenant with its first store. Doing so again with the same data changes nothing.
    pub fn open(&self, name: Title, subdomain: Slug, currency: Currency, zone: Zone, store: StoreId) -> Decision<Self> {
        let event = TenantEvent::Opened { name, subdomain, currency, zone, store };
        match self.opened {
            None => Ok(vec![event]),
            Some(known) if known.as_told == Fingerprint::of(&event) => Ok(vec![]),
            Some(_) => Err(TenantRejection::TenantExists {}),
        }
    }

    /// Opens one more store.
    pub fn open_store(&self, store: StoreId, name: Title, zone: Zone) -> Decision<Self> {
        self.currency()?;
        match self.stores.get(&store) {
            Some(known) if known.name == Fingerprint::of(&name) && known.zone == zone => Ok(vec![]),
            Some(_) => Err(TenantRejection::StoreExists { store }),
            None if self.stores.len() >= STORES_MOST => Err(TenantRejection::TooManyStores { most: STORES_MOST }),
            None => Ok(vec![TenantEvent::StoreOpened { store, name, zone }]),
        }
    }

    /// Stops new orders, also before the tenant is open. What the platform decided earlier than what was followed
    /// last comes too late.
    pub fn suspend(&self, reason: Reason, decision: i64) -> Decision<Self> {
        match decision > self.followed {
            true => Ok(vec![TenantEvent::Suspended { reason, decision }]),
            false => Ok(vec![]),
        }
    }

    /// Lets orders in again; see [`suspend`](Self::suspend).
    pub fn reinstate(&self, decision: i64) -> Decision<Self> {
        match decision > self.followed {
            true => Ok(vec![TenantEvent::Reinstated { decision }]),
            false => Ok(vec![]),
        }
    }

    /// The currency of all its prices.
    pub fn currency(&self) -> Result<Currency, TenantRejection> {
        self.opened.map(|opened| opened.currency).ok_or(TenantRejection::TenantNotOpen {})
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
        match event {
            TenantEvent::Opened { name, currency, zone, store, .. } => {
                self.opened = Some(Opened { currency: *currency, as_told: Fingerprint::of(event) });
                self.stores.insert(*store, Store { name: Fingerprint::of(name), zone: zone.clone() });
            }
            TenantEvent::StoreOpened { store, name, zone } => {
                self.stores.insert(*store, Store { name: Fingerprint::of(name), zone: zone.clone() });
            }
            TenantEvent::Suspended { decision, .. } => (self.suspended, self.followed) = (true, *decision),
            TenantEvent::Reinstated { decision } => (self.suspended, self.followed) = (false, *decision),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::values::{eur, id, parsed, usd};
    use crate::testing::{Given, given};

    fn name() -> Title {
        parsed("Ada's Mugs")
    }

    fn store(number: u128) -> StoreId {
        StoreId::new(id(number))
    }

    fn reason() -> Reason {
        parsed("fraud")
    }

    fn open() -> Given<Tenant> {
        let subdomain: Slug = parsed("adas-mugs");
        let again = subdomain.clone();
        given([])
            .when(move |tenant: &Tenant| tenant.open(name(), again.clone(), usd(), parsed("Europe/Berlin"), store(1)))
            .then_once([TenantEvent::Opened {
                name: name(),
                subdomain,
                currency: usd(),
                zone: parsed("Europe/Berlin"),
                store: store(1),
            }])
    }

    #[test]
    fn a_tenant_that_is_not_open_does_nothing() {
        let not_open = TenantRejection::TenantNotOpen {};
        given([])
            .when(|tenant: &Tenant| tenant.open_store(store(2), name(), parsed("UTC")))
            .then_rejected(not_open.clone());
        given([]).holds(|tenant: &Tenant| tenant.taking_orders() == Err(not_open.clone()));
    }

    #[test]
    fn a_tenant_is_opened_once() {
        let open_as = |tenant: &Tenant, subdomain: &str, currency: Currency, zone: Zone, store: StoreId| {
            tenant.open(name(), parsed(subdomain), currency, zone, store)
        };
        let berlin = || parsed("Europe/Berlin");
        open().when(|tenant| open_as(tenant, "adas-mugs", usd(), berlin(), store(1))).then_nothing();
        open()
            .when(|tenant| open_as(tenant, "bens-mugs", usd(), berlin(), store(1)))
            .then_rejected(TenantRejection::TenantExists {});
        open()
            .when(|tenant| open_as(tenant, "adas-mugs", eur(), berlin(), store(1)))
            .then_rejected(TenantRejection::TenantExists {});
        open()
            .when(|tenant| open_as(tenant, "adas-mugs", usd(), parsed("UTC"), store(1)))
            .then_rejected(TenantRejection::TenantExists {});
    }

    #[test]
    fn every_store_has_its_own_zone() {
        open()
            .when(|tenant| tenant.open_store(store(2), name(), parsed("Asia/Tokyo")))
            .then_once([TenantEvent::StoreOpened { store: store(2), name: name(), zone: parsed("Asia/Tokyo") }])
            .holds(|tenant| {
                tenant.zone_of(store(1)) == Ok(&parsed::<Zone>("Europe/Berlin"))
                    && tenant.zone_of(store(2)) == Ok(&parsed::<Zone>("Asia/Tokyo"))
                    && tenant.zone_of(store(3)) == Err(TenantRejection::StoreUnknown { store: store(3) })
            });
    }

    #[test]
    fn a_business_day_follows_the_zone_of_its_store() {
        let late = parsed("2026-11-20T23:30:00Z");
        open().holds(|tenant| tenant.day_at(store(1), late).map(|day| day.to_string()) == Ok("2026-11-21".into()));
    }

    #[test]
    fn all_prices_are_in_one_currency() {
        let (expected, found) = (usd(), eur());
        open().holds(|tenant| {
            tenant.require_currency(usd()) == Ok(())
                && tenant.require_currency(found) == Err(TenantRejection::OtherCurrency { expected, found })
        });
    }

    #[test]
    fn a_store_is_opened_once() {
        open()
            .when(|tenant| tenant.open_store(store(1), name(), parsed("Asia/Tokyo")))
            .then_rejected(TenantRejection::StoreExists { store: store(1) });
    }

    #[test]
    fn the_number_of_stores_is_limited_and_the_state_stays_small_with_the_longest_names() {
        let mut tenant = open().into_state();
        let longest: Title = "🏬".repeat(200).parse().expect("a name");
        for number in 2..=100 {
            let zone = parsed("America/Argentina/Buenos_Aires");
            tenant.apply(&TenantEvent::StoreOpened { store: store(number), name: longest.clone(), zone });
        }
        assert_eq!(
            tenant.open_store(store(101), name(), parsed("UTC")),
            Err(TenantRejection::TooManyStores { most: STORES_MOST })
        );
        assert!(serde_json::to_string(&tenant).expect("JSON").len() < 64 * 1024);
    }

    #[test]
    fn a_suspended_tenant_takes_no_orders_until_it_is_reinstated() {
        open()
            .when(|tenant| tenant.suspend(reason(), 2))
            .then_once([TenantEvent::Suspended { reason: reason(), decision: 2 }])
            .when(|tenant| tenant.taking_orders().map(|()| vec![]))
            .then_rejected(TenantRejection::TenantSuspended {});
        open()
            .when(|tenant| tenant.suspend(reason(), 2))
            .then([TenantEvent::Suspended { reason: reason(), decision: 2 }])
            .when(|tenant| tenant.reinstate(3))
            .then_once([TenantEvent::Reinstated { decision: 3 }])
            .holds(|tenant| tenant.taking_orders() == Ok(()));
    }

    #[test]
    fn the_newest_decision_of_the_platform_counts_whichever_comes_first() {
        let (reinstated, suspended) =
            (TenantEvent::Reinstated { decision: 3 }, TenantEvent::Suspended { reason: reason(), decision: 4 });
        open()
            .when(|tenant| tenant.reinstate(3))
            .then_once([reinstated])
            .when(|tenant| tenant.suspend(reason(), 2))
            .then_nothing();
        open()
            .when(|tenant| tenant.suspend(reason(), 4))
            .then_once([suspended.clone()])
            .when(|tenant| tenant.reinstate(3))
            .then_nothing();
        given([suspended])
            .when(|tenant: &Tenant| tenant.open(name(), parsed("adas-mugs"), usd(), parsed("UTC"), store(1)))
            .then_once([TenantEvent::Opened {
                name: name(),
                subdomain: parsed("adas-mugs"),
                currency: usd(),
                zone: parsed("UTC"),
                store: store(1),
            }])
            .holds(|tenant| tenant.taking_orders() == Err(TenantRejection::TenantSuspended {}));
    }
}
