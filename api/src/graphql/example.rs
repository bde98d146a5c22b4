//! Example query of the console, derived from the read models, so that it is valid for the schema.

use projections::kernel::{ColumnType, Model, Models};

use super::rows::column_field;
use super::types::indexes;
use crate::relation::Relations;

/// Number of rows that the example requests.
const ROWS: u32 = 10;

/// A page of the read model with the most relations, which shows the most of the schema.
pub(super) fn query(models: &Models, relations: &Relations) -> String {
    let model = models.iter().max_by_key(|model| relations.of(model).count());
    model.map_or_else(|| "{ __typename }".into(), |model| query_of(model, models, relations))
}

/// A page of one read model, with the single rows that it is related to.
pub(super) fn query_of(model: &Model, models: &Models, relations: &Relations) -> String {
    let mut fields = leaf_fields(model, relations);
    for relation in relations.of(model).filter(|relation| !relation.is_page()) {
        let Some(related) = models.get(relation.to) else { continue };
        fields.push(format!("{} {{ {} }}", relation.name, leaf_fields(related, relations).join(" ")));
    }
    let (page, fields) = (model.fields(), fields.join("\n        "));
    format!(
        "{{\n  {page}(first: {ROWS}) {{\n    edges {{\n      node {{\n        {fields}\n      }}\n    }}\n    \
         pageInfo {{ hasNextPage endCursor }}\n  }}\n}}"
    )
}

/// Fields of a row that have no fields of their own.
fn leaf_fields(model: &Model, relations: &Relations) -> Vec<String> {
    let root = model.schema.as_value();
    let leaves =
        model.columns.iter().filter(|column| column.kind != ColumnType::Json && indexes(root, &column.name).is_none());
    leaves.map(|column| column_field(model, relations, &column.name)).collect()
}
