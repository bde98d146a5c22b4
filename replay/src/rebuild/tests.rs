use std::collections::BTreeMap;
use std::sync::Mutex;

use domain::inventory::{StockEvent, StockItem};
use domain::shared::{ProductId, Quantity, StoreId};
use projections::inventory::StockLevel;
use projections::testing::{EPOCH, Memory, Story, now, rows_in_batches};

use super::*;

/// Tables under construction in memory.
#[derive(Default)]
struct Yard {
    rows: Mutex<BTreeMap<Place, String>>,
    shown: Mutex<Option<Vec<Checkpoint>>>,
}

impl Yard {
    fn rows(&self) -> Vec<String> {
        self.rows.lock().expect("one thread").values().cloned().collect()
    }
}

impl Builds for Yard {
    async fn begin(&self, _: &Model) -> Result<(), Fault> {
        self.rows.lock().expect("one thread").clear();
        Ok(())
    }

    async fn load(&self, _: &Model, places: &[Place]) -> Result<Vec<Loaded>, Fault> {
        let rows = self.rows.lock().expect("one thread");
        Ok(places.iter().map(|place| Loaded { row: rows.get(place).cloned(), waiting: false }).collect())
    }

    async fn fill(&self, _: &Model, changes: &[Change], first: bool) -> Result<(), Fault> {
        let mut rows = self.rows.lock().expect("one thread");
        assert!(!first || rows.is_empty(), "the first stretch meets an empty table");
        for change in changes {
            match &change.row {
                Some(row) => rows.insert(change.place.clone(), row.clone()),
                None => rows.remove(&change.place),
            };
        }
        Ok(())
    }

    async fn switch(&self, _: &Model, at: &[Checkpoint], _: &[Parked]) -> Result<(), Fault> {
        *self.shown.lock().expect("one thread") = Some(at.to_vec());
        Ok(())
    }
}

fn item(number: u8) -> (ProductId, StoreId) {
    let id = |kind: &str| format!("0190a5b2-7c3d-7e4f-8a9b-{kind}00000000{number:02x}");
    (id("0a").parse().expect("an id"), id("0b").parse().expect("an id"))
}

fn received(story: Story, number: u8) -> Story {
    let (product, store) = item(number);
    let units = Quantity::try_from(1).expect("a quantity");
    story.then::<StockItem>(StockItem::id(product, store), StockEvent::Received { units })
}

/// Ten items, every one received ten times.
fn story() -> Story {
    let story = (0..10).fold(Story::new(), |story, number| {
        let (product, store) = item(number);
        story.then::<StockItem>(StockItem::id(product, store), StockEvent::Opened { product, store })
    });
    (0..100).fold(story, |story, step| received(story, step % 10))
}

#[test]
fn any_budget_builds_what_the_projector_keeps() {
    let (model, story) = (Model::of::<StockLevel>(), story());
    let kept = rows_in_batches(&model, story.events(), 7);
    let memory = Memory::default().with_history(story.events());
    for (rows_most, page) in [(1_000, 1_000), (3, 4), (1, 1)] {
        let yard = Yard::default();
        let done = now(rebuild(&model, &&memory, &yard, Budget { rows_most, page })).expect("built");
        assert_eq!((yard.rows(), done.events), (kept.clone(), 110));
        let end = Checkpoint { lane: 0, position: 110, epoch: EPOCH };
        assert_eq!(yard.shown.lock().expect("one thread").as_deref(), Some(&[end][..]));
    }
}

#[test]
fn a_build_never_ends_short_of_its_target() {
    let (model, story) = (Model::of::<StockLevel>(), story());
    for lost in [0, 50] {
        let mut events = story.events().to_vec();
        events.remove(lost);
        let (memory, yard) = (Memory::default().with_history(&events), Yard::default());
        let failed = now(rebuild(&model, &&memory, &yard, Budget { rows_most: 5, page: 10 }));
        assert!(matches!(failed, Err(RebuildError::EndsShort { lane: 0, .. })), "{failed:?}");
        assert_eq!(*yard.shown.lock().expect("one thread"), None, "readers still see what they saw");
    }
}

#[test]
fn what_was_parked_keeps_its_key_waiting_across_stretches() {
    let model = Model::of::<StockLevel>();
    let (product, store) = item(1);
    let opened = StockEvent::Opened { product, store };
    let story = received(Story::new(), 1).then::<StockItem>(StockItem::id(product, store), opened);
    let memory = Memory::default().with_history(received(story, 1).events());
    for page in [1, 10] {
        let done = now(rebuild(&model, &&memory, &Yard::default(), Budget { rows_most: 1, page })).expect("built");
        assert_eq!(done.parked.iter().map(|parked| parked.position).collect::<Vec<_>>(), [1, 2, 3]);
    }
}
