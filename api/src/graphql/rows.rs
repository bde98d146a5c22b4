//! Object types of rows, one per read model.

use std::collections::HashMap;
use std::sync::Arc;

use async_graphql::Value;
use async_graphql::dynamic::{Field, FieldFuture, FieldValue, Object, TypeRef};
use projections::kernel::{Model, Models};

use super::names::{camel, pascal};
use super::relation_fields::relation_field;
use super::row_type::{RowType, Source};
use super::session::Session;
use super::types::{Direction, Types, description, indexes, personal, requires};
use super::value::{field, member};
use crate::port::SealedField;
use crate::relation::Relations;

/// Object type with the columns of a row, then its relations to other models; and the places of their values.
pub(super) fn object(
    model: &Arc<Model>,
    models: &Models,
    relations: &Relations,
    types: &mut Types,
) -> (Object, RowType) {
    let root = model.schema.as_value();
    let mut row_type = RowType { model: Arc::clone(model), fields: HashMap::new() };
    let mut object = Object::new(&model.name).description(root["description"].as_str().unwrap_or_default());
    for (column, schema) in root["properties"].as_object().into_iter().flatten() {
        if indexes(root, column).is_some() {
            continue;
        }
        let name = column_field(model, relations, column);
        let Some(number) = model.columns.iter().position(|known| known.name == *column) else { continue };
        let (field, source) = match personal(root, schema) {
            Some(kind) => {
                let source = Source::Personal { column: number, kind: kind.to_owned() };
                (decrypted_field(model, name.clone(), column, kind), source)
            }
            None => {
                let owner = format!("{}{}", model.name, pascal(column));
                let mapped = types.of(root, schema, &owner, Direction::Output);
                let is_restricted = is_restricted(model, column);
                let type_ref = mapped.type_ref(is_restricted || !requires(root, column));
                let field = if is_restricted {
                    restricted_field(model, name.clone(), type_ref, column)
                } else {
                    Field::new(name.clone(), type_ref, member(column))
                };
                (field, Source::Column { column: number, is_restricted, shape: mapped.shape })
            }
        };
        row_type.fields.insert(name, source);
        let needs = if is_restricted(model, column) {
            format!(" Null for customers, and for callers without the permission {:?}.", model.needs)
        } else {
            String::new()
        };
        object = object.field(match description(root, schema) {
            Some(text) => field.description(format!("{text}{needs}")),
            None => field,
        });
    }
    for relation in relations.of(model) {
        let Some(field) = relation_field(relation, models) else { continue };
        row_type.fields.insert(relation.name.to_owned(), Source::Relation(*relation));
        object = object.field(field);
    }
    (object, row_type)
}

/// Name of the field that shows a column: with the suffix `Id` where a relation of the model has the column's name.
pub(super) fn column_field(model: &Model, relations: &Relations, column: &str) -> String {
    let name = camel(column);
    if relations.of(model).any(|relation| relation.name == name) { format!("{name}Id") } else { name }
}

/// True if some callers see rows of the model without this column.
fn is_restricted(model: &Model, column: &str) -> bool {
    !model.public.is_empty() && !model.public.contains(&column)
}

/// Field of a column that is not public: null for callers who see only the public fields of the model.
fn restricted_field(model: &Arc<Model>, name: String, type_ref: TypeRef, column: &str) -> Field {
    let (model, column) = (Arc::clone(model), column.to_owned());
    Field::new(name, type_ref, move |context| {
        let value = Session::of(&context).map(|session| {
            let shown = session.viewer.caller.access(&model).is_some_and(|access| access.shows(&model, &column));
            field(context.parent_value, &column).filter(|_| shown).cloned().map(FieldValue::value)
        });
        FieldFuture::new(async move { value })
    })
}

/// Personal field: decrypted for callers with access to it; null for others and once its key was destroyed.
fn decrypted_field(model: &Arc<Model>, name: String, column: &str, kind: &str) -> Field {
    let (model, column, kind) = (Arc::clone(model), column.to_owned(), kind.to_owned());
    Field::new(name, TypeRef::named(TypeRef::STRING), move |context| {
        let Some(Value::String(ciphertext)) = field(context.parent_value, &column) else {
            return FieldFuture::from_value(None);
        };
        let sealed = SealedField { field: kind.clone(), ciphertext: ciphertext.clone() };
        let model = Arc::clone(&model);
        FieldFuture::new(async move {
            let session = Session::of(&context)?;
            if !session.viewer.caller.sees_personal(&model) {
                return Ok(None);
            }
            let text = session.unseal(sealed).await.map_err(|problem| problem.into_graphql())?;
            Ok(text.map(FieldValue::value))
        })
    })
}
