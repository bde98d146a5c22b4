//! Persisted documents: a request names a document by the SHA-256 of its text and need not send it.
//!
//! The id is the parameter `documentId` (`sha256:…`, GraphQL over HTTP, appendix A), or `extensions.persistedQuery` of
//! Apollo clients. A document is known if it was registered at start, or if a client has sent it with its id before. A
//! process can admit registered documents only.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use commands::scribe::TwoGenerationCache;

/// Prefix of a `documentId`.
const PREFIX: &str = "sha256:";
/// Highest size of all documents that clients have sent with their id, in bytes.
const LEARNED_BYTES_MOST: usize = 1024 * 1024;

/// Documents that are registered at start, by the hexadecimal SHA-256 of their text.
#[derive(Clone, Debug, Default)]
pub struct RegisteredDocuments {
    documents: HashMap<String, Arc<str>>,
    /// True if other documents are refused.
    pub only: bool,
}

/// An id that is not that of its document.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not the SHA-256 of its document")]
pub struct WrongId(String);

/// Registered documents, and those that clients have sent with their id.
pub(crate) struct PersistedDocuments {
    registered: RegisteredDocuments,
    learned: Mutex<TwoGenerationCache<String, Arc<str>>>,
}

/// Reason for refusing a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No document has this id.
    Unknown,
    /// The text has another id.
    Mismatch,
    /// The id has another form.
    Malformed,
    /// The request has neither a document nor an id.
    Missing,
    /// Only registered documents are admitted.
    NotRegistered,
}

impl RegisteredDocuments {
    /// Registers documents by their ids, as code generators write them; an id may begin with `sha256:`.
    pub fn new(documents: HashMap<String, String>, only: bool) -> Result<Self, WrongId> {
        let mut registered = Self { documents: HashMap::new(), only };
        for (id, text) in documents {
            let hash = hash(&text);
            if id.strip_prefix(PREFIX).unwrap_or(&id) != hash {
                return Err(WrongId(id));
            }
            registered.documents.insert(hash, text.into());
        }
        Ok(registered)
    }
}

impl PersistedDocuments {
    pub(crate) fn new(registered: RegisteredDocuments) -> Self {
        Self { registered, learned: Mutex::new(TwoGenerationCache::new(LEARNED_BYTES_MOST)) }
    }

    /// The text of the document that a request sends or names.
    pub(super) fn resolve(&self, text: Option<String>, id: Option<&str>) -> Result<String, Refusal> {
        let named = id.map(|id| id.strip_prefix(PREFIX).unwrap_or(id));
        let is_hash =
            |hash: &str| hash.len() == 64 && hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if named.is_some_and(|hash| !is_hash(hash)) {
            return Err(Refusal::Malformed);
        }
        let registered = &self.registered;
        match (text, named) {
            (None, None) => Err(Refusal::Missing),
            (None, Some(hash)) => match registered.documents.get(hash) {
                Some(text) => Ok(text.to_string()),
                None => self.learned(hash).ok_or(Refusal::Unknown),
            },
            (Some(text), None) if !registered.only => Ok(text),
            (Some(text), named) => {
                let hash = hash(&text);
                if named.is_some_and(|named| named != hash) {
                    return Err(Refusal::Mismatch);
                }
                if registered.only && !registered.documents.contains_key(&hash) {
                    return Err(Refusal::NotRegistered);
                }
                if !registered.only {
                    self.learn(hash, &text);
                }
                Ok(text)
            }
        }
    }

    fn learned(&self, hash: &str) -> Option<String> {
        let mut learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
        learned.get_mut(&hash.to_owned(), |text| text.len()).map(|text| text.to_string())
    }

    fn learn(&self, hash: String, text: &str) {
        let mut learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
        if learned.get_mut(&hash, |text| text.len()).is_none() {
            learned.insert_weighted(hash, text.into(), text.len());
            learned.rotate(|_| false);
        }
    }
}

impl Refusal {
    /// Stable code and text for the client. Those of an unknown id are the ones that Apollo clients wait for before they
    /// send the document.
    pub(super) fn describe(self) -> (&'static str, &'static str) {
        match self {
            Self::Unknown => ("PERSISTED_QUERY_NOT_FOUND", "PersistedQueryNotFound"),
            Self::Mismatch => ("PERSISTED_QUERY_MISMATCH", "the id is not the SHA-256 of the document"),
            Self::Malformed => ("INVALID_REQUEST", "expected an id of the form `sha256:` and 64 hexadecimal digits"),
            Self::Missing => ("INVALID_REQUEST", "expected `query` or `documentId`"),
            Self::NotRegistered => ("DOCUMENT_NOT_REGISTERED", "only registered documents are admitted here"),
        }
    }
}

/// SHA-256 of a text in lower-case hexadecimal digits.
fn hash(text: &str) -> String {
    digest(&SHA256, text.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "{ __typename }";

    fn documents(registered: &[&str], only: bool) -> PersistedDocuments {
        let registered = registered.iter().map(|text| (hash(text), (*text).to_owned())).collect();
        PersistedDocuments::new(RegisteredDocuments::new(registered, only).expect("the ids of the documents"))
    }

    #[test]
    fn document_is_known_once_it_was_sent_with_its_id() {
        let (documents, id) = (documents(&[], false), format!("{PREFIX}{}", hash(TEXT)));
        assert_eq!(documents.resolve(None, Some(&id)), Err(Refusal::Unknown));
        assert_eq!(documents.resolve(Some("{ other }".into()), Some(&id)), Err(Refusal::Mismatch));
        assert_eq!(documents.resolve(None, Some(&id)), Err(Refusal::Unknown), "a wrong text is not kept");
        assert_eq!(documents.resolve(Some(TEXT.into()), Some(&id)).as_deref(), Ok(TEXT));
        assert_eq!(documents.resolve(None, Some(&id)).as_deref(), Ok(TEXT));
        assert_eq!(documents.resolve(None, Some(&hash(TEXT))).as_deref(), Ok(TEXT), "Apollo sends no prefix");
        for malformed in ["", "sha256:", "md5:00", &hash(TEXT).to_uppercase()] {
            assert_eq!(documents.resolve(None, Some(malformed)), Err(Refusal::Malformed), "{malformed}");
        }
        assert_eq!(documents.resolve(None, None), Err(Refusal::Missing));
        assert_eq!(documents.resolve(Some(TEXT.into()), None).as_deref(), Ok(TEXT));
    }

    #[test]
    fn only_registered_documents_are_admitted_if_so_configured() {
        let documents = documents(&[TEXT], true);
        let other = "{ a: __typename }";
        assert_eq!(documents.resolve(None, Some(&hash(TEXT))).as_deref(), Ok(TEXT));
        assert_eq!(documents.resolve(Some(TEXT.into()), None).as_deref(), Ok(TEXT));
        assert_eq!(documents.resolve(Some(other.into()), None), Err(Refusal::NotRegistered));
        assert_eq!(documents.resolve(Some(other.into()), Some(&hash(other))), Err(Refusal::NotRegistered));
        assert_eq!(documents.resolve(None, Some(&hash(other))), Err(Refusal::Unknown), "nothing was learned");
    }

    #[test]
    fn registered_documents_have_their_own_ids() {
        let wrong = HashMap::from([(hash("{ other }"), TEXT.to_owned())]);
        assert!(RegisteredDocuments::new(wrong, false).is_err());
        let prefixed = HashMap::from([(format!("{PREFIX}{}", hash(TEXT)), TEXT.to_owned())]);
        assert!(RegisteredDocuments::new(prefixed, false).is_ok());
    }
}
