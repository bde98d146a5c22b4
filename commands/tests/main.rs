//! Integration tests of commands and policies, with all states in memory.

mod behaviour {
    mod activity;
    mod catalogue;
    mod flash_sales;
    mod name_claims;
    mod orders;
    mod payments;
    mod points;
    mod referrals;
    mod reservations;
    mod sale_occasions;
    mod sales_receipts;
    mod stock;
    mod tenant_states;
    mod tenants;
    mod tiers;
    mod webhooks;
}
mod schemas {
    mod commands;
    pub(crate) mod samples;
}
mod shop;
