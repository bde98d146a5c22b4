//! A GraphQL request: as JSON over HTTP and over WebSockets, and as parameters of an address.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::graphql::GraphqlRequest;

/// JSON body of a GraphQL request.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RequestBody {
    query: String,
    operation_name: Option<String>,
    variables: Option<Map<String, Value>>,
    /// Allowed by the specification and not used here.
    #[serde(rename = "extensions")]
    _extensions: Option<Map<String, Value>>,
}

/// Parameters of a `GET` request.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Parameters {
    pub(super) query: Option<String>,
    pub(super) operation_name: Option<String>,
    /// JSON.
    pub(super) variables: Option<String>,
    /// JSON.
    pub(super) extensions: Option<String>,
}

impl RequestBody {
    pub(super) fn new(query: String, operation_name: Option<String>, variables: Option<Map<String, Value>>) -> Self {
        Self { query, operation_name, variables, _extensions: None }
    }
}

impl From<RequestBody> for GraphqlRequest {
    fn from(request: RequestBody) -> Self {
        let variables = Value::Object(request.variables.unwrap_or_default());
        Self { query: request.query, operation: request.operation_name, variables }
    }
}
