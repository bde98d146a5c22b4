//! Review commands of customers, and responses of the seller.

use std::collections::BTreeSet;

use domain::orders::{Order, OrderRejection, OrderStatus};
use domain::reviews::{Review, ReviewRejection, ReviewSubject, Stars};
use domain::shared::{CustomerId, OrderId, Permission, ProductId, ReviewId, Text};
use domain::social::{Relation, RelationKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{
    Command, Context, Desk, Hint, Refusal, StreamCommand, StreamOf, Subject, TenantStates, VerbOf, rejected,
};

/// Review a product that the customer ordered, once per order.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReviewProduct {
    pub customer: CustomerId,
    /// An order of the customer that contains the product. The review is verified once it is delivered.
    pub order: OrderId,
    pub product: ProductId,
    pub stars: Stars,
    pub text: Text<5000>,
}

impl Command for ReviewProduct {
    const NEEDS: Permission = Permission::Participate;
    const WHILE: TenantStates = TenantStates::OPERATING;

    fn subject(&self) -> Subject {
        Subject::Customer(self.customer)
    }

    fn streams(&self, hint: &mut Hint) {
        let subject = ReviewSubject::Product(self.product);
        hint.stream::<Order>(self.order).stream::<Review>(Review::id(self.order, subject));
    }

    fn decide(&self, desk: &mut Desk, _: &Context) -> Result<(), Refusal> {
        let order = desk.read::<Order>(self.order)?;
        if order.lines().all(|(product, _)| product != self.product) {
            return Err(rejected(ReviewRejection::NotOrdered {}));
        }
        publish(desk, self.customer, self.order, ReviewSubject::Product(self.product), self.stars, &self.text)
    }
}

/// Review the store of an order, once per order.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReviewStore {
    pub customer: CustomerId,
    /// An order of the customer. The review is verified once it is delivered.
    pub order: OrderId,
    pub stars: Stars,
    pub text: Text<5000>,
}

impl Command for ReviewStore {
    const NEEDS: Permission = Permission::Participate;
    const WHILE: TenantStates = TenantStates::OPERATING;

    fn subject(&self) -> Subject {
        Subject::Customer(self.customer)
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<Order>(self.order);
    }

    fn decide(&self, desk: &mut Desk, _: &Context) -> Result<(), Refusal> {
        let store = desk.read::<Order>(self.order)?.store().map_err(rejected)?;
        publish(desk, self.customer, self.order, ReviewSubject::Store(store), self.stars, &self.text)
    }
}

/// Publishes a review of an order; rejects the order of another customer as unknown.
fn publish(
    desk: &mut Desk,
    customer: CustomerId,
    order: OrderId,
    subject: ReviewSubject,
    stars: Stars,
    text: &Text<5000>,
) -> Result<(), Refusal> {
    let state = desk.read::<Order>(order)?;
    if state.customer().map_err(rejected)? != customer {
        return Err(rejected(OrderRejection::OrderUnknown {}));
    }
    let delivered = state.status() == Ok(OrderStatus::Delivered);
    desk.decide::<Review>(Review::id(order, subject), |review| {
        review.publish(customer, order, subject, stars, text.clone(), delivered)
    })
}

/// Change the rating and the text of a review.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EditReview {
    pub review: ReviewId,
    /// The customer who wrote it.
    pub customer: CustomerId,
    pub stars: Stars,
    pub text: Text<5000>,
}

impl StreamCommand for EditReview {
    type Aggregate = Review;
    const NEEDS: Permission = Permission::Participate;
    const WHILE: TenantStates = TenantStates::OPERATING;
    const STREAM: StreamOf<Self> = |command| command.review;
    const VERB: VerbOf<Self> = |command, review, _| review.edit(command.customer, command.stars, command.text.clone());

    fn subject(&self) -> Subject {
        Subject::Customer(self.customer)
    }
}

/// Remove a review for ever.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveReview {
    pub review: ReviewId,
    /// The customer who wrote it.
    pub customer: CustomerId,
}

impl StreamCommand for RemoveReview {
    type Aggregate = Review;
    const NEEDS: Permission = Permission::Participate;
    const WHILE: TenantStates = TenantStates::OPENED;
    const STREAM: StreamOf<Self> = |command| command.review;
    const VERB: VerbOf<Self> = |command, review, _| review.remove(command.customer);

    fn subject(&self) -> Subject {
        Subject::Customer(self.customer)
    }
}

/// Respond to a review as the seller. A second response replaces the first.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RespondToReview {
    pub review: ReviewId,
    pub text: Text<5000>,
}

impl StreamCommand for RespondToReview {
    type Aggregate = Review;
    const NEEDS: Permission = Permission::AnswerCustomers;
    const WHILE: TenantStates = TenantStates::OPERATING;
    const STREAM: StreamOf<Self> = |command| command.review;
    const VERB: VerbOf<Self> = |command, review, _| review.respond(command.text.clone());
}

/// Verify the reviews of a delivered order.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyReviews {
    pub order: OrderId,
}

impl Command for VerifyReviews {
    const NEEDS: Permission = Permission::RunEngine;
    const WHILE: TenantStates = TenantStates::OPENED;

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<Order>(self.order);
    }

    fn decide(&self, desk: &mut Desk, _: &Context) -> Result<(), Refusal> {
        let order = desk.read::<Order>(self.order)?;
        let store = order.store().map_err(rejected)?;
        let products: BTreeSet<ProductId> = order.lines().map(|(product, _)| product).collect();
        let subjects = products.into_iter().map(ReviewSubject::Product).chain([ReviewSubject::Store(store)]);
        let reviews: Vec<ReviewId> = subjects.map(|subject| Review::id(self.order, subject)).collect();
        desk.fetch(|hint| {
            for review in &reviews {
                hint.stream::<Review>(*review);
            }
        })?;
        reviews.into_iter().try_for_each(|review| desk.decide::<Review>(review, Review::verify))
    }
}

/// Vote for a review as helpful. It counts once for each customer.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VoteForReview {
    pub review: ReviewId,
    /// The customer who votes.
    pub customer: CustomerId,
}

impl Command for VoteForReview {
    const NEEDS: Permission = Permission::Participate;
    const WHILE: TenantStates = TenantStates::SELLING;

    fn subject(&self) -> Subject {
        Subject::Customer(self.customer)
    }

    fn streams(&self, hint: &mut Hint) {
        let vote = Relation::id(RelationKind::ReviewVote, self.customer, self.review.uuid());
        hint.stream::<Review>(self.review).stream::<Relation>(vote);
    }

    fn decide(&self, desk: &mut Desk, _: &Context) -> Result<(), Refusal> {
        desk.read::<Review>(self.review)?.require_published().map_err(rejected)?;
        let (kind, to) = (RelationKind::ReviewVote, self.review.uuid());
        desk.decide::<Relation>(Relation::id(kind, self.customer, to), |vote| vote.establish(kind, self.customer, to))
    }
}

/// Take back a vote for a review.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WithdrawReviewVote {
    pub review: ReviewId,
    /// The customer who voted.
    pub customer: CustomerId,
}

impl StreamCommand for WithdrawReviewVote {
    type Aggregate = Relation;
    const NEEDS: Permission = Permission::Participate;
    const WHILE: TenantStates = TenantStates::OPENED;
    const STREAM: StreamOf<Self> =
        |command| Relation::id(RelationKind::ReviewVote, command.customer, command.review.uuid());
    const VERB: VerbOf<Self> =
        |command, vote, _| vote.dissolve(RelationKind::ReviewVote, command.customer, command.review.uuid());

    fn subject(&self) -> Subject {
        Subject::Customer(self.customer)
    }
}
