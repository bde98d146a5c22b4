//! Tests of the scribe on a simulated store that loses commits and their outcomes, and refuses data.

mod simulation;

use std::collections::BTreeSet;

use domain::inventory::StockItem;
use domain::shared::{Principal, ProductId, ReservationId, StockItemId, StoreId, TenantId};
use uuid::Uuid;

use super::*;
use crate::analytics::TrackActivity;
use crate::inventory::{ReceiveStock, ReserveStock};
use crate::kernel::{Misuse, NotNow};
use crate::tenancy::{OpenStore, OpenTenant};
use simulation::{Commit, Random, Simulation, StartStocking, accepted, envelope, id, poison};

const ONE: TenantId = TenantId::new(Uuid::from_u128(0x11));
const TWO: TenantId = TenantId::new(Uuid::from_u128(0x22));

fn item(number: u128) -> StockItemId {
    StockItem::id(ProductId::new(Uuid::from_u128(number + 1)), StoreId::new(Uuid::from_u128(9)))
}

fn open(number: u128) -> StartStocking {
    StartStocking { product: ProductId::new(Uuid::from_u128(number + 1)), store: StoreId::new(Uuid::from_u128(9)) }
}

fn receive(number: u128, units: i64) -> ReceiveStock {
    ReceiveStock { item: item(number), units: units.try_into().expect("a quantity"), reason: None }
}

fn reserve(number: u128, buyer: u128) -> ReserveStock {
    let reservation = ReservationId::new(Uuid::from_u128(buyer + 1));
    ReserveStock { item: item(number), reservation, units: 1.try_into().expect("a quantity") }
}

fn opening() -> OpenTenant {
    OpenTenant {
        name: "Mugs".parse().expect("a name"),
        subdomain: "mugs".parse().expect("a subdomain"),
        currency: "USD".parse().expect("a currency"),
        zone: "UTC".parse().expect("a zone"),
    }
}

/// A simulation in which one item of tenant one has this many units.
fn stocked(units: i64) -> Simulation {
    let mut simulation = Simulation::opened(Limits::default());
    simulation.send(ONE, vec![envelope(id(1), open(1)), envelope(id(2), receive(1, units))]);
    simulation.run(|_| Commit::Written);
    simulation
}

#[test]
fn fifty_commands_with_one_id_have_one_effect_and_equal_answers() {
    let mut simulation = stocked(100);
    let before = simulation.events.len();
    let tickets: Vec<_> = (0..50).map(|_| simulation.send(ONE, vec![envelope(id(7), reserve(1, 1))])).collect();
    simulation.run(|_| Commit::Written);
    assert_eq!(simulation.events.len() - before, 1);
    let answers: Vec<_> = tickets.iter().map(|ticket| accepted(&simulation.answers[ticket][0])).collect();
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn a_used_id_with_another_body_is_refused_and_tenants_do_not_share_ids() {
    let mut simulation = stocked(100);
    let other = simulation.send(ONE, vec![envelope(id(2), receive(1, 5))]);
    let elsewhere = simulation.send(TWO, vec![envelope(id(2), open(1))]);
    simulation.run(|_| Commit::Written);
    let Answer::Misuse(Misuse { code, .. }) = &simulation.answers[&other][0] else {
        panic!("the second body was not refused")
    };
    assert_eq!(*code, "COMMAND_ID_REUSED");
    accepted(&simulation.answers[&elsewhere][0]);
}

#[test]
fn a_repeat_after_a_restart_gets_the_first_answer() {
    let mut simulation = stocked(1);
    let first = simulation.send(ONE, vec![envelope(id(7), reserve(1, 1)), envelope(id(8), reserve(1, 2))]);
    simulation.run(|_| Commit::Written);
    simulation.restart();
    let again = simulation.send(ONE, vec![envelope(id(7), reserve(1, 1)), envelope(id(8), reserve(1, 2))]);
    simulation.run(|_| Commit::Written);
    let (original, repeated) = (accepted(&simulation.answers[&first][0]), accepted(&simulation.answers[&again][0]));
    assert_eq!((original.tenant_position, &original.changed), (repeated.tenant_position, &repeated.changed));
    let Answer::Settled { settled: Settled::Rejected { rejected, .. }, replayed: true } =
        &simulation.answers[&again][1]
    else {
        panic!("the rejection was not stored: {:?}", simulation.answers[&again][1]);
    };
    assert_eq!(rejected.code, "OUT_OF_STOCK");
}

#[test]
fn a_command_that_came_before_its_tenant_was_open_is_decided_under_the_same_id_later() {
    let mut simulation = Simulation::new(Limits::default());
    let store = StoreId::new(Uuid::from_u128(9));
    let zone = || "UTC".parse().expect("a zone");
    let command = || envelope(id(1), OpenStore { store, name: "Fair".parse().expect("a name"), zone: zone() });
    let early = simulation.send(ONE, vec![command()]);
    simulation.run(|_| Commit::Written);
    let Answer::NotNow(not_now) = &simulation.answers[&early][0] else { panic!("the early command was decided") };
    assert_eq!(not_now.code(), "TENANT_NOT_OPEN");
    simulation.send_as_engine(ONE, vec![envelope(id(3), opening())]);
    simulation.run(|_| Commit::Written);
    let again = simulation.send(ONE, vec![command()]);
    simulation.run(|_| Commit::Written);
    accepted(&simulation.answers[&again][0]);
}

#[test]
fn a_command_of_the_engine_that_came_too_early_is_settled() {
    let mut simulation = Simulation::new(Limits::default());
    let (store, zone) = (StoreId::new(Uuid::from_u128(9)), "UTC".parse().expect("a zone"));
    let command = OpenStore { store, name: "Fair".parse().expect("a name"), zone };
    let ticket = simulation.send_as_engine(ONE, vec![envelope(id(1), command)]);
    simulation.run(|_| Commit::Written);
    let answer = &simulation.answers[&ticket][0];
    assert!(matches!(answer, Answer::Settled { settled: Settled::Rejected { .. }, .. }), "{answer:?}");
}

#[test]
fn a_batch_with_a_lost_outcome_has_its_effect_once() {
    for failure in [Commit::WrittenOutcomeLost, Commit::Lost] {
        let mut simulation = stocked(100);
        let before = simulation.events.len();
        let tickets: Vec<_> =
            (0..20).map(|n| simulation.send(ONE, vec![envelope(id(100 + n), reserve(1, n))])).collect();
        let mut first = true;
        simulation.run(|_| if std::mem::take(&mut first) { failure } else { Commit::Written });
        assert_eq!(simulation.events.len() - before, 20);
        for ticket in &tickets {
            accepted(&simulation.answers[ticket][0]);
        }
        simulation.check();
    }
}

#[test]
fn a_command_that_changes_nothing_leaves_a_receipt_only_for_a_caller() {
    let mut simulation = stocked(1000);
    let before = simulation.receipt_count();
    let engine = Envelope { principal: Principal::ENGINE, ..envelope(id(100), open(1)) };
    for (envelope, receipts) in [(engine, before), (envelope(id(101), open(1)), before + 1)] {
        let ticket = simulation.send(ONE, vec![envelope]);
        simulation.run(|_| Commit::Written);
        assert!(accepted(&simulation.answers[&ticket][0]).changed.is_empty());
        assert_eq!(simulation.receipt_count(), receipts);
    }
}

#[test]
fn a_command_whose_data_the_store_refuses_fails_alone() {
    let mut simulation = stocked(1000);
    let mut tickets: Vec<_> =
        (0..40).map(|n| simulation.send(ONE, vec![envelope(id(100 + n), reserve(1, n))])).collect();
    let bad = simulation.send(ONE, vec![envelope(id(999), poison("stored"))]);
    tickets.extend((40..80).map(|n| simulation.send(ONE, vec![envelope(id(100 + n), reserve(1, n))])));
    let neighbour = simulation.send(TWO, vec![envelope(id(1), open(5))]);
    simulation.run(|batch| if batch.has_receipt_of("poison") { Commit::Refused } else { Commit::Written });
    assert!(matches!(simulation.answers[&bad][0], Answer::Fault(_)));
    for ticket in tickets.iter().chain([&neighbour]) {
        accepted(&simulation.answers[ticket][0]);
    }
    simulation.check();
}

#[test]
fn a_command_that_panics_fails_alone() {
    let mut simulation = stocked(10);
    let bad = simulation.send(ONE, vec![envelope(id(50), poison("panic"))]);
    let good = simulation.send(ONE, vec![envelope(id(51), reserve(1, 1))]);
    simulation.run(|_| Commit::Written);
    assert!(matches!(simulation.answers[&bad][0], Answer::Fault(_)));
    accepted(&simulation.answers[&good][0]);
}

#[test]
fn a_full_queue_refuses_clients_and_accepts_the_engine() {
    let mut simulation = Simulation::opened(Limits { queue_commands_most: 10, ..Limits::default() });
    let tickets: Vec<_> = (0..30).map(|n| simulation.send(ONE, vec![envelope(id(n), open(n))])).collect();
    let engine = simulation.send_as_engine(ONE, vec![envelope(id(77), open(77))]);
    simulation.run(|_| Commit::Written);
    let overloaded =
        |ticket: &&Ticket| matches!(simulation.answers[*ticket][0], Answer::NotNow(NotNow::Overloaded { .. }));
    assert_eq!(tickets.iter().filter(overloaded).count(), 20);
    accepted(&simulation.answers[&engine][0]);
}

#[test]
fn the_commands_of_one_request_are_decided_in_their_order() {
    let mut simulation = Simulation::opened(Limits::default());
    let commands = vec![
        envelope(id(1), open(1)),
        envelope(id(2), receive(1, 1)),
        envelope(id(3), reserve(1, 1)),
        envelope(id(4), reserve(1, 2)),
        envelope(id(5), receive(1, 1)),
    ];
    let ticket = simulation.send(ONE, commands);
    simulation.run(|_| Commit::Written);
    let outcomes: Vec<_> = simulation.answers[&ticket]
        .iter()
        .map(|answer| matches!(answer, Answer::Settled { settled: Settled::Accepted(_), .. }))
        .collect();
    assert_eq!(outcomes, [true, true, true, false, true]);
}

#[test]
fn load_of_one_tenant_does_not_delay_another() {
    let mut simulation = Simulation::opened(Limits { batch_commands_most: 10, ..Limits::default() });
    for n in 0..500 {
        simulation.send(ONE, vec![envelope(id(n), open(n))]);
    }
    let small = simulation.send(TWO, vec![envelope(id(1), open(1))]);
    simulation.run(|_| Commit::Written);
    assert!(simulation.batch_of(small) <= 4, "answered with batch {}", simulation.batch_of(small));
}

#[test]
fn flood_of_one_tenant_fills_an_eighth_of_a_batch_while_another_sends_too() {
    let mut simulation = Simulation::opened(Limits { batch_commands_most: 80, ..Limits::default() });
    simulation.send(TWO, vec![envelope(id(1), open(1))]);
    simulation.run(|_| Commit::Written);
    let flood: Vec<_> = (0..200).map(|n| simulation.send(ONE, vec![envelope(id(n), open(n))])).collect();
    simulation.run(|_| Commit::Written);
    let mut batches: Vec<_> = flood.iter().map(|ticket| simulation.batch_of(*ticket)).collect();
    let longest = |batches: &[u64]| batches.chunk_by(|a, b| a == b).map(<[u64]>::len).max();
    assert_eq!(longest(&batches), Some(10));
    // A second after the other tenant's last command, batches are whole again.
    simulation.pass(2_000_000);
    let alone: Vec<_> = (200..400).map(|n| simulation.send(ONE, vec![envelope(id(n), open(n))])).collect();
    simulation.run(|_| Commit::Written);
    batches = alone.iter().map(|ticket| simulation.batch_of(*ticket)).collect();
    assert_eq!(longest(&batches), Some(80));
}

#[test]
fn an_id_from_the_future_is_refused() {
    let mut simulation = Simulation::opened(Limits::default());
    let far = Uuid::from_u128((u128::from(u32::MAX) << 96) | 0x7000_8000_0000_0000_0001);
    let ticket = simulation.send(ONE, vec![envelope(far, open(1))]);
    simulation.run(|_| Commit::Written);
    assert!(matches!(&simulation.answers[&ticket][0], Answer::Misuse(misuse) if misuse.code == "ID_FROM_THE_FUTURE"));
}

#[test]
fn repeat_at_a_successor_whose_clock_is_behind_gets_the_first_answer() {
    let mut simulation = stocked(100);
    let (reserved, received) = (simulation.new_id(), simulation.new_id());
    let send = |simulation: &mut Simulation| {
        let first = simulation.send(ONE, vec![envelope(reserved, reserve(1, 1))]);
        let second = simulation.send(TWO, vec![envelope(received, open(2))]);
        simulation.run(|_| Commit::Written);
        [first, second]
    };
    let first = send(&mut simulation);
    let events = simulation.events.len();
    simulation.restart_behind(15_000_000);
    simulation.send(ONE, vec![envelope(id(8), reserve(1, 2))]);
    simulation.run(|_| Commit::Written);
    // By the clock of the successor, the ids are now newer than any that the log could contain at its take-over.
    simulation.pass(7_000_000);
    let again = send(&mut simulation);
    for (first, again) in first.iter().zip(&again) {
        assert!(matches!(simulation.answers[again][0], Answer::Settled { replayed: true, .. }));
        let (first, again) = (accepted(&simulation.answers[first][0]), accepted(&simulation.answers[again][0]));
        assert_eq!((first.tenant_position, first.recorded_at), (again.tenant_position, again.recorded_at));
    }
    assert_eq!(simulation.events.len(), events + 1);
    simulation.check();
}

#[test]
fn forgotten_states_and_receipts_are_loaded_again() {
    let mut simulation = Simulation::opened(Limits { state_bytes_most: 4_000, receipts_most: 8, ..Limits::default() });
    (0..200).for_each(|n| {
        simulation.send(ONE, vec![envelope(id(n), open(n))]);
        simulation.run(|_| Commit::Written);
    });
    let events = simulation.events.len();
    let again: Vec<_> = (0..200).map(|n| simulation.send(ONE, vec![envelope(id(n), open(n))])).collect();
    let repeat = simulation.send(ONE, vec![envelope(id(1000), open(3))]);
    simulation.run(|_| Commit::Written);
    again
        .iter()
        .for_each(|ticket| assert!(matches!(simulation.answers[ticket][0], Answer::Settled { replayed: true, .. })));
    assert!(accepted(&simulation.answers[&repeat][0]).changed.is_empty());
    assert_eq!(simulation.events.len(), events);
}

#[test]
fn facts_are_appended_once_each_without_a_load_a_state_or_a_snapshot() {
    let mut simulation = Simulation::opened(Limits::default());
    let view = || TrackActivity { kind: "viewed".parse().expect("a kind"), subject: None, customer: None };
    let before = simulation.events.len();
    for round in 0..2 {
        let tickets: Vec<_> = (0..50).map(|n| simulation.send(ONE, vec![envelope(id(n), view())])).collect();
        simulation.run(|batch| {
            assert!(batch.parts.values().all(|part| part.snapshots.is_empty()));
            Commit::Written
        });
        for ticket in tickets {
            let Answer::Settled { settled: Settled::Accepted(receipt), replayed } = &simulation.answers[&ticket][0]
            else {
                panic!("not accepted");
            };
            assert_eq!((receipt.changed.len(), receipt.changed[0].sequence, *replayed), (1, 1, round == 1));
        }
        simulation.restart();
    }
    assert_eq!(simulation.events.len(), before + 50);
    assert_eq!(simulation.loads.get("Activity"), None);
    simulation.check();
}

#[test]
fn state_that_every_command_reads_and_none_writes_stays_in_memory() {
    let mut simulation = Simulation::opened(Limits { state_bytes_most: 20_000, ..Limits::default() });
    let before = simulation.loads["Tenant"];
    for n in 0..500 {
        simulation.send(ONE, vec![envelope(id(n), open(n))]);
        simulation.run(|_| Commit::Written);
    }
    simulation.send(ONE, vec![envelope(id(1000), open(0))]);
    simulation.run(|_| Commit::Written);
    assert_eq!(simulation.loads["StockItem"], 501, "the first item has left memory");
    assert_eq!(simulation.loads["Tenant"], before, "the tenant has not");
}

#[test]
fn every_id_has_one_effect_and_positions_stay_dense_under_random_failures() {
    for seed in 0..400_u64 {
        let mut random = Random(seed);
        let mut simulation = Simulation::opened(Limits {
            batch_commands_most: 1 + random.below(8),
            state_bytes_most: 2_000 + random.below(20_000),
            receipts_most: 4 + random.below(40),
            ..Limits::default()
        });
        simulation.send(ONE, vec![envelope(id(1), open(1)), envelope(id(2), receive(1, 30))]);
        let mut sent = BTreeSet::new();
        for _ in 0..60 {
            let buyer = u128::try_from(random.below(45)).expect("small");
            let tenant = if random.below(5) == 0 { TWO } else { ONE };
            simulation.send(tenant, vec![envelope(id(100 + buyer), reserve(1, buyer))]);
            sent.insert((tenant, buyer));
            if random.below(3) == 0 {
                simulation.commit(random.commit());
            }
            if random.below(25) == 0 {
                simulation.restart();
            }
        }
        simulation.run(|_| Commit::Written);
        for (tenant, buyer) in &sent {
            simulation.send(*tenant, vec![envelope(id(100 + buyer), reserve(1, *buyer))]);
        }
        simulation.run(|_| Commit::Written);
        simulation.check();
        let sold = simulation.events.iter().filter(|(_, row)| row.name == "stock.reserved").count();
        let buyers = sent.iter().filter(|(tenant, _)| *tenant == ONE).count();
        let received = simulation.events.iter().any(|(_, row)| row.name == "stock.received");
        assert!(sold <= buyers.min(30), "seed {seed}: {sold} sold to {buyers} buyers");
        if received && simulation.never_restarted() {
            assert_eq!(sold, buyers.min(30), "seed {seed}");
        }
    }
}
