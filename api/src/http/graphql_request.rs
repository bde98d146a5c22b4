//! A GraphQL request as JSON, over HTTP and over WebSockets.

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

impl From<RequestBody> for GraphqlRequest {
    fn from(request: RequestBody) -> Self {
        let variables = Value::Object(request.variables.unwrap_or_default());
        Self { query: request.query, operation: request.operation_name, variables }
    }
}
