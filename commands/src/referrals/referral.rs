//! Referral commands of customers and the team.

use domain::customers::Customer;
use domain::referrals::{Advocate, Referral, ReferralRejection, ReferralRules, ReferralTerms};
use domain::shared::{ClaimId, Code, CustomerId, Permission};
use domain::tenancy::NameClaim;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::progress::complete;
use crate::kernel::{Command, Context, Desk, Hint, Refusal, Subject, TenantStates, rejected};

/// Set the rules of referrals.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetReferralRules {
    pub rules: ReferralRules,
}

impl Command for SetReferralRules {
    const NEEDS: Permission = Permission::ManageProgram;

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        desk.decide::<ReferralTerms>(context.tenant, |terms| terms.set(self.rules))
    }
}

/// Issue the referral code of a customer. A repeat keeps the code.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IssueReferralCode {
    pub customer: CustomerId,
}

impl Command for IssueReferralCode {
    const NEEDS: Permission = Permission::Participate;
    const WHILE: TenantStates = TenantStates::SELLING;

    fn subject(&self) -> Subject {
        Subject::Customer(self.customer)
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<Advocate>(Advocate::id(self.customer));
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        let claim = claim_of(context, &Advocate::code(self.customer));
        desk.fetch(|hint| {
            hint.stream::<ReferralTerms>(context.tenant).stream::<NameClaim>(claim);
            self.streams(hint);
        })?;
        desk.read::<ReferralTerms>(context.tenant)?.active().map_err(rejected)?;
        desk.decide::<NameClaim>(claim, |name| name.claim("referral code", self.customer.uuid()))?;
        desk.decide::<Advocate>(Advocate::id(self.customer), |advocate| advocate.issue_code(self.customer))
    }
}

/// Come as a friend with the code of a customer, before registering or ordering.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StartReferral {
    pub code: Code,
    pub friend: CustomerId,
}

impl Command for StartReferral {
    const NEEDS: Permission = Permission::Participate;
    const WHILE: TenantStates = TenantStates::SELLING;

    fn subject(&self) -> Subject {
        Subject::Customer(self.friend)
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<Referral>(Referral::id(self.friend)).stream::<Customer>(self.friend);
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        start(desk, context, &self.code, self.friend)
    }
}

/// Complete the referral of a friend by the code, as another system reports it.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CompleteReferral {
    pub code: Code,
    /// Referred before, or no customer yet.
    pub friend: CustomerId,
}

impl Command for CompleteReferral {
    const NEEDS: Permission = Permission::ManagePoints;
    const WHILE: TenantStates = TenantStates::SELLING;

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<Referral>(Referral::id(self.friend)).stream::<Customer>(self.friend);
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        start(desk, context, &self.code, self.friend)?;
        complete(desk, context, self.friend)
    }
}

/// Begins the referral of a friend by the customer to whom the code belongs.
fn start(desk: &mut Desk, context: &Context, code: &Code, friend: CustomerId) -> Result<(), Refusal> {
    let claim = claim_of(context, code);
    desk.fetch(|hint| {
        hint.stream::<ReferralTerms>(context.tenant).stream::<NameClaim>(claim);
        hint.stream::<Referral>(Referral::id(friend)).stream::<Customer>(friend);
    })?;
    desk.read::<ReferralTerms>(context.tenant)?.active().map_err(rejected)?;
    let Some(advocate) = desk.read::<NameClaim>(claim)?.owner().map(CustomerId::new) else {
        return Err(rejected(ReferralRejection::CodeUnknown {}));
    };
    let is_customer = desk.read::<Customer>(friend)?.require_known().is_ok();
    desk.decide::<Referral>(Referral::id(friend), |referral| referral.start(advocate, friend, is_customer))
}

/// Claim that makes a referral code unique.
fn claim_of(context: &Context, code: &Code) -> ClaimId {
    NameClaim::id("referral_code", context.tenant.uuid(), &code.to_string())
}
