//! What the contenders write: the same facts, each time with fresh ids.

use anyhow::Result;
use commands::inventory::AdjustStock;
use commands::kernel::AnyCommand;
use commands::orders::ImportOrder;
use commands::scribe::Envelope;
use domain::kernel::Actor;
use domain::orders::Import;
use domain::shared::{
    CommandId, CustomerId, Money, OrderId, Price, Principal, ProductId, Reason, StockItemId, StoreId, TenantId, Text,
    Timestamp, UnitChange, Units, Zone,
};
use domain::tenancy::Tenant;
use uuid::Uuid;

use crate::scribe::{new_id, now};

/// Every run spreads its commands over so many tenants.
const TENANTS: usize = 20;

/// The people and things of one run.
pub(super) struct Facts {
    pub(super) tenants: Vec<TenantId>,
    pub(super) principal: Principal,
    pub(super) customer: CustomerId,
    pub(super) product: ProductId,
    pub(super) zone: Zone,
    total: Price,
    units: Units,
    source: Text<100>,
    change: UnitChange,
    reason: Reason,
    ordered_at: Timestamp,
}

impl Facts {
    pub(super) fn new() -> Result<Self> {
        let total = Money { minor: 4_990, currency: "USD".parse()? };
        let reason = "the night shift found a crate behind the third rack from the left, counted it twice and told the \
                      morning shift";
        Ok(Self {
            tenants: (0..TENANTS).map(|_| TenantId::new(new_id())).collect(),
            principal: Principal::new(new_id()),
            customer: CustomerId::new(new_id()),
            product: ProductId::new(new_id()),
            zone: "Europe/Berlin".parse()?,
            total: Price::try_from(total)?,
            units: Units::try_from(3)?,
            source: "webshop 4711".parse()?,
            change: UnitChange::try_from(1)?,
            reason: reason.parse()?,
            ordered_at: now(),
        })
    }

    /// Clients take turns on the tenants.
    pub(super) fn tenant(&self, client: usize) -> TenantId {
        self.tenants[client % self.tenants.len()]
    }

    /// Where the hot item lies.
    pub(super) fn store(&self) -> StoreId {
        Tenant::first_store(self.tenants[0])
    }

    /// The one item that everybody wants.
    pub(super) fn hot_item(&self) -> StockItemId {
        domain::inventory::StockItem::id(self.product, self.store())
    }

    /// A paid order of another shop system, about 200 bytes as an event.
    pub(super) fn import_order(&self, tenant: TenantId) -> ImportOrder {
        ImportOrder {
            order: OrderId::new(new_id()),
            customer: self.customer,
            store: Tenant::first_store(tenant),
            total: self.total,
            units: self.units,
            ordered_at: self.ordered_at,
            source: self.source.clone(),
        }
    }

    /// The same as a value for the aggregate alone.
    pub(super) fn import(&self, tenant: TenantId) -> Import {
        let (store, ordered_on) = (Tenant::first_store(tenant), self.ordered_at.date_in(&self.zone));
        let (customer, total, units, source) = (self.customer, self.total, self.units, self.source.clone());
        Import { customer, store, total, units, ordered_on, source }
    }

    /// One unit more of the hot item, about 150 bytes as an event.
    pub(super) fn adjust(&self) -> AdjustStock {
        AdjustStock { item: self.hot_item(), change: self.change, reason: self.reason.clone(), force: false }
    }

    /// A command as admission hands it to the scribe.
    pub(super) fn envelope(&self, command: impl AnyCommand + 'static) -> Envelope {
        let id = new_id();
        Envelope {
            id: CommandId::new(id),
            command: Box::new(command),
            fingerprint: fingerprint(id),
            principal: self.principal,
            actor: Actor::Member(self.principal),
            correlation: None,
            causation: None,
            deadline: None,
            id_is_new: false,
            person_keys: vec![],
        }
    }
}

/// As long as a real one.
pub(super) fn fingerprint(id: Uuid) -> String {
    format!("1:{}", id.simple())
}
