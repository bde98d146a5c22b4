//! Workload: the commands and events that all contenders write, equal in content, with new ids each time.

use std::cell::Cell;

use anyhow::Result;
use commands::catalogue::CreateProduct;
use commands::customers::RegisterCustomer;
use commands::inventory::AdjustStock;
use commands::kernel::AnyCommand;
use commands::scribe::Envelope;
use domain::inventory::StockItem;
use domain::kernel::Actor;
use domain::shared::{
    CommandId, CustomerId, Money, PersonName, Personal, Price, Principal, ProductId, Reason, Sealed, StockItemId,
    StoreId, TenantId, UnitChange, Zone,
};
use domain::tenancy::Tenant;
use platform::clock::{new_id, now};
use uuid::Uuid;

/// Number of tenants over which a run spreads its commands.
const TENANTS: usize = 20;
/// Length of a sealed name, with which the event of a new customer has about 200 bytes.
const NAME_BYTES: usize = 140;

thread_local! {
    /// Counter for ids. Each thread has its own with a random start, so that generating ids causes no contention.
    static NUMBER: Cell<u64> = Cell::new(new_id().as_u64_pair().1);
}

/// Tenants, ids and field values of one run.
pub(super) struct Workload {
    pub(super) tenants: Vec<TenantId>,
    /// First store of each tenant.
    stores: Vec<StoreId>,
    pub(super) principal: Principal,
    pub(super) customer: CustomerId,
    pub(super) product: ProductId,
    /// Stock item of the benchmark with one hot stream.
    pub(super) hot_item: StockItemId,
    pub(super) zone: Zone,
    price: Price,
    name: Personal<PersonName>,
    change: UnitChange,
    reason: Reason,
}

impl Workload {
    pub(super) fn new() -> Result<Self> {
        let price = Money { minor: 4_990, currency: "USD".parse()? };
        let reason = "the night shift found a crate behind the third rack from the left, counted it twice and told the \
                      morning shift";
        let tenants: Vec<_> = (0..TENANTS).map(|_| TenantId::new(new_id())).collect();
        let product = ProductId::new(new_id());
        let hot_item = StockItem::id(product, Tenant::first_store(tenants[0]));
        Ok(Self {
            stores: tenants.iter().map(|tenant| Tenant::first_store(*tenant)).collect(),
            tenants,
            principal: Principal::new(new_id()),
            customer: CustomerId::new(new_id()),
            product,
            hot_item,
            zone: "Europe/Berlin".parse()?,
            price: Price::try_from(price)?,
            name: Personal::Sealed(Sealed::new(&"c".repeat(NAME_BYTES), None)),
            change: UnitChange::try_from(1)?,
            reason: reason.parse()?,
        })
    }

    /// Generates a UUIDv7. In production callers generate ids on their own machines, so the cost must be negligible
    /// here.
    pub(super) fn id() -> Uuid {
        let number = NUMBER.replace(NUMBER.get().wrapping_add(1));
        let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let mut bits = [0; 10];
        bits[2..].copy_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes());
        bits[..2].copy_from_slice(&number.to_le_bytes()[..2]);
        let ms = u64::try_from(now().micros().div_euclid(1_000)).unwrap_or_default();
        uuid::Builder::from_unix_timestamp_millis(ms, &bits).into_uuid()
    }

    /// Tenant of a client, round robin.
    pub(super) fn tenant(&self, client: usize) -> TenantId {
        self.tenants[client % self.tenants.len()]
    }

    /// First store of the tenant of a client.
    pub(super) fn store(&self, client: usize) -> StoreId {
        self.stores[client % self.stores.len()]
    }

    /// Registration of a new customer; its event has about 200 bytes.
    pub(super) fn register_customer(&self) -> RegisterCustomer {
        let customer = CustomerId::new(Self::id());
        RegisterCustomer { customer, name: self.name.clone(), email: None, phone: None }
    }

    /// Sealed name of a customer.
    pub(super) fn name(&self) -> Personal<PersonName> {
        self.name.clone()
    }

    /// Creation of the product of the hot stock item.
    pub(super) fn create_product(&self) -> Result<CreateProduct> {
        let (product, price) = (self.product, self.price);
        Ok(CreateProduct { product, name: "Mug".parse()?, sku: "MUG".parse()?, price, description: None })
    }

    /// Adjustment of the hot stock item by one unit; its event has about 150 bytes.
    pub(super) fn adjust(&self) -> AdjustStock {
        AdjustStock { item: self.hot_item, change: self.change, reason: self.reason.clone(), force: false }
    }

    /// Envelope of a command, as the API submits it to the scribe.
    pub(super) fn envelope(&self, command: impl AnyCommand + 'static) -> Envelope {
        self.envelope_of(Box::new(command))
    }

    /// Envelope of a command whose type is known to the registry only.
    pub(super) fn envelope_of(&self, command: Box<dyn AnyCommand>) -> Envelope {
        let id = Self::id();
        Envelope {
            id: CommandId::new(id),
            command,
            fingerprint: fingerprint(id).into(),
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

/// Fingerprint of the length of a real one.
pub(super) fn fingerprint(id: Uuid) -> String {
    let mut buffer = Uuid::encode_buffer();
    format!("1.{}", &id.simple().encode_lower(&mut buffer)[..22])
}
