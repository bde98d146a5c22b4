//! Customer commands: profiles, carts, wishlists and payment methods.

mod cart;
mod customer;
mod payment_method;
mod wishlist;

pub use cart::*;
pub use customer::*;
pub use payment_method::*;
pub use wishlist::*;

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.command::<RegisterCustomer>();
    each.command::<ImportCustomer>();
    each.command::<UpdateProfile>();
    each.command::<AddToCart>();
    each.command::<ChangeCartQuantity>();
    each.command::<RemoveFromCart>();
    each.command::<ClearCart>();
    each.command::<CreateWishlist>();
    each.command::<AddWish>();
    each.command::<RemoveWish>();
    each.command::<AddPaymentMethod>();
    each.command::<RemovePaymentMethod>();
}
