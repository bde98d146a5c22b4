//! A GraphQL request: as JSON over HTTP and over WebSockets, and as parameters of an address.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::graphql::GraphqlRequest;

/// JSON body of a GraphQL request.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RequestBody {
    pub(super) query: Option<String>,
    pub(super) document_id: Option<String>,
    pub(super) operation_name: Option<String>,
    pub(super) variables: Option<Map<String, Value>>,
    pub(super) extensions: Option<RequestExtensions>,
}

/// Extensions of a request; others than these are allowed and not used.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RequestExtensions {
    persisted_query: Option<PersistedQuery>,
}

/// The id of the document, as Apollo clients send it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PersistedQuery {
    sha256_hash: String,
}

/// Parameters of a `GET` request.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Parameters {
    pub(super) query: Option<String>,
    pub(super) document_id: Option<String>,
    pub(super) operation_name: Option<String>,
    /// JSON.
    pub(super) variables: Option<String>,
    /// JSON.
    pub(super) extensions: Option<String>,
}

impl From<RequestBody> for GraphqlRequest {
    fn from(request: RequestBody) -> Self {
        let RequestBody { query, document_id, operation_name, variables, extensions } = request;
        let persisted = extensions.and_then(|extensions| extensions.persisted_query);
        let document_id = document_id.or(persisted.map(|persisted| persisted.sha256_hash));
        Self { query, document_id, operation: operation_name, variables: Value::Object(variables.unwrap_or_default()) }
    }
}
