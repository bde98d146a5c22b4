use domain::inventory::{StockEvent, StockItem};
use domain::shared::{ProductId, Quantity, StoreId, TenantId};
use uuid::Uuid;

use super::*;
use crate::inventory::{StockLevel, StockMovement};
use crate::loyalty::PointsBalance;
use crate::orders::OrderStep;
use crate::testing::{EPOCH, Memory, Story, poll_ready, rows_in_batches};

/// Opens the nth stock item.
fn opened(story: Story, nth: u128) -> Story {
    let (product, store) = (ProductId::new(Uuid::from_u128(nth)), StoreId::new(Uuid::from_u128(8)));
    story.then::<StockItem>(StockItem::id(product, store), StockEvent::Opened { product, store })
}

fn received(story: Story, nth: u128, units: i64) -> Story {
    let (product, store) = (ProductId::new(Uuid::from_u128(nth)), StoreId::new(Uuid::from_u128(8)));
    let units = Quantity::try_from(units).expect("a quantity");
    story.then::<StockItem>(StockItem::id(product, store), StockEvent::Received { units, reason: None })
}

/// Opens two items and receives units twice for each.
fn two_items() -> Story {
    let story = opened(opened(Story::new(), 1), 2);
    received(received(received(received(story, 1, 1), 2, 10), 1, 2), 2, 20)
}

fn levels(memory: &Memory) -> Vec<(i64, i64)> {
    let mut levels: Vec<_> = memory
        .rows(&Model::of::<StockLevel>())
        .iter()
        .map(|row| serde_json::from_str::<StockLevel>(row).expect("a row"))
        .map(|level| (level.on_hand, level.available))
        .collect();
    levels.sort_unstable();
    levels
}

fn memory() -> Memory {
    Memory::default().with_table(&Model::of::<StockLevel>()).with_table(&Model::of::<StockMovement>())
}

fn projector(memory: &Memory) -> Projector<&Memory, &Memory> {
    let models = [Model::of::<StockLevel>(), Model::of::<StockMovement>()];
    poll_ready(Projector::open(memory, memory, models)).expect("the in-memory store does not fail")
}

fn apply(projector: &mut Projector<&Memory, &Memory>, events: &[RawEvent]) -> BatchOutcome {
    poll_ready(projector.apply(events)).expect("the in-memory store does not fail")
}

#[test]
fn rows_do_not_depend_on_batch_size() {
    let mut story = Story::new();
    for nth in 1..=50 {
        story = opened(story, nth);
    }
    for nth in 0..2_000 {
        story = received(story, 1 + nth * 7 % 50, 1 + i64::try_from(nth % 9).expect("small"));
    }
    for model in [Model::of::<StockLevel>(), Model::of::<StockMovement>()] {
        let one = rows_in_batches(&model, story.events(), 1);
        assert_eq!(one, rows_in_batches(&model, story.events(), 1_000));
        assert_eq!(one, rows_in_batches(&model, story.events(), 7));
    }
}

#[test]
fn repeated_events_are_skipped_and_a_gap_is_filled_from_the_log() {
    let story = two_items();
    let memory = memory().with_history(story.events());
    let mut projector = projector(&memory);
    apply(&mut projector, &story.events()[..4]);
    let again = apply(&mut projector, &story.events()[2..4]);
    assert!(again.changed.is_empty() && again.errors.is_empty());

    let with_gap = apply(&mut projector, &story.events()[5..]);
    assert!(with_gap.errors.iter().all(|error| matches!(error.kind, ProjectionErrorKind::Gap { lane: 0, after: 4 })));
    assert_eq!((with_gap.errors.len(), projector.after(0)), (2, Some(4)));

    poll_ready(projector.catch_up(0, 100)).expect("the in-memory store does not fail");
    assert_eq!(levels(&memory), [(3, 3), (30, 30)]);
}

#[test]
fn unfoldable_event_parks_its_key_and_other_keys_continue() {
    let story = received(received(opened(Story::new(), 2), 1, 1), 2, 10);
    let story = received(received(opened(story, 1), 1, 5), 2, 20);
    for most in [1, 1_000] {
        let memory = memory().with_history(story.events());
        let mut projector = projector(&memory);
        story.events().chunks(most).for_each(|batch| {
            assert!(apply(&mut projector, batch).errors.is_empty());
        });
        let parked: Vec<_> = memory.parked(&Model::of::<StockLevel>());
        assert_eq!(parked.iter().map(|parked| parked.position).collect::<Vec<_>>(), [2, 4, 5]);
        assert!(parked[0].reason.contains("no row"), "{}", parked[0].reason);
        assert_eq!(levels(&memory), [(30, 30)]);
        assert_eq!(memory.rows(&Model::of::<StockMovement>()).len(), 4);
    }
}

#[test]
fn unreadable_row_parks_its_key_and_everything_else_continues() {
    let story = received(received(two_items(), 1, 4), 2, 40);
    for most in [1, 1_000] {
        let memory = memory().with_history(story.events());
        let mut projector = projector(&memory);
        apply(&mut projector, &story.events()[..4]);
        memory.break_row(&Model::of::<StockLevel>(), |row| row.contains("\"on_hand\":1,"));
        story.events()[4..].chunks(most).for_each(|batch| {
            assert!(apply(&mut projector, batch).errors.is_empty());
        });
        let parked: Vec<_> = memory.parked(&Model::of::<StockLevel>());
        assert_eq!(parked.iter().map(|parked| parked.position).collect::<Vec<_>>(), [5, 7]);
        assert!(parked[0].reason.contains("the stored row cannot be read"), "{}", parked[0].reason);
        let rows = memory.rows(&Model::of::<StockLevel>());
        assert!(rows.iter().any(|row| row.contains("\"on_hand\":70,")), "{rows:?}");
        assert_eq!(memory.rows(&Model::of::<StockMovement>()).len(), 6);
        assert_eq!((projector.after(0), projector.take_failing().len()), (Some(8), 0));
    }
}

#[test]
fn model_that_fails_repeatedly_leaves_its_group_and_catches_up_alone() {
    let story = two_items();
    let memory = memory().with_history(story.events());
    let mut projector = projector(&memory);
    let catch_up = |projector: &mut Projector<&Memory, &Memory>| {
        poll_ready(projector.catch_up(0, 3)).expect("the in-memory store does not fail").errors.len()
    };
    memory.fail_puts_of(Some(&Model::of::<StockLevel>()));
    assert_eq!((catch_up(&mut projector), projector.take_failing().len()), (1, 0));
    assert_eq!((catch_up(&mut projector), projector.after(0)), (1, Some(0)));
    let left: Vec<_> = projector.take_failing().into_iter().map(|(model, _)| model).collect();
    assert_eq!(left.iter().map(|model| &*model.name).collect::<Vec<_>>(), ["StockLevel"]);
    assert_eq!((catch_up(&mut projector), projector.after(0), levels(&memory)), (0, Some(6), vec![]));

    let open =
        |models| poll_ready(Projector::open(&memory, &memory, models)).expect("the in-memory store does not fail");
    let mut alone = open(left);
    assert_eq!((catch_up(&mut alone), alone.take_failing().len(), alone.after(0)), (1, 0, Some(0)));
    memory.fail_puts_of(None);
    assert_eq!((catch_up(&mut alone), catch_up(&mut alone), alone.after(0)), (0, 0, Some(6)));
    assert_eq!(levels(&memory), [(3, 3), (30, 30)]);
}

#[test]
fn model_that_is_behind_leaves_its_group() {
    let story = two_items();
    let memory = memory().with_history(story.events());
    let movement = || Model::of::<StockMovement>();
    let mut ahead =
        poll_ready(Projector::open(&memory, &memory, [movement()])).expect("the in-memory store does not fail");
    apply(&mut ahead, &story.events()[..4]);
    let mut projector = projector(&memory);
    assert_eq!((projector.after(0), projector.take_late(&BTreeSet::from([1, 2]), 0).len()), (Some(0), 0));
    assert_eq!(projector.take_late(&BTreeSet::from([0]), 4).len(), 0);
    let late = projector.take_late(&BTreeSet::from([0, 1]), 3);
    assert_eq!(late.iter().map(|model| &*model.name).collect::<Vec<_>>(), ["StockLevel"]);
    assert_eq!(projector.after(0), Some(4));
}

#[test]
fn rows_of_a_group_are_stored_in_one_transaction() {
    let story = two_items();
    let memory = memory().with_history(story.events());
    let mut projector = projector(&memory);
    assert_eq!(apply(&mut projector, story.events()).changed.len(), 2);
    assert_eq!(memory.transactions(), 1);
}

#[test]
fn undecodable_event_parks_its_stream_and_everything_else_continues() {
    let mut story = received(two_items(), 1, 4).events().to_vec();
    story[4].payload = r#"{"units":"many"}"#.into();
    let other = opened(Story::of(TenantId::new(Uuid::from_u128(0xb)), 3), 9);
    let memory = memory().with_history(&story).with_history(other.events());
    let mut projector = projector(&memory);
    let batch: Vec<_> = story.iter().chain(other.events()).cloned().collect();

    let outcome = apply(&mut projector, &batch);
    assert!(outcome.errors.is_empty(), "{:?}", outcome.errors);
    let parked: Vec<_> = outcome.parked_streams.iter().map(|(_, parked)| (parked.lane, parked.position)).collect();
    assert_eq!(parked, [(0, 5), (0, 5)], "in both models");
    assert!(outcome.parked_streams[0].1.reason.contains("stock.received"), "{:?}", outcome.parked_streams);
    assert_eq!(levels(&memory), [(0, 0), (1, 1), (30, 30)]);
    assert_eq!((projector.after(0), projector.after(3), projector.stopped().count()), (Some(7), Some(1), 0));

    // Later events of the stream wait, also for a projector that is opened later.
    let level = Model::of::<StockLevel>();
    let later = |position| RawEvent { position, sequence: position - 3, ..story[6].clone() };
    for position in [8, 9] {
        let outcome = apply(&mut projector, &[later(position)]);
        assert!(outcome.errors.is_empty() && outcome.parked_streams.is_empty(), "{outcome:?}");
        assert_eq!(levels(&memory), [(0, 0), (1, 1), (30, 30)]);
        projector = self::projector(&memory);
    }
    // A projector that does not know that the stream continues fails to skip its events, and then folds them.
    memory.continue_streams(&level);
    let outcome = apply(&mut projector, &[later(10)]);
    assert_eq!(outcome.errors.iter().map(|error| &error.model).collect::<Vec<_>>(), [&level.name]);
    assert!(apply(&mut projector, &[later(10)]).errors.is_empty());
    assert_eq!(levels(&memory), [(0, 0), (5, 5), (30, 30)]);
}

#[test]
fn failed_put_stores_neither_rows_nor_checkpoint() {
    let story = two_items();
    let memory = memory().with_history(story.events());
    let mut projector = projector(&memory);
    memory.fail_puts_of(Some(&Model::of::<StockLevel>()));
    let outcome = apply(&mut projector, story.events());
    memory.fail_puts_of(None);
    assert!(matches!(&outcome.errors[..], [ProjectionError { kind: ProjectionErrorKind::Fault(_), .. }]));
    assert_eq!(levels(&memory), []);
    assert_eq!((outcome.changed.len(), projector.after(0)), (1, Some(0)));

    poll_ready(projector.catch_up(0, 100)).expect("the in-memory store does not fail");
    assert_eq!(levels(&memory), [(3, 3), (30, 30)]);
    assert_eq!(memory.rows(&Model::of::<StockMovement>()).len(), 4);
}

#[test]
fn projector_that_lost_a_checkpoint_race_continues_from_the_stored_checkpoint() {
    let story = two_items();
    let memory = memory().with_history(story.events());
    let (mut fast, mut slow) = (projector(&memory), projector(&memory));
    apply(&mut fast, &story.events()[..4]);
    let overtaken = apply(&mut slow, &story.events()[..3]);
    assert!(overtaken.changed.is_empty() && overtaken.errors.len() == 2, "{overtaken:?}");
    assert_eq!(slow.after(0), Some(4));
    apply(&mut slow, story.events());
    assert_eq!(levels(&memory), [(3, 3), (30, 30)]);
}

#[test]
fn unaffected_models_advance_with_the_batch_unless_another_projector_advanced_them() {
    let story = two_items();
    let models = || [Model::of::<StockLevel>(), Model::of::<OrderStep>(), Model::of::<PointsBalance>()];
    let memory = models().iter().fold(Memory::default(), |memory, model| memory.with_table(model));
    let memory = memory.with_history(story.events());
    let open = || poll_ready(Projector::open(&memory, &memory, models())).expect("the in-memory store does not fail");
    let (mut fast, mut slow) = (open(), open());
    assert_eq!(apply(&mut fast, &story.events()[..4]).changed.len(), 3);
    let overtaken = apply(&mut slow, &story.events()[..3]);
    assert!(overtaken.changed.is_empty() && overtaken.errors.len() == 3, "{overtaken:?}");
    assert_eq!((fast.after(0), slow.after(0)), (Some(4), Some(4)));
}

#[test]
fn rows_that_cannot_exist_yet_are_not_loaded() {
    let story = two_items();
    let missing = |model: Model, events: &[RawEvent]| {
        let mut fold = model.begin_fold();
        events.iter().for_each(|event| fold.read(event).expect("readable"));
        fold.missing().len()
    };
    assert_eq!(missing(Model::of::<StockMovement>(), story.events()), 0);
    assert_eq!(missing(Model::of::<StockLevel>(), story.events()), 0);
    assert_eq!(missing(Model::of::<StockLevel>(), &story.events()[2..]), 2);
}

#[test]
fn batch_with_a_refused_row_is_applied_in_halves() {
    let story = two_items();
    let memory = memory().with_history(story.events());
    let mut projector = projector(&memory);
    let mut events = story.events().to_vec();
    events[3].kind = "stock.adjusted".into();
    events[3].payload = r#"{"change":10,"reason":"ok"}"#.into();
    memory.fail_next_puts(2, Cause::Corrupt);
    let outcome = apply(&mut projector, &events);
    assert!(outcome.errors.is_empty() && outcome.parked.is_empty(), "{outcome:?}");
    assert_eq!(levels(&memory), [(3, 3), (30, 30)]);
}

#[test]
fn new_epoch_is_followed_and_a_lost_history_is_detected() {
    let story = two_items();
    let memory = memory().with_history(&story.events()[..4]);
    let mut projector = projector(&memory);
    apply(&mut projector, &story.events()[..4]);

    memory.begin_epoch(0, EPOCH + 1, 5);
    let mut fifth = story.events()[4].clone();
    fifth.epoch = EPOCH + 1;
    assert!(apply(&mut projector, &[fifth]).errors.is_empty());
    assert_eq!(projector.after(0), Some(5));

    memory.begin_epoch(0, EPOCH + 2, 3);
    let mut third = story.events()[2].clone();
    third.epoch = EPOCH + 2;
    let outcome = apply(&mut projector, &[third]);
    let lost = |error: &ProjectionError| matches!(error.kind, ProjectionErrorKind::OtherHistory { lane: 0, common: 2 });
    assert!(outcome.errors.len() == 2 && outcome.errors.iter().all(lost), "{:?}", outcome.errors);
    assert_eq!(projector.after(0), None);
}

#[test]
fn affected_places_are_computed_without_the_stored_rows() {
    let story = received(two_items(), 1, 5);
    for model in [Model::of::<StockLevel>(), Model::of::<StockMovement>()] {
        let memory = Memory::default().with_table(&model).with_history(story.events());
        let mut projector =
            poll_ready(Projector::open(&memory, &memory, [model.clone()])).expect("the in-memory store does not fail");
        let (before, late) = story.events().split_at(6);
        apply(&mut projector, before);
        let outcome = apply(&mut projector, late);
        let changed: BTreeSet<_> = outcome.changed[0].rows.iter().map(|change| change.place.clone()).collect();
        assert_eq!(affected(&model, late), changed);
        assert_eq!(changed.len(), 1);
    }
}
