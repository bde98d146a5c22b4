//! Queue of the search index: rows whose personal fields have changed.

use event_log::fault;
use projections::kernel::{Change, Model};
use projections::ports::{Cause, Fault};
use serde_json::Value;
use sqlx::PgTransaction;
use uuid::Uuid;

/// Adds changed rows to the queue of the search index, with their sealed fields.
pub(super) async fn queue_search(
    transaction: &mut PgTransaction<'_>,
    model: &Model,
    changes: &[Change],
) -> Result<(), Fault> {
    if model.searched.is_empty() || changes.is_empty() {
        return Ok(());
    }
    let doing = || format!("adding rows of {} to the search index", model.name);
    let corrupt = |error| Fault::caused(Cause::Corrupt, doing(), error);
    let (mut tenants, mut persons, mut fields) = (Vec::new(), Vec::new(), Vec::new());
    for change in changes {
        let [person]: [Uuid; 1] = serde_json::from_str(change.place.key.as_str()).map_err(corrupt)?;
        tenants.push(change.place.tenant.uuid());
        persons.push(person);
        fields.push(change.row.as_deref().map_or(Ok(String::new()), |row| sealed_fields(model, row)).map_err(corrupt)?);
    }
    let text = "INSERT INTO work.search_queue (model, tenant, person, fields)
                SELECT $1, * FROM unnest($2::uuid[], $3::uuid[], $4::text[])";
    let added = sqlx::query(text).bind(&model.name).bind(tenants).bind(persons).bind(fields);
    added.execute(&mut **transaction).await.map(|_| ()).map_err(fault(doing()))
}

/// Kinds and ciphertexts of the searched fields of a row, all separated by blanks.
fn sealed_fields(model: &Model, row: &str) -> Result<String, serde_json::Error> {
    let row: Value = serde_json::from_str(row)?;
    let sealed = model.searched.iter().filter_map(|field| Some([&*field.kind, row[field.column].as_str()?]));
    Ok(sealed.flatten().collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use projections::customers::Customer;

    use super::*;

    #[test]
    fn searched_fields_are_queued_with_their_kinds() {
        let model = Model::of::<Customer>();
        let row = r#"{"name":"sealed.v1.AA.","phone":"sealed.v1.BB.","email":"sealed.v1.CC.dd"}"#;
        let fields = sealed_fields(&model, row).expect("a row");
        assert_eq!(fields, "name sealed.v1.AA. email sealed.v1.CC.dd");
        assert_eq!(sealed_fields(&model, r#"{"name":null}"#).expect("a row"), "");
    }
}
