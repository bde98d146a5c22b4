//! Customers, with their carts, wishlists and payment methods.

mod cart;
mod customer;
mod payment_method;
mod token_text;
mod wishlist;

pub use cart::{CART_LINES_MOST, Cart, CartEvent, CartRejection};
pub use customer::{Customer, CustomerEvent, CustomerRejection};
pub use payment_method::{PaymentMethod, PaymentMethodEvent, PaymentMethodKind, PaymentMethodRejection};
pub use token_text::{LastDigits, TokenText};
pub use wishlist::{WISHES_MOST, Wishlist, WishlistEvent, WishlistRejection};

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.aggregate::<Cart>();
    each.aggregate::<Customer>();
    each.aggregate::<PaymentMethod>();
    each.aggregate::<Wishlist>();
}
