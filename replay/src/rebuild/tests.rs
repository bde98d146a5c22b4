use std::collections::BTreeMap;
use std::sync::Mutex;

use domain::inventory::{StockEvent, StockItem};
use domain::shared::{ProductId, Quantity, StoreId};
use projections::inventory::{StockLevel, StockMovement};
use projections::loyalty::PointsBalance;
use projections::ports::{Cause, RawEvent};
use projections::testing::{EPOCH, Memory, Story, poll_ready, rows_in_batches};

use super::*;

/// In-memory tables of a rebuild.
#[derive(Default)]
struct MemoryTables {
    tables: Mutex<BTreeMap<String, Table>>,
    /// Number of the next writes that succeed; further ones fail.
    writes_left: Mutex<Option<u32>>,
}

#[derive(Clone, Default)]
struct Table {
    rows: BTreeMap<Place, String>,
    parked: BTreeSet<Place>,
    state: BuildState,
    is_served: bool,
}

impl MemoryTables {
    fn with_table<T>(&self, model: &Model, action: impl FnOnce(&mut Table) -> T) -> T {
        action(self.tables.lock().expect("the lock is not poisoned").entry(model.name.clone()).or_default())
    }

    fn rows(&self, model: &Model) -> Vec<String> {
        self.with_table(model, |table| table.rows.values().cloned().collect())
    }

    fn served_at(&self, model: &Model) -> Option<Vec<Checkpoint>> {
        self.with_table(model, |table| table.is_served.then(|| table.state.at.clone()))
    }
}

impl TableBuilder for MemoryTables {
    async fn begin(&self, model: &Model, resume: bool) -> Result<BuildState, Fault> {
        Ok(self.with_table(model, |table| {
            if !resume {
                *table = Table::default();
            }
            table.state.clone()
        }))
    }

    async fn load(&self, model: &Model, places: &[Place]) -> Result<Vec<LoadedRow>, Fault> {
        Ok(self.with_table(model, |table| {
            let waiting = |place| table.parked.contains(place);
            let load = |place| LoadedRow { row: table.rows.get(place).cloned(), waiting: waiting(place) };
            places.iter().map(load).collect()
        }))
    }

    async fn fill(&self, model: &Model, part: &Part) -> Result<(), Fault> {
        match &mut *self.writes_left.lock().expect("the lock is not poisoned") {
            Some(0) => return Err(Fault::new(Cause::Unavailable, "writing a part")),
            Some(left) => *left -= 1,
            None => {}
        }
        self.with_table(model, |table| {
            assert!(!part.is_first || table.rows.is_empty(), "the table must be empty on the first write");
            for change in &part.changes {
                match &change.row {
                    Some(row) => table.rows.insert(change.place.clone(), row.clone()),
                    None => table.rows.remove(&change.place),
                };
            }
            table.parked.extend(part.parked.iter().map(|parked| parked.place.clone()));
            table.state.parked_streams.extend(part.parked_streams.iter().map(|parked| parked.place.clone()));
            table.state.at = part.at.clone();
        });
        Ok(())
    }

    async fn switch(&self, model: &Model) -> Result<(), Fault> {
        self.with_table(model, |table| table.is_served = true);
        Ok(())
    }

    async fn discard(&self, model: &Model) -> Result<(), Fault> {
        self.with_table(model, |table| *table = Table::default());
        Ok(())
    }
}

fn options(rows_most: usize, page: usize) -> Options {
    Options { rows_most, page, resume: false }
}

fn item(number: u8) -> (ProductId, StoreId) {
    let id = |kind: &str| format!("0190a5b2-7c3d-7e4f-8a9b-{kind}00000000{number:02x}");
    (id("0a").parse().expect("an id"), id("0b").parse().expect("an id"))
}

fn opened(story: Story, number: u8) -> Story {
    let (product, store) = item(number);
    story.then::<StockItem>(StockItem::id(product, store), StockEvent::Opened { product, store })
}

fn received(story: Story, number: u8) -> Story {
    let (product, store) = item(number);
    let units = Quantity::try_from(1).expect("a quantity");
    story.then::<StockItem>(StockItem::id(product, store), StockEvent::Received { units, reason: None })
}

/// Opens ten stock items and receives ten units of each, one at a time.
fn story() -> Story {
    let story = (0..10).fold(Story::new(), opened);
    (0..100).fold(story, |story, step| received(story, step % 10))
}

#[test]
fn one_scan_gives_the_rows_of_the_projector_under_any_budget() {
    let (level, movement, points) =
        (Model::of::<StockLevel>(), Model::of::<StockMovement>(), Model::of::<PointsBalance>());
    let (models, story) = ([&level, &movement, &points], story());
    for (rows_most, page) in [(1_000, 1_000), (3, 4), (1, 1)] {
        let memory = Memory::default().with_history(story.events());
        let tables = MemoryTables::default();
        let summaries = poll_ready(rebuild(&models, &&memory, &tables, options(rows_most, page))).expect("it succeeds");
        assert_eq!(summaries.iter().map(|summary| summary.events).collect::<Vec<_>>(), [110, 110, 0]);
        for model in models {
            assert_eq!(tables.rows(model), rows_in_batches(model, story.events(), 7));
            let end = Checkpoint { lane: 0, position: 110, epoch: EPOCH };
            assert_eq!(tables.served_at(model), Some(vec![end]));
        }
        assert_eq!(memory.scanned(), 110, "each event is read once for all models");
    }
}

#[test]
fn scan_reads_only_the_streams_that_its_models_listen_to() {
    let (points, memory) = (Model::of::<PointsBalance>(), Memory::default().with_history(story().events()));
    let tables = MemoryTables::default();
    poll_ready(rebuild(&[&points], &&memory, &tables, options(100, 10))).expect("it succeeds");
    assert_eq!((memory.scanned(), tables.served_at(&points).map(|at| at[0].position)), (0, Some(110)));
}

#[test]
fn rebuild_fails_when_the_log_lacks_an_event() {
    let (model, story) = (Model::of::<StockLevel>(), story());
    for missing in [0, 50] {
        let mut events = story.events().to_vec();
        events.remove(missing);
        let (memory, tables) = (Memory::default().with_history(&events), MemoryTables::default());
        let failed = poll_ready(rebuild(&[&model], &&memory, &tables, options(5, 10)));
        assert!(matches!(failed, Err(RebuildError::Incomplete { lane: 0, count: 109, .. })), "{failed:?}");
        assert_eq!(tables.served_at(&model), None, "a failed rebuild must not switch tables");
    }
}

#[test]
fn rebuild_fails_on_an_event_of_a_lost_history() {
    let (model, story) = (Model::of::<StockLevel>(), story());
    let mut events = story.events().to_vec();
    events[20].epoch = EPOCH + 1;
    let (memory, tables) = (Memory::default().with_history(&events), MemoryTables::default());
    let failed = poll_ready(rebuild(&[&model], &&memory, &tables, options(5, 10)));
    assert!(matches!(failed, Err(RebuildError::OtherHistory { lane: 0, position: 21, .. })), "{failed:?}");
    assert_eq!(tables.served_at(&model), None);
}

#[test]
fn parked_key_stays_parked_across_writes() {
    let model = Model::of::<StockLevel>();
    let story = received(opened(received(Story::new(), 1), 1), 1);
    let memory = Memory::default().with_history(story.events());
    for page in [1, 10] {
        let summaries = poll_ready(rebuild(&[&model], &&memory, &MemoryTables::default(), options(1, page)))
            .expect("the rebuild succeeds");
        assert_eq!(summaries[0].parked.iter().map(|parked| parked.position).collect::<Vec<_>>(), [1, 2, 3]);
    }
}

#[test]
fn undecodable_event_parks_its_stream_and_the_rebuild_goes_on() {
    let (level, movement) = (Model::of::<StockLevel>(), Model::of::<StockMovement>());
    let mut events = story().events().to_vec();
    events[10].payload = r#"{"units":"many"}"#.into();
    let memory = Memory::default().with_history(&events);
    let tables = MemoryTables::default();
    for page in [1, 1_000] {
        let summaries = poll_ready(rebuild(&[&level, &movement], &&memory, &tables, options(10, page)))
            .expect("the rebuild succeeds");
        for summary in summaries {
            let parked: Vec<_> = summary.parked_streams.iter().map(|parked| parked.position).collect();
            assert_eq!((parked, summary.parked.len()), (vec![11], 0), "{}", summary.model);
        }
        assert_eq!((tables.rows(&level).len(), tables.rows(&movement).len()), (10, 90));
        let units = |row: &String| serde_json::from_str::<StockLevel>(row).expect("a row").on_hand;
        assert_eq!(tables.rows(&level).iter().map(units).sum::<i64>(), 90);
    }
}

#[test]
fn interrupted_build_is_resumed_and_one_of_a_lost_history_begins_again() {
    let (level, movement) = (Model::of::<StockLevel>(), Model::of::<StockMovement>());
    let (models, story) = ([&level, &movement], story());
    let expected: Vec<_> = models.iter().map(|model| rows_in_batches(model, story.events(), 7)).collect();
    let built = |tables: &MemoryTables| models.iter().map(|model| tables.rows(model)).collect::<Vec<_>>();
    let read = |events: &[RawEvent], tables: &MemoryTables| {
        let memory = Memory::default();
        memory.begin_epoch(0, events[0].epoch, 1);
        let memory = memory.with_history(events);
        let options = Options { resume: true, ..options(12, 5) };
        poll_ready(rebuild(&models, &&memory, tables, options))
            .map(|built| built.iter().map(|one| one.events).sum::<u64>())
    };
    for writes in 0..8 {
        let tables = MemoryTables { writes_left: Mutex::new(Some(writes)), ..MemoryTables::default() };
        assert!(read(story.events(), &tables).is_err());
        *tables.writes_left.lock().expect("the lock is not poisoned") = None;
        let events = read(story.events(), &tables).expect("the rebuild succeeds");
        assert_eq!(built(&tables), expected);
        assert!(writes < 5 || events < 220, "{events} events after {writes} writes");

        let tables = MemoryTables { writes_left: Mutex::new(Some(writes)), ..MemoryTables::default() };
        assert!(read(story.events(), &tables).is_err());
        *tables.writes_left.lock().expect("the lock is not poisoned") = None;
        let mut other = story.events().to_vec();
        other.iter_mut().for_each(|event| event.epoch = EPOCH + 1);
        assert_eq!(read(&other, &tables).ok(), Some(220));
        assert_eq!(built(&tables), expected);
    }
}
