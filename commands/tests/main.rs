//! What the commands and policies of the house decide together, on a shelf in memory.

mod descriptions {
    mod of_commands;
}
mod sentences {
    mod about_catalogue;
    mod about_names;
    mod about_orders;
    mod about_payments;
    mod about_points;
    mod about_tenants;
    mod about_webhooks;
}
mod shop;
