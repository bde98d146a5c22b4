//! Customers, with their carts, wishlists and payment methods.

mod cart;
mod cart_line;
mod customer;
mod payment_method;
mod wish;
mod wishlist;

pub use cart::Cart;
pub use cart_line::CartLine;
pub use customer::Customer;
pub use payment_method::PaymentMethod;
pub use wish::Wish;
pub use wishlist::Wishlist;

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.read_model::<Cart>();
    each.read_model::<CartLine>();
    each.read_model::<Customer>();
    each.read_model::<PaymentMethod>();
    each.read_model::<Wish>();
    each.read_model::<Wishlist>();
}
