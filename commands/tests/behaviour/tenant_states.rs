//! States of a tenant: each allows some commands and rejects all others (TEN-22).

use commands::kernel::{AnyCommand, CommandDescriptor, Commands, Refusal, TenantStates};
use commands::tenancy::{
    CloseTenant, FollowClosure, FollowRestriction, FollowSuspension, ReinstateTenant, RestrictTenant,
};
use domain::kernel::Actor;
use domain::shared::{Principal, TenantId};
use domain::tenancy::{Tenant, TenantState};
use serde_json::Value;
use uuid::Uuid;

use crate::schemas::samples::smallest;
use crate::shop::{MUG, Seal, Shop, TENANT, it, rejected};

/// A command with the smallest body.
fn sample(kind: &CommandDescriptor) -> Box<dyn AnyCommand> {
    let body = Value::from(smallest(kind)).to_string();
    let mut command = kind.parse(&body).unwrap_or_else(|misuse| panic!("{}: {misuse:?}", kind.name));
    command.seal(&mut Seal).expect("a parsed command is not sealed yet");
    command
}

/// A shop whose tenant is in this state; `None` is a tenant that is not open.
fn shop_in(state: Option<TenantState>) -> Shop {
    let Some(state) = state else { return Shop::empty() };
    let mut shop = Shop::opened();
    let reason = || it("fraud");
    let follow = match state {
        TenantState::Active => return shop,
        TenantState::Restricted => shop.send_as_engine(FollowRestriction { reason: reason(), decision: 9 }),
        TenantState::Suspended => shop.send_as_engine(FollowSuspension { reason: reason(), decision: 9 }),
        TenantState::Closed => shop.send_as_engine(FollowClosure { reason: reason(), decision: 9 }),
    };
    assert_eq!(follow.map(|events| events.len()), Ok(1));
    shop
}

fn code_of(state: Option<TenantState>) -> &'static str {
    match state {
        None => "TENANT_NOT_OPEN",
        Some(TenantState::Active) => "",
        Some(TenantState::Restricted) => "TENANT_RESTRICTED",
        Some(TenantState::Suspended) => "TENANT_SUSPENDED",
        Some(TenantState::Closed) => "TENANT_CLOSED",
    }
}

#[test]
fn every_command_is_rejected_for_the_state_of_its_tenant_exactly_outside_its_states() {
    let states = TenantState::ALL.map(Some);
    let commands = Commands::all();
    for state in [None].into_iter().chain(states) {
        let mut shop = shop_in(state);
        for kind in commands.iter() {
            let answer = shop.send_parsed(sample(kind).as_ref());
            if answer.is_ok() {
                shop = shop_in(state);
            }
            let is_rejected = matches!(&answer, Err(Refusal::Rejected(no)) if no.code == code_of(state));
            assert_eq!(is_rejected, !kind.states.contains(state), "{} in {state:?}: {answer:?}", kind.name);
        }
    }
}

#[test]
fn each_set_of_states_contains_the_commands_that_its_name_promises() {
    let commands = Commands::all();
    let of = |states| commands.iter().filter(move |kind| kind.states == states).map(|kind| kind.name.as_str());
    let any: Vec<_> = of(TenantStates::ANY).collect();
    let platform = [
        "CloseTenant",
        "FollowClosure",
        "FollowReinstatement",
        "FollowRestriction",
        "FollowSuspension",
        "LiftRestriction",
        "OpenTenant",
        "RegisterTenant",
        "ReinstateTenant",
        "RestrictProduct",
        "RestrictTenant",
        "SuspendTenant",
    ];
    assert_eq!(any, platform);
    let states_of = |name: &str| commands.get(name).expect("a command").states;
    for (states, names) in [
        (TenantStates::ACTIVE, ["CreateProduct", "ScheduleFlashSale", "OpenStore", "AddReward"]),
        (TenantStates::SELLING, ["PlaceOrder", "RegisterCustomer", "RedeemReward", "ReserveStock"]),
        (TenantStates::OPERATING, ["AcceptOrder", "MarkInTransit", "ReceiveStock", "CountStock"]),
        (TenantStates::OPENED, ["CancelOrder", "RecordRefund", "ExpireOrder", "UnpublishProduct"]),
    ] {
        for name in names {
            assert_eq!(states_of(name), states, "{name}");
        }
    }
}

#[test]
fn restricted_tenant_sells_and_a_closed_one_only_gives_back() {
    let mut shop = Shop::stocked();
    let operator = || Actor::Operator(Principal::new(Uuid::from_u128(99)));
    shop.paid(1, [(MUG, 1)]);
    let restrict = RestrictTenant { tenant: TENANT, reason: it("reports") };
    shop.send_as(operator(), TenantId::PLATFORM, restrict).expect("a restriction");
    shop.place(2, [(MUG, 1)]).expect("an order");
    let publish = commands::catalogue::PublishProduct { product: crate::shop::product(MUG) };
    assert_eq!(shop.refused(publish).code, "TENANT_RESTRICTED");
    shop.send_as(operator(), TenantId::PLATFORM, ReinstateTenant { tenant: TENANT }).expect("a reinstatement");
    let close = CloseTenant { tenant: TENANT, reason: it("the contract has ended") };
    shop.send_as(operator(), TenantId::PLATFORM, close).expect("a closure");
    assert_eq!(shop.state::<Tenant>(TENANT).state(), Some(TenantState::Closed));
    assert_eq!(rejected(shop.place(3, [(MUG, 1)])).code, "TENANT_CLOSED");
    let accept = commands::orders::AcceptOrder { order: crate::shop::order(1) };
    assert_eq!(shop.refused(accept).code, "TENANT_CLOSED");
    let refund = commands::orders::RecordRefund {
        order: crate::shop::order(1),
        amount: crate::shop::usd(900),
        reference: it("refund"),
    };
    assert_eq!(shop.done(refund), ["order.refunded"]);
    // The order that was not paid expires after the closure, and its stock is free again.
    shop.pass(15 * 60 + 1);
    assert_eq!((shop.count("order.cancelled"), shop.engine_rejections.len()), (1, 0));
    let reinstate = shop.send_as(operator(), TenantId::PLATFORM, ReinstateTenant { tenant: TENANT });
    assert_eq!(rejected(reinstate).code, "CLOSED_FOR_GOOD");
}
