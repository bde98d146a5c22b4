use std::collections::BTreeMap;
use std::sync::Mutex;

use domain::inventory::{StockEvent, StockItem};
use domain::shared::{ProductId, Quantity, StoreId};
use projections::inventory::StockLevel;
use projections::testing::{EPOCH, Memory, Story, poll_ready, rows_in_batches};

use super::*;

/// In-memory tables of a rebuild.
#[derive(Default)]
struct MemoryTables {
    rows: Mutex<BTreeMap<Place, String>>,
    live_at: Mutex<Option<Vec<Checkpoint>>>,
}

impl MemoryTables {
    fn rows(&self) -> Vec<String> {
        self.rows.lock().expect("the lock is not poisoned").values().cloned().collect()
    }
}

impl TableBuilder for MemoryTables {
    async fn begin(&self, _: &Model) -> Result<(), Fault> {
        self.rows.lock().expect("the lock is not poisoned").clear();
        Ok(())
    }

    async fn load(&self, _: &Model, places: &[Place]) -> Result<Vec<LoadedRow>, Fault> {
        let rows = self.rows.lock().expect("the lock is not poisoned");
        Ok(places.iter().map(|place| LoadedRow { row: rows.get(place).cloned(), waiting: false }).collect())
    }

    async fn fill(&self, _: &Model, changes: &[Change], first: bool) -> Result<(), Fault> {
        let mut rows = self.rows.lock().expect("the lock is not poisoned");
        assert!(!first || rows.is_empty(), "the table must be empty on the first write");
        for change in changes {
            match &change.row {
                Some(row) => rows.insert(change.place.clone(), row.clone()),
                None => rows.remove(&change.place),
            };
        }
        Ok(())
    }

    async fn switch(&self, _: &Model, at: &[Checkpoint], _: &[Parked]) -> Result<(), Fault> {
        *self.live_at.lock().expect("the lock is not poisoned") = Some(at.to_vec());
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
    story.then::<StockItem>(StockItem::id(product, store), StockEvent::Received { units, reason: None })
}

/// Opens ten stock items and receives ten units of each, one at a time.
fn story() -> Story {
    let story = (0..10).fold(Story::new(), |story, number| {
        let (product, store) = item(number);
        story.then::<StockItem>(StockItem::id(product, store), StockEvent::Opened { product, store })
    });
    (0..100).fold(story, |story, step| received(story, step % 10))
}

#[test]
fn rebuild_gives_the_rows_of_the_projector_under_any_budget() {
    let (model, story) = (Model::of::<StockLevel>(), story());
    let projected = rows_in_batches(&model, story.events(), 7);
    let memory = Memory::default().with_history(story.events());
    for (rows_most, page) in [(1_000, 1_000), (3, 4), (1, 1)] {
        let tables = MemoryTables::default();
        let summary =
            poll_ready(rebuild(&model, &&memory, &tables, Budget { rows_most, page })).expect("the rebuild succeeds");
        assert_eq!((tables.rows(), summary.events), (projected.clone(), 110));
        let end = Checkpoint { lane: 0, position: 110, epoch: EPOCH };
        assert_eq!(tables.live_at.lock().expect("the lock is not poisoned").as_deref(), Some(&[end][..]));
    }
}

#[test]
fn rebuild_fails_when_the_log_ends_before_the_target() {
    let (model, story) = (Model::of::<StockLevel>(), story());
    for missing in [0, 50] {
        let mut events = story.events().to_vec();
        events.remove(missing);
        let (memory, tables) = (Memory::default().with_history(&events), MemoryTables::default());
        let failed = poll_ready(rebuild(&model, &&memory, &tables, Budget { rows_most: 5, page: 10 }));
        assert!(matches!(failed, Err(RebuildError::Incomplete { lane: 0, .. })), "{failed:?}");
        assert_eq!(
            *tables.live_at.lock().expect("the lock is not poisoned"),
            None,
            "a failed rebuild must not switch tables"
        );
    }
}

#[test]
fn parked_key_stays_parked_across_flushes() {
    let model = Model::of::<StockLevel>();
    let (product, store) = item(1);
    let opened = StockEvent::Opened { product, store };
    let story = received(Story::new(), 1).then::<StockItem>(StockItem::id(product, store), opened);
    let memory = Memory::default().with_history(received(story, 1).events());
    for page in [1, 10] {
        let summary = poll_ready(rebuild(&model, &&memory, &MemoryTables::default(), Budget { rows_most: 1, page }))
            .expect("the rebuild succeeds");
        assert_eq!(summary.parked.iter().map(|parked| parked.position).collect::<Vec<_>>(), [1, 2, 3]);
    }
}
