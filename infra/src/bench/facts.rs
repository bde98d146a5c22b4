//! What the contenders write: the same facts, with fresh ids.

use anyhow::Result;
use commands::kernel::AnyCommand;
use commands::scribe::Envelope;
use domain::kernel::Actor;
use domain::orders::Import;
use domain::shared::{CommandId, CustomerId, Money, OrderId, Price, Principal, StoreId, TenantId, Units};
use uuid::Uuid;

use crate::scribe::now;

/// Every run spreads its commands over so many tenants.
pub(super) const TENANTS: usize = 20;

/// A fresh UUIDv7.
pub(super) fn fresh_id() -> Uuid {
    let mut random = [0; 10];
    // A bench has no secrets: a system without random numbers only makes its ids follow the clock.
    getrandom::fill(&mut random).ok();
    let ms = u64::try_from(now().micros() / 1000).unwrap_or_default();
    uuid::Builder::from_unix_timestamp_millis(ms, &random).into_uuid()
}

/// The tenants of one run.
pub(super) fn tenants() -> Vec<TenantId> {
    (0..TENANTS).map(|_| TenantId::new(fresh_id())).collect()
}

/// A paid order of another shop system: about 200 bytes as an event.
pub(super) fn import() -> Result<Import> {
    let total = Money { minor: 4_990, currency: "USD".parse()? };
    Ok(Import {
        customer: CustomerId::new(fresh_id()),
        store: StoreId::new(fresh_id()),
        total: Price::try_from(total)?,
        units: Units::try_from(3)?,
        ordered_on: "2026-11-20".parse()?,
        source: "webshop 4711".parse()?,
    })
}

/// A fresh order.
pub(super) fn order() -> OrderId {
    OrderId::new(fresh_id())
}

/// A command as admission hands it to the scribe.
pub(super) fn envelope(command: impl AnyCommand + 'static, principal: Principal) -> Envelope {
    let id = fresh_id();
    Envelope {
        id: CommandId::new(id),
        command: Box::new(command),
        fingerprint: fingerprint(id),
        principal,
        actor: Actor::Member(principal),
        correlation: None,
        causation: None,
        deadline: None,
        id_is_new: false,
        person_keys: vec![],
    }
}

/// As long as a real one.
pub(super) fn fingerprint(id: Uuid) -> String {
    format!("1:{}", id.simple())
}
