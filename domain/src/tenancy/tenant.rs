//! Tenant: an organisation that runs its shop here (TEN-01, TEN-21, TEN-22).
//!
//! Invariants: an open tenant has one currency of its own for ever, others as it likes, and at least one store; of the
//! platform's decisions about its state, the one with the highest number is in force. The kernel of commands compares the
//! state with that of each command.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{TenantState, TenantStates};
use crate::kernel::{Aggregate, Decision, Rejection, Retry};
use crate::shared::{Currency, Date, Fingerprint, Reason, Slug, StoreId, TenantId, Timestamp, Title, Zone};

/// Largest number of stores per tenant. Stores are part of the state of the tenant, so the limit bounds its size.
pub const STORES_MOST: usize = 100;
/// Largest number of currencies beside the tenant's own.
pub const CURRENCIES_MOST: usize = 20;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Tenant {
    opened: Option<Opened>,
    stores: BTreeMap<StoreId, Store>,
    /// Currencies in which the tenant sells beside its own.
    #[serde(default)]
    other_currencies: Vec<Currency>,
    /// State that the platform ordered last, also before the opening.
    state: TenantState,
    /// Highest number of a decision of the platform that was applied.
    #[serde(rename = "followed")]
    last_decision: i64,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Opened {
    currency: Currency,
    /// Digest of the opening event, to recognise a repeat.
    #[serde(rename = "as_told")]
    opening: Fingerprint,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Store {
    name: Fingerprint,
    zone: Zone,
}

/// Stored format: names and fields of events are never renamed or removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum TenantEvent {
    /// The tenant was opened, with a first store of the tenant's name.
    #[serde(rename = "tenant.opened")]
    Opened { name: Title, subdomain: Slug, currency: Currency, zone: Zone, store: StoreId },
    /// The tenant opened another store.
    #[serde(rename = "tenant.store_opened")]
    StoreOpened { store: StoreId, name: Title, zone: Zone },
    /// The tenant sells in these currencies beside its own.
    #[serde(rename = "tenant.currencies_set")]
    CurrenciesSet { currencies: Vec<Currency> },
    /// The tenant offers nothing new; `decision` is the number of the platform's decision.
    #[serde(rename = "tenant.restricted")]
    Restricted { reason: Reason, decision: i64 },
    /// The tenant accepts no new orders; `decision` is the number of the platform's decision.
    #[serde(rename = "tenant.suspended")]
    Suspended { reason: Reason, decision: i64 },
    /// A restriction or suspension of the tenant has ended.
    #[serde(rename = "tenant.reinstated")]
    Reinstated { decision: i64 },
    /// The tenant has ended for good.
    #[serde(rename = "tenant.closed")]
    Closed { reason: Reason, decision: i64 },
}

/// Rejections of a tenant.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema, thiserror::Error)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TenantRejection {
    #[error("this tenant is not open")]
    TenantNotOpen {},
    #[error("this tenant offers nothing new at present")]
    TenantRestricted {},
    #[error("this tenant takes no orders at present")]
    TenantSuspended {},
    #[error("this tenant is closed")]
    TenantClosed {},
    #[error("this tenant is open already, with other data")]
    TenantExists {},
    #[error("prices of this tenant are in {expected} or another currency that it set, not in {found}")]
    OtherCurrency { expected: Currency, found: Currency },
    #[error("this tenant has no such store")]
    StoreUnknown { store: StoreId },
    #[error("this store is open already, with another name or zone")]
    StoreExists { store: StoreId },
    #[error("a tenant has at most {most} stores")]
    TooManyStores { most: usize },
    #[error("a tenant sells in at most {most} currencies beside its own")]
    TooManyCurrencies { most: usize },
}

impl Rejection for TenantRejection {
    fn retry(&self) -> Retry {
        match self {
            // A tenant is opened shortly after its registration.
            Self::TenantNotOpen {} => Retry::SameId,
            Self::TenantClosed {}
            | Self::TenantExists {}
            | Self::StoreExists { .. }
            // Stores are never closed.
            | Self::TooManyStores { .. } => Retry::Never,
            _ => Retry::NewId,
        }
    }
}

impl Tenant {
    /// Id of the store with which every tenant is opened.
    pub fn first_store(tenant: TenantId) -> StoreId {
        StoreId::derived(tenant.uuid(), "default")
    }

    /// Opens the tenant with its first store. A repeat with the same data changes nothing.
    pub fn open(&self, name: Title, subdomain: Slug, currency: Currency, zone: Zone, store: StoreId) -> Decision<Self> {
        let event = TenantEvent::Opened { name, subdomain, currency, zone, store };
        match self.opened {
            None => Ok(vec![event]),
            Some(known) if known.opening == Fingerprint::of(&event) => Ok(vec![]),
            Some(_) => Err(TenantRejection::TenantExists {}),
        }
    }

    /// Opens another store.
    pub fn open_store(&self, store: StoreId, name: Title, zone: Zone) -> Decision<Self> {
        match self.stores.get(&store) {
            Some(known) if known.name == Fingerprint::of(&name) && known.zone == zone => Ok(vec![]),
            Some(_) => Err(TenantRejection::StoreExists { store }),
            None if self.stores.len() >= STORES_MOST => Err(TenantRejection::TooManyStores { most: STORES_MOST }),
            None => Ok(vec![TenantEvent::StoreOpened { store, name, zone }]),
        }
    }

    /// Sets the currencies in which the tenant sells beside its own. Orders that exist keep theirs.
    pub fn set_currencies(&self, currencies: impl IntoIterator<Item = Currency>) -> Decision<Self> {
        let own = self.currency()?;
        let mut others: Vec<Currency> = Vec::new();
        for currency in currencies {
            if currency != own && !others.contains(&currency) {
                others.push(currency);
            }
        }
        if others.len() > CURRENCIES_MOST {
            return Err(TenantRejection::TooManyCurrencies { most: CURRENCIES_MOST });
        }
        match others == self.other_currencies {
            true => Ok(vec![]),
            false => Ok(vec![TenantEvent::CurrenciesSet { currencies: others }]),
        }
    }

    /// Stops new offers, even before the tenant is open. A decision is ignored unless its number is above that of the
    /// last applied one: decisions may arrive twice and out of order.
    pub fn restrict(&self, reason: Reason, decision: i64) -> Decision<Self> {
        Ok(self.follow(decision, TenantEvent::Restricted { reason, decision }))
    }

    /// Stops new orders. Ignores decisions as [`restrict`](Self::restrict) does.
    pub fn suspend(&self, reason: Reason, decision: i64) -> Decision<Self> {
        Ok(self.follow(decision, TenantEvent::Suspended { reason, decision }))
    }

    /// Accepts new orders and offers again. Ignores decisions as [`restrict`](Self::restrict) does.
    pub fn reinstate(&self, decision: i64) -> Decision<Self> {
        Ok(self.follow(decision, TenantEvent::Reinstated { decision }))
    }

    /// Ends the tenant for good. Ignores decisions as [`restrict`](Self::restrict) does.
    pub fn close(&self, reason: Reason, decision: i64) -> Decision<Self> {
        Ok(self.follow(decision, TenantEvent::Closed { reason, decision }))
    }

    fn follow(&self, decision: i64, event: TenantEvent) -> Vec<TenantEvent> {
        if decision > self.last_decision { vec![event] } else { vec![] }
    }

    /// State of the tenant; `None` before it is open.
    pub fn state(&self) -> Option<TenantState> {
        self.opened.map(|_| self.state)
    }

    /// Rejects unless the tenant is in one of these states.
    pub fn require(&self, states: TenantStates) -> Result<(), TenantRejection> {
        let state = self.state();
        match state {
            _ if states.contains(state) => Ok(()),
            None => Err(TenantRejection::TenantNotOpen {}),
            Some(TenantState::Active) => Ok(()),
            Some(TenantState::Restricted) => Err(TenantRejection::TenantRestricted {}),
            Some(TenantState::Suspended) => Err(TenantRejection::TenantSuspended {}),
            Some(TenantState::Closed) => Err(TenantRejection::TenantClosed {}),
        }
    }

    /// The tenant's own currency, in which points, tiers and rewards count.
    pub fn currency(&self) -> Result<Currency, TenantRejection> {
        self.opened.map(|opened| opened.currency).ok_or(TenantRejection::TenantNotOpen {})
    }

    /// Rejects a currency in which the tenant does not sell.
    pub fn require_currency(&self, found: Currency) -> Result<(), TenantRejection> {
        if self.other_currencies.contains(&found) { Ok(()) } else { self.require_own_currency(found) }
    }

    /// Rejects a currency other than the tenant's own.
    pub fn require_own_currency(&self, found: Currency) -> Result<(), TenantRejection> {
        let expected = self.currency()?;
        if found == expected { Ok(()) } else { Err(TenantRejection::OtherCurrency { expected, found }) }
    }

    /// Business day of an instant at a store.
    pub fn day_at(&self, store: StoreId, instant: Timestamp) -> Result<Date, TenantRejection> {
        self.zone_of(store).map(|zone| instant.date_in(zone))
    }

    /// Time zone of a store's business days.
    pub fn zone_of(&self, store: StoreId) -> Result<&Zone, TenantRejection> {
        self.stores.get(&store).map(|store| &store.zone).ok_or(TenantRejection::StoreUnknown { store })
    }
}

impl Aggregate for Tenant {
    const TYPE: &'static str = "Tenant";
    // Version 2: the state in place of a flag for suspension.
    const STATE_VERSION: i32 = 2;
    type Id = TenantId;
    type Event = TenantEvent;
    type Rejection = TenantRejection;

    fn apply(&mut self, event: &TenantEvent) {
        match event {
            TenantEvent::Opened { name, currency, zone, store, .. } => {
                self.opened = Some(Opened { currency: *currency, opening: Fingerprint::of(event) });
                self.stores.insert(*store, Store { name: Fingerprint::of(name), zone: zone.clone() });
            }
            TenantEvent::StoreOpened { store, name, zone } => {
                self.stores.insert(*store, Store { name: Fingerprint::of(name), zone: zone.clone() });
            }
            TenantEvent::CurrenciesSet { currencies } => self.other_currencies.clone_from(currencies),
            TenantEvent::Restricted { decision, .. } => {
                (self.state, self.last_decision) = (TenantState::Restricted, *decision);
            }
            TenantEvent::Suspended { decision, .. } => {
                (self.state, self.last_decision) = (TenantState::Suspended, *decision);
            }
            TenantEvent::Reinstated { decision } => {
                (self.state, self.last_decision) = (TenantState::Active, *decision);
            }
            TenantEvent::Closed { decision, .. } => (self.state, self.last_decision) = (TenantState::Closed, *decision),
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
    fn tenant_sells_in_its_own_currency_and_in_those_it_set() {
        let other = TenantRejection::OtherCurrency { expected: usd(), found: eur() };
        open().holds(|tenant| tenant.require_currency(eur()) == Err(other.clone()));
        open()
            .when(|tenant| tenant.set_currencies([usd(), eur(), eur()]))
            .then_once([TenantEvent::CurrenciesSet { currencies: vec![eur()] }])
            .holds(|tenant| {
                tenant.require_currency(eur()).is_ok() && tenant.require_own_currency(eur()) == Err(other.clone())
            });
        open()
            .when(|tenant| tenant.set_currencies(Currency::all().take(30)))
            .then_rejected(TenantRejection::TooManyCurrencies { most: CURRENCIES_MOST });
        given([])
            .when(|tenant: &Tenant| tenant.set_currencies([eur()]))
            .then_rejected(TenantRejection::TenantNotOpen {});
    }

    #[test]
    fn tenant_that_is_not_open_rejects_all_but_commands_for_any_state_until_it_is() {
        let not_open = TenantRejection::TenantNotOpen {};
        assert_eq!(not_open.retry(), Retry::SameId);
        given([]).holds(|tenant: &Tenant| {
            tenant.require(TenantStates::OPENED) == Err(not_open.clone()) && tenant.require(TenantStates::ANY) == Ok(())
        });
    }

    #[test]
    fn tenant_is_opened_once() {
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
    fn business_day_follows_the_zone_of_its_store() {
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
    fn store_is_opened_once() {
        open()
            .when(|tenant| tenant.open_store(store(1), name(), parsed("Asia/Tokyo")))
            .then_rejected(TenantRejection::StoreExists { store: store(1) });
    }

    #[test]
    fn number_of_stores_is_limited_and_the_state_stays_small_with_the_longest_names() {
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

    /// The open tenant after a verb that records this event and then changes nothing.
    fn after(event: TenantEvent, verb: impl Fn(&Tenant) -> Decision<Tenant>) -> Given<Tenant> {
        open().when(verb).then_once([event])
    }

    #[test]
    fn each_state_rejects_what_only_less_severe_states_allow() {
        let restricted = TenantEvent::Restricted { reason: reason(), decision: 2 };
        after(restricted, |tenant| tenant.restrict(reason(), 2)).holds(|tenant| {
            tenant.require(TenantStates::ACTIVE) == Err(TenantRejection::TenantRestricted {})
                && tenant.require(TenantStates::SELLING) == Ok(())
        });
        let suspended = TenantEvent::Suspended { reason: reason(), decision: 2 };
        after(suspended.clone(), |tenant| tenant.suspend(reason(), 2)).holds(|tenant| {
            tenant.require(TenantStates::SELLING) == Err(TenantRejection::TenantSuspended {})
                && tenant.require(TenantStates::OPERATING) == Ok(())
        });
        after(suspended, |tenant| tenant.suspend(reason(), 2))
            .when(|tenant| tenant.reinstate(3))
            .then_once([TenantEvent::Reinstated { decision: 3 }])
            .holds(|tenant| tenant.require(TenantStates::ACTIVE) == Ok(()));
        assert_eq!(TenantRejection::TenantClosed {}.retry(), Retry::Never);
        let closed = TenantEvent::Closed { reason: reason(), decision: 2 };
        after(closed, |tenant| tenant.close(reason(), 2)).holds(|tenant| {
            tenant.require(TenantStates::OPERATING) == Err(TenantRejection::TenantClosed {})
                && tenant.require(TenantStates::OPENED) == Ok(())
        });
    }

    #[test]
    fn decision_with_the_highest_number_is_in_force_in_any_order_of_arrival() {
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
            .holds(|tenant| tenant.state() == Some(TenantState::Suspended));
    }
}
