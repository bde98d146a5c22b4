//! A person in one tenant. Whoever has an address here has it alone (ES-15).

use domain::customers::Customer;
use domain::shared::{
    CustomerId, Email, Permission, PersonName, Personal, PersonalField, Phone, SealError, Sealer, Text,
};
use domain::tenancy::NameClaim;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Command, Context, Desk, Hint, Misuse, Refusal, Subject};

/// Sign up as a customer.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisterCustomer {
    /// Made by the caller, so that sending it again makes no second customer.
    pub customer: CustomerId,
    pub name: Personal<PersonName>,
    /// Unique within the tenant.
    pub email: Option<Personal<Email>>,
    pub phone: Option<Personal<Phone>>,
}

impl Command for RegisterCustomer {
    const NEEDS: Permission = Permission::KeepProfile;

    fn subject(&self) -> Subject {
        Subject::Customer(self.customer)
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<Customer>(self.customer);
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        let before = address_of(desk, self.customer)?;
        desk.decide::<Customer>(self.customer, |customer| {
            customer.register(self.name.clone(), self.email.clone(), self.phone.clone())
        })?;
        move_claim(desk, context, self.customer, before.as_deref(), self.email.as_ref())
    }

    fn seal(&mut self, sealer: &mut dyn Sealer) -> Result<(), SealError> {
        self.name.seal(self.customer.uuid(), sealer)?;
        seal(self.customer, &mut self.email, sealer)?;
        seal(self.customer, &mut self.phone, sealer)
    }
}

/// Take over what another system knows about a customer. What it does not say stays as it is.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportCustomer {
    /// Derived by the caller from the other system's own id, so that importing again makes no second customer.
    pub customer: CustomerId,
    pub name: Option<Personal<PersonName>>,
    /// Unique within the tenant.
    pub email: Option<Personal<Email>>,
    /// The system, and what the customer is called there.
    pub source: Text<100>,
}

impl Command for ImportCustomer {
    const NEEDS: Permission = Permission::ManageCustomers;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<Customer>(self.customer);
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        let before = address_of(desk, self.customer)?;
        desk.decide::<Customer>(self.customer, |customer| {
            customer.import(self.name.clone(), self.email.clone(), self.source.clone())
        })?;
        match &self.email {
            Some(email) => move_claim(desk, context, self.customer, before.as_deref(), Some(email)),
            None => Ok(()),
        }
    }

    fn seal(&mut self, sealer: &mut dyn Sealer) -> Result<(), SealError> {
        seal(self.customer, &mut self.name, sealer)?;
        seal(self.customer, &mut self.email, sealer)
    }
}

/// Replace the profile of a customer as a whole; what is left out is removed from it.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateProfile {
    pub customer: CustomerId,
    pub name: Personal<PersonName>,
    /// Unique within the tenant. The address before becomes free.
    pub email: Option<Personal<Email>>,
    pub phone: Option<Personal<Phone>>,
}

impl Command for UpdateProfile {
    const NEEDS: Permission = Permission::KeepProfile;

    fn subject(&self) -> Subject {
        Subject::Customer(self.customer)
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<Customer>(self.customer);
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        let before = address_of(desk, self.customer)?;
        desk.decide::<Customer>(self.customer, |customer| {
            customer.update_profile(self.name.clone(), self.email.clone(), self.phone.clone())
        })?;
        move_claim(desk, context, self.customer, before.as_deref(), self.email.as_ref())
    }

    fn seal(&mut self, sealer: &mut dyn Sealer) -> Result<(), SealError> {
        self.name.seal(self.customer.uuid(), sealer)?;
        seal(self.customer, &mut self.email, sealer)?;
        seal(self.customer, &mut self.phone, sealer)
    }
}

/// The blind index of the address that the customer has now.
fn address_of(desk: &mut Desk, customer: CustomerId) -> Result<Option<String>, Refusal> {
    Ok(desk.read::<Customer>(customer)?.email_index().map(String::from))
}

/// Claims the new address and frees the old one, if they differ.
fn move_claim(
    desk: &mut Desk,
    context: &Context,
    customer: CustomerId,
    before: Option<&str>,
    after: Option<&Personal<Email>>,
) -> Result<(), Refusal> {
    let after = after.map(index_of).transpose()?;
    let claim = |index: &str| NameClaim::id("email", context.tenant.uuid(), index);
    desk.fetch(|hint| {
        for index in before.into_iter().chain(after) {
            hint.stream::<NameClaim>(claim(index));
        }
    })?;
    if let Some(index) = after {
        desk.decide::<NameClaim>(claim(index), |name| name.claim("email", customer.uuid()))?;
    }
    match before.filter(|index| Some(*index) != after) {
        Some(index) => desk.decide::<NameClaim>(claim(index), |name| name.release(customer.uuid())),
        None => Ok(()),
    }
}

fn index_of(email: &Personal<Email>) -> Result<&str, Refusal> {
    let text = "an address cannot be kept unique before it is sealed";
    email.blind_index().ok_or_else(|| Refusal::Misuse(Misuse::new("NOT_SEALED", "email", text)))
}

fn seal<T: PersonalField>(
    customer: CustomerId,
    field: &mut Option<Personal<T>>,
    sealer: &mut dyn Sealer,
) -> Result<(), SealError> {
    field.as_mut().map_or(Ok(()), |value| value.seal(customer.uuid(), sealer))
}
