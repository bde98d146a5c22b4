//! What may run out: so that a crowd can be asked to come back later, before it troubles the scribe.

use domain::kernel::Aggregate;
use serde_json::Value;

use super::{Rejected, StreamRef};

/// What a command takes from streams that may run out. A matter of speed only, never of the outcome.
#[derive(Debug, Default)]
pub struct Scarce(Vec<Taking>);

/// That a command takes from one stream, and what it is refused with where nothing is left there.
#[derive(Clone, Debug)]
pub struct Taking {
    pub stream: StreamRef,
    code: &'static str,
    details: Value,
}

impl Scarce {
    /// It takes from this stream. A rejection with this code and at least these details says that nothing is left.
    pub fn take<A: Aggregate>(&mut self, id: A::Id, code: &'static str, details: Value) -> &mut Self {
        self.0.push(Taking { stream: StreamRef::of::<A>(id), code, details });
        self
    }

    pub fn into_takings(self) -> Vec<Taking> {
        self.0
    }
}

impl Taking {
    /// Whether a rejection says that nothing is left of this.
    pub fn is_gone(&self, rejected: &Rejected) -> bool {
        let told = self.details.as_object().into_iter().flatten();
        rejected.code == self.code && told.into_iter().all(|(name, value)| rejected.details.get(name) == Some(value))
    }
}

#[cfg(test)]
mod tests {
    use domain::inventory::StockItem;
    use domain::kernel::Retry;
    use domain::shared::StockItemId;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn only_that_nothing_at_all_is_left_counts() {
        let mut scarce = Scarce::default();
        scarce.take::<StockItem>(StockItemId::new(Uuid::from_u128(7)), "OUT_OF_STOCK", json!({ "free": 0 }));
        let taking = scarce.into_takings().pop().expect("one");
        let gone = |code: &str, details: Value| {
            let (code, message) = (code.to_owned(), String::new());
            taking.is_gone(&Rejected { code, message, details, retry: Retry::NewId })
        };
        assert!(gone("OUT_OF_STOCK", json!({ "free": 0, "wanted": 3 })));
        assert!(!gone("OUT_OF_STOCK", json!({ "free": 1, "wanted": 3 })));
        assert!(!gone("NOT_STOCKED", json!({ "free": 0 })) && !gone("OUT_OF_STOCK", Value::Null));
    }
}
