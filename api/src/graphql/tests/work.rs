//! Fields for operators: who sees and changes background work, and how answers look.

use domain::shared::TenantId;
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use projections::ports::Fault;

use super::*;
use crate::port::{
    Backend, Breaker, BreakerState, DeadLetter, DeadLetterKind, LetterCursor, LetterRemoval, ProcessStatus, Work,
};
use crate::testing::TENANT;

fn tenant() -> TenantId {
    TenantId::new(Uuid::from_u128(TENANT))
}

/// Has one dead letter of the tenant, with the id 9, and one of the platform, with the id 10; neither can be requeued twice.
impl Work for Engine {
    fn dead_letters(
        &self,
        scope: Option<TenantId>,
        after: Option<LetterCursor>,
        first: u32,
    ) -> BoxFuture<'_, Result<Vec<DeadLetter>, Fault>> {
        let letter = |id: u128, tenant| DeadLetter {
            id: Uuid::from_u128(id),
            tenant,
            kind: DeadLetterKind::Effect,
            source: "send_mails".into(),
            name: "send_mail".into(),
            body: json!({ "to": "sealed" }),
            reason: "tried 20 times".into(),
            attempts: 20,
            failed_at: self.now(),
        };
        let all = [letter(10, TenantId::PLATFORM), letter(9, tenant())];
        let shown = all.into_iter().filter(|letter| scope.is_none_or(|tenant| letter.tenant == tenant));
        let shown = shown.filter(|letter| after.is_none_or(|after| letter.id < after.id));
        ready(Ok(shown.take(usize::try_from(first).expect("a small number")).collect())).boxed()
    }

    fn remove_dead_letter(
        &self,
        scope: Option<TenantId>,
        id: Uuid,
        requeue: bool,
    ) -> BoxFuture<'_, Result<LetterRemoval, Fault>> {
        let found = self.dead_letters(scope, None, 10);
        let removal = async move {
            let letter = found.await?.into_iter().find(|letter| letter.id == id);
            Ok(match letter {
                None => LetterRemoval::Unknown,
                Some(letter) if requeue && letter.tenant == TenantId::PLATFORM => {
                    LetterRemoval::Refused("this version has no effect send_mail".into())
                }
                Some(letter) => LetterRemoval::Removed(Box::new(letter)),
            })
        };
        removal.boxed()
    }

    fn processes(&self) -> BoxFuture<'_, Result<Vec<ProcessStatus>, Fault>> {
        let policy = "send_mails".into();
        ready(Ok(vec![ProcessStatus { policy, lane: 3, position: 40, lag: 2, parked_streams: 1 }])).boxed()
    }

    fn breakers(&self, _: Option<TenantId>) -> BoxFuture<'_, Result<Vec<BreakerState>, Fault>> {
        let (partner, open_until) = ("mail".into(), Some(self.now()));
        let breaker = BreakerState { tenant: tenant(), partner, state: Breaker::Open, failures: 5, open_until };
        ready(Ok(vec![breaker])).boxed()
    }
}

fn claims(tenant: TenantId, role: &str) -> Json {
    json!({ "sub": Uuid::from_u128(77), "tenant": tenant, "roles": [role] })
}

async fn ask_of(role: &str, tenant: TenantId, query: &str) -> Json {
    ask_as(&engine(), &claims(tenant, role), query, json!({})).await
}

#[tokio::test]
async fn team_sees_the_dead_letters_of_its_tenant_and_operators_of_the_platform_those_of_all() {
    let query = "{ deadLetters { id tenant kind source name body reason attempts failedAt cursor } }";
    let shown = ask_of("owner", tenant(), query).await;
    let letter = &shown["data"]["deadLetters"][0];
    assert_eq!(shown["data"]["deadLetters"].as_array().map(Vec::len), Some(1), "{shown}");
    assert_eq!((&letter["id"], &letter["kind"], &letter["attempts"]), (&id(9), &json!("EFFECT"), &json!(20)));
    let all = ask_of("operator", TenantId::PLATFORM, query).await;
    assert_eq!(all["data"]["deadLetters"].as_array().map(Vec::len), Some(2), "{all}");
    let cursor = all["data"]["deadLetters"][0]["cursor"].as_str().expect("a cursor");
    let page = format!("{{ deadLetters(first: 1, after: \"{cursor}\") {{ id }} }}");
    let page = ask_of("operator", TenantId::PLATFORM, &page).await;
    assert_eq!(page["data"]["deadLetters"], json!([{ "id": id(9) }]), "{page}");
    for refused in ["{ deadLetters(first: 0) { id } }", "{ deadLetters(after: \"x\") { id } }"] {
        let answer = ask_of("owner", tenant(), refused).await;
        assert_eq!(answer["errors"][0]["extensions"]["code"], "INVALID_ARGUMENT", "{answer}");
    }
}

#[tokio::test]
async fn letter_is_requeued_and_discarded_within_the_scope_of_the_caller() {
    let change = |field: &str, number: u128| format!("mutation {{ {field}(id: {}) {{ id }} }}", id(number));
    for field in ["requeueDeadLetter", "discardDeadLetter"] {
        let done = ask_of("owner", tenant(), &change(field, 9)).await;
        assert_eq!(done["data"][field]["id"], id(9), "{done}");
        let foreign = ask_of("owner", tenant(), &change(field, 10)).await;
        assert_eq!(foreign["errors"][0]["extensions"]["code"], "UNKNOWN_DEAD_LETTER", "{foreign}");
    }
    let refused = ask_of("operator", TenantId::PLATFORM, &change("requeueDeadLetter", 10)).await;
    assert_eq!(refused["errors"][0]["message"], "this version has no effect send_mail", "{refused}");
}

#[tokio::test]
async fn positions_are_for_the_platform_and_nothing_is_for_staff() {
    let (processes, breakers) = (
        "{ processStatus { policy lane position lag parkedStreams } }",
        "{ breakerState { partner state openUntil } }",
    );
    let shown = ask_of("operator", TenantId::PLATFORM, processes).await;
    let expected = json!([{ "policy": "send_mails", "lane": 3, "position": 40, "lag": 2, "parkedStreams": 1 }]);
    assert_eq!(shown["data"]["processStatus"], expected, "{shown}");
    let shown = ask_of("owner", tenant(), breakers).await;
    assert_eq!(shown["data"]["breakerState"][0]["state"], "OPEN", "{shown}");
    let discard = format!("mutation {{ discardDeadLetter(id: {}) {{ id }} }}", id(9));
    for (role, query) in [
        ("owner", processes),
        ("staff", processes),
        ("staff", breakers),
        ("staff", "{ deadLetters { id } }"),
        ("staff", &discard),
    ] {
        let answer = ask_of(role, tenant(), query).await;
        assert_eq!(answer["errors"][0]["extensions"]["code"], "FORBIDDEN", "{role} {query}: {answer}");
    }
}
