//! Tests of the category tree.

use super::*;
use crate::testing::values::{id, parsed};
use crate::testing::{Given, given};

const KITCHEN: CategoryId = CategoryId::new(id(1));
const MUGS: CategoryId = CategoryId::new(id(2));
const LARGE: CategoryId = CategoryId::new(id(3));
const UNKNOWN: CategoryId = CategoryId::new(id(9));

fn added(category: CategoryId, name: &str, parent: Option<CategoryId>) -> CategoryTreeEvent {
    CategoryTreeEvent::Added { category, name: parsed(name), icon: None, parent }
}

/// Kitchen, mugs below it, and large mugs below these.
fn tree() -> Given<CategoryTree> {
    given([])
        .when(|tree: &CategoryTree| tree.add(KITCHEN, parsed("Kitchen"), None, None))
        .then_once([added(KITCHEN, "Kitchen", None)])
        .when(|tree| tree.add(MUGS, parsed("Mugs"), None, Some(KITCHEN)))
        .then_once([added(MUGS, "Mugs", Some(KITCHEN))])
        .when(|tree| tree.add(LARGE, parsed("Large"), None, Some(MUGS)))
        .then_once([added(LARGE, "Large", Some(MUGS))])
}

#[test]
fn category_is_added_once_below_an_existing_one() {
    let unknown = CategoryTreeRejection::CategoryUnknown { category: UNKNOWN };
    tree()
        .when(|tree| tree.add(MUGS, parsed("Cups"), None, None))
        .then_rejected(CategoryTreeRejection::CategoryExists {});
    given([]).when(|tree: &CategoryTree| tree.add(MUGS, parsed("Mugs"), None, Some(UNKNOWN))).then_rejected(unknown);
}

#[test]
fn no_move_makes_a_cycle() {
    for below in [KITCHEN, MUGS, LARGE] {
        tree().when(|tree| tree.place(KITCHEN, Some(below))).then_rejected(CategoryTreeRejection::CategoryCycle {});
    }
    tree()
        .when(|tree| tree.place(LARGE, Some(KITCHEN)))
        .then_once([CategoryTreeEvent::Moved { category: LARGE, parent: Some(KITCHEN) }])
        .when(|tree| tree.place(MUGS, Some(LARGE)))
        .then_once([CategoryTreeEvent::Moved { category: MUGS, parent: Some(LARGE) }])
        .when(|tree| tree.place(LARGE, Some(MUGS)))
        .then_rejected(CategoryTreeRejection::CategoryCycle {});
    proofs::proven("CAT-09 no move of a category makes a cycle");
}

#[test]
fn retired_category_has_none_below_it_and_does_not_change() {
    let retired = || CategoryTreeRejection::CategoryRetired { category: LARGE };
    tree().when(|tree| tree.retire(MUGS)).then_rejected(CategoryTreeRejection::CategoryHasChildren {});
    let without_large =
        || tree().when(|tree| tree.retire(LARGE)).then_once([CategoryTreeEvent::Retired { category: LARGE }]);
    without_large().when(|tree| tree.rename(LARGE, parsed("Huge"), None)).then_rejected(retired());
    without_large().when(|tree| tree.place(KITCHEN, Some(LARGE))).then_rejected(retired());
    without_large()
        .when(|tree| tree.retire(MUGS))
        .then_once([CategoryTreeEvent::Retired { category: MUGS }])
        .holds(|tree| tree.require_active(MUGS).is_err() && tree.require_active(KITCHEN).is_ok());
}

#[test]
fn template_names_each_property_once_and_some_are_required() {
    let field = |name, required| TemplateField { name: parsed(name), required };
    let template = vec![field("Material", true), field("Colour", false)];
    tree()
        .when(|tree| tree.set_template(MUGS, vec![field("Colour", true), field("Colour", false)]))
        .then_rejected(CategoryTreeRejection::PropertyRepeated { name: parsed("Colour") });
    tree()
        .when(|tree| tree.set_template(MUGS, template.clone()))
        .then_once([CategoryTreeEvent::TemplateSet { category: MUGS, template: template.clone() }])
        .holds(|tree| {
            tree.required_properties(MUGS).eq([&parsed::<Text<100>>("Material")])
                && tree.required_properties(KITCHEN).next().is_none()
        });
}

#[test]
fn number_of_categories_is_limited() {
    let mut tree = CategoryTree::default();
    for number in 0..CATEGORIES_MOST {
        tree.apply(&added(CategoryId::new(id(1_000_u128.saturating_add(number as u128))), "One", None));
    }
    let one_more = tree.add(MUGS, parsed("Mugs"), None, None);
    assert_eq!(one_more, Err(CategoryTreeRejection::TooManyCategories { most: CATEGORIES_MOST }));
}
