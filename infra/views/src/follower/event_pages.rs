//! Event pages: the last events of each lane, read once for all groups of read models.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use event_log::StoreFeed;
use projections::ports::{Fault, History, RawEvent};

/// Events of one lane, in order and without gaps.
pub(super) type Page = Arc<Vec<RawEvent>>;

/// Number of events of one lane that are kept. A group that is further behind reads the log.
const EVENTS_KEPT: usize = 4_000;

/// Pages of events, read from the tail or the log or received from Kafka. Clones share them.
#[derive(Clone)]
pub(super) struct EventPages {
    feed: StoreFeed,
    lanes: Arc<Mutex<HashMap<i16, LanePages>>>,
}

/// Pages of one lane, the oldest first. Locked while the next page is read, so that it is read once.
type LanePages = Arc<tokio::sync::Mutex<VecDeque<Page>>>;

impl EventPages {
    pub(super) fn new(feed: StoreFeed) -> Self {
        Self { feed, lanes: Arc::default() }
    }

    /// A page with the event that follows a position; empty if there is none. It may begin with earlier events.
    pub(super) async fn after(&self, lane: i16, position: i64, most: usize) -> Result<Page, Fault> {
        let lane_pages = self.lane(lane);
        let mut pages = lane_pages.lock().await;
        if let Some(page) = pages.iter().find(|page| contains(page, position + 1)) {
            return Ok(Arc::clone(page));
        }
        // A late group reads older pages for itself, and the others do not wait for it.
        let is_old = pages.back().and_then(|page| page.last()).is_some_and(|last| position < last.position);
        if is_old {
            drop(pages);
            return Ok(Arc::new(self.feed.events(lane, position, most).await?));
        }
        let page = Arc::new(self.feed.events(lane, position, most).await?);
        keep(&mut pages, Arc::clone(&page));
        Ok(page)
    }

    /// Adds received events, which are in order within each lane: every run of consecutive events of one lane becomes a page.
    pub(super) async fn add(&self, events: Vec<RawEvent>) {
        let mut pages = Vec::<Vec<RawEvent>>::new();
        for event in events {
            let continues = |last: &RawEvent| last.lane == event.lane && last.position + 1 == event.position;
            match pages.last_mut().filter(|page| page.last().is_some_and(continues)) {
                Some(page) => page.push(event),
                None => pages.push(vec![event]),
            }
        }
        for page in pages {
            if let Some(lane) = page.first().map(|first| first.lane) {
                keep(&mut *self.lane(lane).lock().await, Arc::new(page));
            }
        }
    }

    /// Forgets the pages of a lane: its next events are read from the log.
    pub(super) async fn forget(&self, lane: i16) {
        self.lane(lane).lock().await.clear();
    }

    fn lane(&self, lane: i16) -> LanePages {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner).entry(lane).or_default().clone()
    }
}

fn contains(page: &[RawEvent], position: i64) -> bool {
    let (first, last) = (page.first(), page.last());
    first.is_some_and(|first| first.position <= position) && last.is_some_and(|last| position <= last.position)
}

/// Adds a page and removes the oldest ones beyond the limit. An empty page is not kept.
fn keep(pages: &mut VecDeque<Page>, page: Page) {
    if page.is_empty() {
        return;
    }
    pages.push_back(page);
    while pages.len() > 1 && pages.iter().map(|page| page.len()).sum::<usize>() > EVENTS_KEPT {
        pages.pop_front();
    }
}
