//! Catalogue commands: products, their variants, and categories.

mod category_tree;
mod policies;
mod product;
mod product_restriction;
mod variant;

pub use category_tree::*;
pub use policies::*;
pub use product::*;
pub use product_restriction::*;
pub use variant::*;

use crate::kernel::{Misuse, Refusal, Visitor};

pub fn visit(each: &mut impl Visitor) {
    each.command::<CreateProduct>();
    each.command::<ReviseProduct>();
    each.command::<ChangePrice>();
    each.command::<CategorizeProduct>();
    each.command::<SetSpecifications>();
    each.command::<AddVariant>();
    each.command::<ReviseVariant>();
    each.command::<RetireVariant>();
    each.command::<PublishProduct>();
    each.command::<UnpublishProduct>();
    each.command::<ArchiveProduct>();
    each.command::<RestoreProduct>();
    each.command::<AddCategory>();
    each.command::<RenameCategory>();
    each.command::<MoveCategory>();
    each.command::<RetireCategory>();
    each.command::<SetSpecificationTemplate>();
    each.command::<RestrictProduct>();
    each.command::<LiftRestriction>();
    each.command::<FollowProductRestriction>();
    each.command::<FollowLifting>();
    each.policy::<FollowModeration>();
}

/// Refuses a list with more entries than a state may have.
fn require_length(field: &'static str, length: usize, most: usize) -> Result<(), Refusal> {
    if length > most {
        return Err(Refusal::Misuse(Misuse::new("INVALID_FIELD", field, format!("expected at most {most} entries"))));
    }
    Ok(())
}
