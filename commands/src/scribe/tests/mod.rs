//! The scribe against a store in memory that forgets, refuses and loses answers.

mod store;

use std::collections::BTreeSet;

use domain::inventory::StockItem;
use domain::shared::{ProductId, ReservationId, StockItemId, StoreId, TenantId};
use uuid::Uuid;

use super::*;
use crate::inventory::{OpenStockItem, ReceiveStock, ReserveStock};
use crate::kernel::{Misuse, NotNow};
use store::{Fate, World, accepted, envelope, id, poison};

const ONE: TenantId = TenantId::new(Uuid::from_u128(0x11));
const TWO: TenantId = TenantId::new(Uuid::from_u128(0x22));

fn item(number: u128) -> StockItemId {
    StockItem::id(ProductId::new(Uuid::from_u128(number + 1)), StoreId::new(Uuid::from_u128(9)))
}

fn open(number: u128) -> OpenStockItem {
    OpenStockItem { product: ProductId::new(Uuid::from_u128(number + 1)), store: StoreId::new(Uuid::from_u128(9)) }
}

fn receive(number: u128, units: i64) -> ReceiveStock {
    ReceiveStock { item: item(number), units: units.try_into().expect("a quantity") }
}

fn reserve(number: u128, buyer: u128) -> ReserveStock {
    let reservation = ReservationId::new(Uuid::from_u128(buyer + 1));
    ReserveStock { item: item(number), reservation, units: 1.try_into().expect("a quantity") }
}

/// A world in which an item of tenant one has so many units.
fn stocked(units: i64) -> World {
    let mut world = World::new(Limits::default());
    world.send(ONE, vec![envelope(id(1), open(1)), envelope(id(2), receive(1, units))]);
    world.run(|_| Fate::Written);
    world
}

#[test]
fn fifty_sends_of_one_id_have_one_effect_and_fifty_equal_answers() {
    let mut world = stocked(100);
    let before = world.events.len();
    let tickets: Vec<_> = (0..50).map(|_| world.send(ONE, vec![envelope(id(7), reserve(1, 1))])).collect();
    world.run(|_| Fate::Written);
    assert_eq!(world.events.len() - before, 1);
    let answers: Vec<_> = tickets.iter().map(|ticket| accepted(&world.answers[ticket][0])).collect();
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn an_id_with_another_body_is_refused_and_another_tenants_is_its_own() {
    let mut world = stocked(100);
    let other = world.send(ONE, vec![envelope(id(2), receive(1, 5))]);
    let elsewhere = world.send(TWO, vec![envelope(id(2), open(1))]);
    world.run(|_| Fate::Written);
    let Answer::Misuse(Misuse { code, .. }) = &world.answers[&other][0] else { panic!("not refused") };
    assert_eq!(*code, "COMMAND_ID_REUSED");
    accepted(&world.answers[&elsewhere][0]);
}

#[test]
fn a_repeat_after_a_restart_gets_the_first_answer() {
    let mut world = stocked(1);
    let first = world.send(ONE, vec![envelope(id(7), reserve(1, 1)), envelope(id(8), reserve(1, 2))]);
    world.run(|_| Fate::Written);
    world.restart();
    let again = world.send(ONE, vec![envelope(id(7), reserve(1, 1)), envelope(id(8), reserve(1, 2))]);
    world.run(|_| Fate::Written);
    let (told, recalled) = (accepted(&world.answers[&first][0]), accepted(&world.answers[&again][0]));
    assert_eq!((told.tenant_position, &told.changed), (recalled.tenant_position, &recalled.changed));
    let Answer::Settled { settled: Settled::Rejected { rejected, .. }, replayed: true } = &world.answers[&again][1]
    else {
        panic!("the refusal was not kept: {:?}", world.answers[&again][1]);
    };
    assert_eq!(rejected.code, "OUT_OF_STOCK");
}

#[test]
fn a_batch_whose_answer_is_lost_has_its_effect_once() {
    for fate in [Fate::WrittenUnheard, Fate::Lost] {
        let mut world = stocked(100);
        let before = world.events.len();
        let tickets: Vec<_> = (0..20).map(|n| world.send(ONE, vec![envelope(id(100 + n), reserve(1, n))])).collect();
        let mut first = true;
        world.run(|_| if std::mem::take(&mut first) { fate } else { Fate::Written });
        assert_eq!(world.events.len() - before, 20);
        for ticket in &tickets {
            accepted(&world.answers[ticket][0]);
        }
        world.check();
    }
}

#[test]
fn a_command_that_the_store_refuses_fails_alone() {
    let mut world = stocked(1000);
    let mut tickets: Vec<_> = (0..40).map(|n| world.send(ONE, vec![envelope(id(100 + n), reserve(1, n))])).collect();
    let bad = world.send(ONE, vec![envelope(id(999), poison("stored"))]);
    tickets.extend((40..80).map(|n| world.send(ONE, vec![envelope(id(100 + n), reserve(1, n))])));
    let neighbour = world.send(TWO, vec![envelope(id(1), open(5))]);
    world.run(|batch| if batch.holds("poison") { Fate::Refused } else { Fate::Written });
    assert!(matches!(world.answers[&bad][0], Answer::Fault(_)));
    for ticket in tickets.iter().chain([&neighbour]) {
        accepted(&world.answers[ticket][0]);
    }
    world.check();
}

#[test]
fn a_command_that_panics_fails_alone() {
    let mut world = stocked(10);
    let bad = world.send(ONE, vec![envelope(id(50), poison("panic"))]);
    let good = world.send(ONE, vec![envelope(id(51), reserve(1, 1))]);
    world.run(|_| Fate::Written);
    assert!(matches!(world.answers[&bad][0], Answer::Fault(_)));
    accepted(&world.answers[&good][0]);
}

#[test]
fn a_full_queue_sends_callers_away_and_the_engine_keeps_its_place() {
    let mut world = World::new(Limits { queue_commands_most: 10, ..Limits::default() });
    let tickets: Vec<_> = (0..30).map(|n| world.send(ONE, vec![envelope(id(n), open(n))])).collect();
    let engine = world.send_as_engine(ONE, vec![envelope(id(77), open(77))]);
    world.run(|_| Fate::Written);
    let busy = |ticket: &&Ticket| matches!(world.answers[*ticket][0], Answer::NotNow(NotNow::Overloaded { .. }));
    assert_eq!(tickets.iter().filter(busy).count(), 20);
    accepted(&world.answers[&engine][0]);
}

#[test]
fn the_commands_of_one_request_are_decided_in_their_order() {
    let mut world = World::new(Limits::default());
    let commands = vec![
        envelope(id(1), open(1)),
        envelope(id(2), receive(1, 1)),
        envelope(id(3), reserve(1, 1)),
        envelope(id(4), reserve(1, 2)),
        envelope(id(5), receive(1, 1)),
    ];
    let ticket = world.send(ONE, commands);
    world.run(|_| Fate::Written);
    let outcomes: Vec<_> = world.answers[&ticket]
        .iter()
        .map(|answer| matches!(answer, Answer::Settled { settled: Settled::Accepted(_), .. }))
        .collect();
    assert_eq!(outcomes, [true, true, true, false, true]);
}

#[test]
fn a_crowd_of_one_tenant_does_not_keep_another_waiting() {
    let mut world = World::new(Limits { batch_commands_most: 10, ..Limits::default() });
    for n in 0..500 {
        world.send(ONE, vec![envelope(id(n), open(n))]);
    }
    let small = world.send(TWO, vec![envelope(id(1), open(1))]);
    world.run(|_| Fate::Written);
    assert!(world.batch_of(small) <= 4, "answered with batch {}", world.batch_of(small));
}

#[test]
fn an_id_from_the_future_is_refused() {
    let mut world = World::new(Limits::default());
    let far = Uuid::from_u128((u128::from(u32::MAX) << 96) | 0x7000_8000_0000_0000_0001);
    let ticket = world.send(ONE, vec![envelope(far, open(1))]);
    world.run(|_| Fate::Written);
    assert!(matches!(&world.answers[&ticket][0], Answer::Misuse(misuse) if misuse.code == "ID_FROM_THE_FUTURE"));
}

#[test]
fn states_and_receipts_that_were_forgotten_are_read_again() {
    let mut world = World::new(Limits { state_bytes_most: 4_000, receipts_most: 8, ..Limits::default() });
    (0..200).for_each(|n| {
        world.send(ONE, vec![envelope(id(n), open(n))]);
        world.run(|_| Fate::Written);
    });
    let events = world.events.len();
    let again: Vec<_> = (0..200).map(|n| world.send(ONE, vec![envelope(id(n), open(n))])).collect();
    let repeat = world.send(ONE, vec![envelope(id(1000), open(3))]);
    world.run(|_| Fate::Written);
    again.iter().for_each(|ticket| assert!(matches!(world.answers[ticket][0], Answer::Settled { replayed: true, .. })));
    assert!(accepted(&world.answers[&repeat][0]).changed.is_empty());
    assert_eq!(world.events.len(), events);
}

#[test]
fn whatever_becomes_of_batches_every_id_has_one_effect_and_positions_stay_dense() {
    for seed in 0..400_u64 {
        let mut chance = store::Chance(seed);
        let mut world = World::new(Limits {
            batch_commands_most: 1 + chance.below(8),
            state_bytes_most: 2_000 + chance.below(20_000),
            receipts_most: 4 + chance.below(40),
            ..Limits::default()
        });
        world.send(ONE, vec![envelope(id(1), open(1)), envelope(id(2), receive(1, 30))]);
        let mut sent = BTreeSet::new();
        for _ in 0..60 {
            let buyer = u128::try_from(chance.below(45)).expect("small");
            let tenant = if chance.below(5) == 0 { TWO } else { ONE };
            world.send(tenant, vec![envelope(id(100 + buyer), reserve(1, buyer))]);
            sent.insert((tenant, buyer));
            if chance.below(3) == 0 {
                world.turn(chance.fate());
            }
            if chance.below(25) == 0 {
                world.restart();
            }
        }
        world.run(|_| Fate::Written);
        for (tenant, buyer) in &sent {
            world.send(*tenant, vec![envelope(id(100 + buyer), reserve(1, *buyer))]);
        }
        world.run(|_| Fate::Written);
        world.check();
        let sold = world.events.iter().filter(|(_, row)| row.name == "stock.reserved").count();
        let wanted = sent.iter().filter(|(tenant, _)| *tenant == ONE).count();
        let stocked = world.events.iter().any(|(_, row)| row.name == "stock.received");
        assert!(sold <= wanted.min(30), "seed {seed}: sold {sold} of {wanted}");
        if stocked && world.never_restarted() {
            assert_eq!(sold, wanted.min(30), "seed {seed}");
        }
    }
}
