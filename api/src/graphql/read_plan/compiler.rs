//! Compiler: makes a plan of a document that async-graphql has found valid.
//!
//! It gives up on everything that it does not know: directives, fragments on other types, one field selected twice with
//! selections of its own, several operations, introspection.

use async_graphql::parser::types::{
    DocumentOperations, ExecutableDocument, Field, OperationDefinition, OperationType, Selection, SelectionSet,
};

use super::RowTypes;
use super::plan::{
    EdgeField, Label, Nested, NestedField, PageField, PageInfoField, PagePlan, Plan, Read, RelatedRead, Root, RowField,
    RowPlan,
};
use crate::graphql::row_type::{RowType, Source};
use crate::graphql::value::Shape;
use crate::relation::Join;

struct Compiler<'a> {
    types: &'a RowTypes,
    document: &'a ExecutableDocument,
}

pub(super) fn compile(types: &RowTypes, document: &ExecutableDocument) -> Option<Plan> {
    let (name, operation) = match &document.operations {
        DocumentOperations::Single(operation) => (None, operation),
        DocumentOperations::Multiple(named) => {
            let (name, operation) = named.iter().next().filter(|_| named.len() == 1)?;
            (Some(name.to_string()), operation)
        }
    };
    let OperationDefinition { ty, variable_definitions, directives, selection_set } = &operation.node;
    if *ty != OperationType::Query || !directives.is_empty() {
        return None;
    }
    let compiler = Compiler { types, document };
    let mut roots = Vec::new();
    for field in compiler.fields(&selection_set.node, "Query")? {
        let root = match constant(field, "Query") {
            Some(constant) => Root::Constant(constant),
            None => Root::Read(Box::new(compiler.root(field)?)),
        };
        roots.push((label(field), root));
    }
    let variables = variable_definitions.iter().map(|definition| definition.node.clone()).collect();
    Some(Plan { document: document.clone(), operation: name, variables, roots })
}

impl<'a> Compiler<'a> {
    /// The fields of a selection with its fragments expanded, each under a name of its own, in the order of the answer.
    fn fields(&self, selections: &'a SelectionSet, type_name: &str) -> Option<Vec<&'a Field>> {
        let mut fields = Vec::new();
        self.collect(selections, type_name, &mut fields)?;
        fields.sort_unstable_by(|one, other| one.response_key().node.as_str().cmp(other.response_key().node.as_str()));
        Some(fields)
    }

    fn collect(&self, selections: &'a SelectionSet, type_name: &str, fields: &mut Vec<&'a Field>) -> Option<()> {
        for selection in &selections.items {
            if !selection.node.directives().is_empty() {
                return None;
            }
            let (condition, inner) = match &selection.node {
                Selection::Field(field) => {
                    let field = &field.node;
                    match fields.iter().find(|known| known.response_key().node == field.response_key().node) {
                        None => fields.push(field),
                        Some(known) if is_same_leaf(known, field) => {}
                        Some(_) => return None,
                    }
                    continue;
                }
                Selection::InlineFragment(inline) => (inline.node.type_condition.as_ref(), &inline.node.selection_set),
                Selection::FragmentSpread(spread) => {
                    let fragment = &self.document.fragments.get(&spread.node.fragment_name.node)?.node;
                    if !fragment.directives.is_empty() {
                        return None;
                    }
                    (Some(&fragment.type_condition), &fragment.selection_set)
                }
            };
            if condition.is_some_and(|condition| condition.node.on.node != type_name) {
                return None;
            }
            self.collect(&inner.node, type_name, fields)?;
        }
        Some(())
    }

    fn root(&self, field: &'a Field) -> Option<Read> {
        let name = field.name.node.as_str();
        let of = |row_type: &&RowType| row_type.model.field() == name || row_type.model.fields() == name;
        let row_type = self.types.rows.values().find(of)?;
        self.read(row_type, field, row_type.model.fields() == name)
    }

    fn read(&self, row_type: &'a RowType, field: &'a Field, is_page: bool) -> Option<Read> {
        let selections = &field.selection_set.node;
        let (page, row) = if is_page {
            let (page, row) = self.page(row_type, field)?;
            (Some(page), row)
        } else {
            (None, self.row(row_type, selections)?)
        };
        let mut field = field.clone();
        field.selection_set.node.items.clear();
        Some(Read { model: row_type.model.clone(), field, page, row })
    }

    fn page(&self, row_type: &'a RowType, field: &'a Field) -> Option<(PagePlan, RowPlan)> {
        let name = &row_type.model.name;
        let (connection, edge) = (format!("{name}Connection"), format!("{name}Edge"));
        let (mut page, mut node) = (PagePlan::default(), None);
        for field in self.fields(&field.selection_set.node, &connection)? {
            let selections = &field.selection_set.node;
            let planned = match field.name.node.as_str() {
                "edges" => {
                    let mut edges = Vec::new();
                    for field in self.fields(selections, &edge)? {
                        let planned = match field.name.node.as_str() {
                            "cursor" => EdgeField::Cursor,
                            "node" if node.is_none() => {
                                node = Some(self.row(row_type, &field.selection_set.node)?);
                                EdgeField::Node
                            }
                            _ => EdgeField::Constant(constant(field, &edge)?),
                        };
                        page.cursors |= matches!(planned, EdgeField::Cursor);
                        edges.push((label(field), planned));
                    }
                    PageField::Edges(edges)
                }
                "pageInfo" => {
                    let fields = self.fields(selections, "PageInfo")?;
                    let fields = fields.into_iter().map(|field| Some((label(field), page_info(field)?)));
                    let fields: Vec<_> = fields.collect::<Option<_>>()?;
                    let is_cursor =
                        |field: &PageInfoField| matches!(field, PageInfoField::StartCursor | PageInfoField::EndCursor);
                    page.cursors |= fields.iter().any(|(_, field)| is_cursor(field));
                    PageField::PageInfo(fields)
                }
                "totalCount" => PageField::TotalCount,
                _ => PageField::Constant(constant(field, &connection)?),
            };
            page.count |= matches!(planned, PageField::TotalCount);
            page.fields.push((label(field), planned));
        }
        let filter = field.get_argument("filter").map(|value| value.node.to_string());
        page.filter_variable = filter.and_then(|text| text.strip_prefix('$').map(str::to_owned));
        Some((page, node.unwrap_or_default()))
    }

    fn row(&self, row_type: &'a RowType, selections: &'a SelectionSet) -> Option<RowPlan> {
        let mut row = RowPlan::default();
        for field in self.fields(selections, &row_type.model.name)? {
            let planned = match constant(field, &row_type.model.name) {
                Some(constant) => RowField::Constant(constant),
                None => self.row_field(row_type, field, &mut row)?,
            };
            row.fields.push((label(field), planned));
        }
        Some(row)
    }

    fn row_field(&self, row_type: &'a RowType, field: &'a Field, row: &mut RowPlan) -> Option<RowField> {
        let relation = match row_type.fields.get(field.name.node.as_str())? {
            Source::Column { column, is_restricted, shape } => {
                let nested = if field.selection_set.node.items.is_empty() {
                    None
                } else {
                    Some(self.nested(shape, &field.selection_set.node)?)
                };
                return Some(RowField::Cell { cell: row.cell(*column), is_restricted: *is_restricted, nested });
            }
            Source::Personal { column, kind } => {
                return Some(RowField::Personal { cell: row.cell(*column), kind: kind.clone() });
            }
            Source::Relation(relation) => relation,
        };
        let (own, other) = (&row_type.model, self.types.rows.get(relation.to)?);
        let (connecting, columns) = match relation.join {
            Join::One(by) => (by, other.model.key.iter().map(|column| (*column).to_owned()).collect()),
            Join::Many(by) => (&own.key[..1], vec![by.to_owned()]),
        };
        let number = |name: &&str| own.columns.iter().position(|column| column.name == **name);
        let numbers: Vec<_> = connecting.iter().map(number).collect::<Option<_>>()?;
        let cells = numbers.into_iter().map(|column| row.cell(column)).collect();
        let read = self.read(other, field, relation.is_page())?;
        row.relations.push(RelatedRead { cells, columns, read });
        Some(RowField::Related(row.relations.len() - 1))
    }

    fn nested(&self, shape: &Shape, selections: &'a SelectionSet) -> Option<Nested> {
        match shape {
            Shape::Leaf => selections.items.is_empty().then_some(Nested::Whole),
            Shape::List(inner) => Some(Nested::List(Box::new(self.nested(inner, selections)?))),
            Shape::Object(name, members) => {
                let mut fields = Vec::new();
                for field in self.fields(selections, name)? {
                    let planned = match constant(field, name) {
                        Some(constant) => NestedField::Constant(constant),
                        None => {
                            let (member, shape) = members.get(field.name.node.as_str())?;
                            NestedField::Member(member.clone(), self.nested(shape, &field.selection_set.node)?)
                        }
                    };
                    fields.push((label(field), planned));
                }
                Some(Nested::Object(fields))
            }
        }
    }
}

impl RowPlan {
    /// Place of a column among those that are read.
    fn cell(&mut self, column: usize) -> usize {
        self.columns.iter().position(|known| *known == column).unwrap_or_else(|| {
            self.columns.push(column);
            self.columns.len() - 1
        })
    }
}

fn page_info(field: &Field) -> Option<PageInfoField> {
    match field.name.node.as_str() {
        "hasNextPage" => Some(PageInfoField::HasNextPage),
        "hasPreviousPage" => Some(PageInfoField::HasPreviousPage),
        "startCursor" => Some(PageInfoField::StartCursor),
        "endCursor" => Some(PageInfoField::EndCursor),
        _ => constant(field, "PageInfo").map(PageInfoField::Constant),
    }
}

/// Value of the field `__typename`; `None` for any other field.
fn constant(field: &Field, type_name: &str) -> Option<String> {
    (field.name.node == "__typename").then(|| format!("\"{type_name}\""))
}

/// Names have no characters that JSON escapes.
fn label(field: &Field) -> Label {
    format!("\"{}\":", field.response_key().node)
}

/// True if both fields are the same, without arguments and selections.
fn is_same_leaf(one: &Field, other: &Field) -> bool {
    let is_leaf = |field: &Field| field.arguments.is_empty() && field.selection_set.node.items.is_empty();
    one.name.node == other.name.node && is_leaf(one) && is_leaf(other)
}
