//! Relations of the referral read models.

use crate::relation::Relations;

pub(crate) fn relations(of: &mut Relations) {
    of.one("Referral", "progress", "ReferralProgress", &["advocate"]);
}
