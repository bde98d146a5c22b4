//! Bad input over HTTP: every bad value in every field of every command is refused with the path of the field and
//! leaves no trace; unusual values are stored exactly as they were sent.

use anyhow::{Context, Result, ensure};
use cartulary::cli::Bearer;
use commands::kernel::{CommandDescriptor, Commands};
use domain::shared::{Permission, Role, TenantId};
use lab::harness::{Engine, HttpRequest, HttpResponse};
use platform::clock::new_id;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::bad_fields::{Field, sample};
use crate::bad_values::{BadValue, Fate, PLAIN};

const NDJSON: &str = "application/x-ndjson";
const JSON: &str = "application/json";
/// Bad lines in one batch, beside the good ones.
const BAD_LINES: usize = 450;
/// Number of bad lines after each good one.
const GOOD_EACH: usize = 50;
/// Events of a good line: the customer and the claim of its source.
const GOOD_EVENTS: i64 = 2;

/// An engine with one tenant, and tokens for all commands.
struct Callers {
    engine: Engine,
    tenant: Uuid,
    owner: String,
    operator: String,
}

/// One bad value in one field.
struct Case<'a> {
    field: &'a Field,
    value: BadValue,
}

impl Callers {
    async fn new() -> Result<Self> {
        let engine = Engine::start().await?;
        let tenant = engine.tenant().await?.0;
        let owner = engine.token(&Bearer::of(tenant, Role::Owner))?;
        let operator = engine.token(&Bearer::of(TenantId::PLATFORM, Role::Operator))?;
        Ok(Self { engine, tenant: tenant.uuid(), owner, operator })
    }

    /// A token that may send the command; none for commands of the engine alone.
    fn token(&self, kind: &CommandDescriptor) -> Option<&str> {
        match kind.needs {
            Permission::RunEngine => None,
            needs if Role::Owner.permits(needs) => Some(&self.owner),
            _ => Some(&self.operator),
        }
    }

    async fn batch(&self, token: &str, lines: &[String]) -> Result<Vec<Value>> {
        let got = self.engine.send(&HttpRequest::post("/v1/commands", token, NDJSON, lines.join("\n"))).await?;
        ensure!(got.status == 200, "a batch was answered with {}: {}", got.status, got.json());
        let answers = got.lines()?;
        ensure!(answers.len() == lines.len(), "{} answers to {} lines", answers.len(), lines.len());
        Ok(answers)
    }

    async fn one(&self, token: &str, name: &str, kind: &str, body: impl Into<bytes::Bytes>) -> Result<HttpResponse> {
        self.engine.send(&HttpRequest::post(&format!("/v1/commands/{name}"), token, kind, body)).await
    }

    /// Numbers of events and of stored rejections, of the tenant and the platform together.
    async fn log(&self) -> Result<(i64, i64)> {
        let (ours, platform) =
            (self.engine.written(self.tenant).await?, self.engine.written(TenantId::PLATFORM.uuid()).await?);
        Ok((ours.0 + platform.0, ours.1 + platform.1))
    }

    async fn send_cases(&self, token: &str, cases: &[Case<'_>]) -> Result<Vec<Value>> {
        let lines: Vec<_> = cases.iter().map(|case| line(&case.field.command, &case.field.with(&case.value))).collect();
        self.batch(token, &lines).await
    }
}

fn line(name: &str, body: &str) -> String {
    format!(r#"{{"id":"{}","name":"{name}","command":{body}}}"#, new_id())
}

/// A line that is always accepted and causes exactly [`GOOD_EVENTS`] events.
fn good_line() -> String {
    let customer = new_id();
    let body =
        json!({ "customer": customer, "name": null, "email": null, "source": format!("a good line {customer}") });
    line("ImportCustomer", &body.to_string())
}

/// All fields of the commands that a token may send.
fn fields(callers: &Callers, commands: &Commands, token: &str) -> Vec<Field> {
    let ours = commands.iter().filter(|kind| callers.token(kind) == Some(token));
    ours.flat_map(Field::all).collect()
}

fn cases(fields: &[Field], wanted: impl Fn(Fate) -> bool) -> Vec<Case<'_>> {
    let all = fields.iter().flat_map(|field| field.values().into_iter().map(move |value| Case { field, value }));
    all.filter(|case| wanted(case.value.fate)).collect()
}

/// Describes the answer if it is not the refusal that a bad value must get; `None` if it is.
fn not_refused(case: &Case<'_>, answer: &Value) -> Option<String> {
    let problem = &answer["problem"];
    let (status, code) = (problem["status"].as_u64().unwrap_or_default(), problem["code"].as_str().unwrap_or_default());
    let found = problem["errors"][0]["field"].as_str().unwrap_or("(no field)");
    let fits = answer["outcome"] == "refused"
        && names_no_type(problem)
        && matches!(status, 400 | 422)
        && matches!(code, "INVALID_FIELD" | "INVALID_JSON")
        && case.field.is_named(case.value.fate, code, found);
    (!fits).then(|| described(case, answer))
}

/// Words of Rust and serde that mean nothing to callers.
const TYPES: [&str; 22] = [
    "i8", "i16", "i32", "i64", "i128", "isize", "u8", "u16", "u32", "u64", "u128", "usize", "f32", "f64", "nonzero",
    "struct", "enum", "variant", "tuple", "newtype", "sequence", "map",
];

/// True if the texts of a problem name no type of the code.
fn names_no_type(problem: &Value) -> bool {
    let texts = [&problem["detail"], &problem["errors"][0]["message"]].map(|text| text.as_str().unwrap_or_default());
    // Names of fields are quoted, and a field may be called `variant`.
    let unquoted = texts.iter().flat_map(|text| text.split('`').step_by(2));
    let mut words = unquoted.flat_map(|text| text.split(|letter: char| !letter.is_ascii_alphanumeric()));
    words.all(|word| !TYPES.contains(&word))
}

/// Describes the answer if the parser has refused an unusual but valid value; `None` otherwise. The domain may reject it.
fn not_taken(case: &Case<'_>, answer: &Value) -> Option<String> {
    let problem = &answer["problem"];
    let about_another = problem["status"] == 422 && problem["errors"][0]["field"] != case.field.path.as_str();
    let fits = answer["outcome"] == "accepted" || answer["outcome"] == "rejected" || about_another;
    (!fits).then(|| described(case, answer))
}

fn described(case: &Case<'_>, answer: &Value) -> String {
    let value: String = case.value.json.chars().take(60).collect();
    let answer: String = answer.to_string().chars().take(300).collect();
    format!("{}.{} = {value} ({:?}): {answer}", case.field.command, case.field.path, case.value.fate)
}

fn none_wrong(wrong: &[String]) {
    let first: Vec<_> = wrong.iter().take(60).cloned().collect();
    assert!(wrong.is_empty(), "{} answers are wrong\n{}", wrong.len(), first.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_value_in_any_field_is_refused_by_name_without_a_trace_or_harm_to_other_lines() -> Result<()> {
    let (callers, commands) = (Callers::new().await?, Commands::all());
    let fields = fields(&callers, &commands, &callers.owner);
    let cases = cases(&fields, |fate| fate != Fate::Taken);
    assert!(cases.len() > 3_000, "only {} cases", cases.len());
    let before = callers.log().await?;
    let (mut wrong, mut good) = (vec![], 0);
    for cases in cases.chunks(BAD_LINES) {
        let (mut lines, mut meant) = (vec![], vec![]);
        for (index, case) in cases.iter().enumerate() {
            if index % GOOD_EACH == 0 {
                lines.push(good_line());
                meant.push(None);
            }
            lines.push(line(&case.field.command, &case.field.with(&case.value)));
            meant.push(Some(case));
        }
        for (case, answer) in meant.iter().zip(callers.batch(&callers.owner, &lines).await?) {
            match case {
                Some(case) => wrong.extend(not_refused(case, &answer)),
                None => {
                    assert_eq!(answer["outcome"], "accepted", "{answer}");
                    good += 1;
                }
            }
        }
    }
    none_wrong(&wrong);
    assert_eq!(callers.log().await?, (before.0 + GOOD_EVENTS * good, before.1), "only good lines are in the log");
    callers.engine.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_values_are_refused_at_the_platform_too_and_unusual_ones_are_decided() -> Result<()> {
    let (callers, commands) = (Callers::new().await?, Commands::all());
    let before = callers.log().await?;
    let platform = fields(&callers, &commands, &callers.operator);
    let mut wrong = vec![];
    for cases in cases(&platform, |fate| fate != Fate::Taken).chunks(BAD_LINES) {
        let answers = callers.send_cases(&callers.operator, cases).await?;
        wrong.extend(cases.iter().zip(&answers).filter_map(|(case, answer)| not_refused(case, answer)));
    }
    none_wrong(&wrong);
    assert_eq!(callers.log().await?, before);
    for token in [&callers.owner, &callers.operator] {
        let fields = fields(&callers, &commands, token);
        for cases in cases(&fields, |fate| fate == Fate::Taken).chunks(BAD_LINES) {
            let answers = callers.send_cases(token, cases).await?;
            wrong.extend(cases.iter().zip(&answers).filter_map(|(case, answer)| not_taken(case, answer)));
        }
    }
    none_wrong(&wrong);
    callers.engine.close().await;
    Ok(())
}

/// Bodies that are wrong as a whole, each with the code and the field of its refusal.
fn structures(good: &Value) -> Vec<(String, &'static str, Option<&'static str>)> {
    let text = good.to_string();
    let inner = text.trim_start_matches('{').trim_end_matches('}').to_owned();
    let comma = if inner.is_empty() { "" } else { "," };
    let open = &text[..text.len() - 1];
    let mut bodies = vec![
        (String::new(), "INVALID_JSON", None),
        (format!("{open},}}"), "INVALID_JSON", None),
        (format!("{text} // nothing"), "INVALID_JSON", None),
        (format!("/* nothing */{text}"), "INVALID_JSON", None),
        (format!("{text}{text}"), "INVALID_JSON", None),
        (format!("{text}\n{{}}"), "INVALID_JSON", None),
        (format!("\u{feff}{text}"), "INVALID_JSON", None),
        (open.to_owned(), "INVALID_JSON", None),
        ("[]".into(), "INVALID_FIELD", None),
        (format!("[{text}]"), "INVALID_FIELD", None),
        (positional(good), "INVALID_FIELD", None),
        ("null".into(), "INVALID_FIELD", None),
        ("\"text\"".into(), "INVALID_FIELD", None),
        ("7".into(), "INVALID_FIELD", None),
        (format!("{}1{}", "[".repeat(129), "]".repeat(129)), "TOO_DEEP", None),
        (format!("{open}{comma}\"deep\":{}1{}}}", "[".repeat(129), "]".repeat(129)), "TOO_DEEP", None),
        (format!("{open}{comma}\"a\\u0000b\":1}}"), "INVALID_FIELD", None),
    ];
    let unknown = ["tenant_id", "role", "status", "points_balance", "version", "principal", "__proto__", "id"];
    bodies.extend(unknown.map(|name| (format!("{open}{comma}\"{name}\":1}}"), "INVALID_FIELD", Some(name))));
    if good["price"].is_null() {
        bodies.push((format!("{open}{comma}\"price\":1}}"), "INVALID_FIELD", Some("price")));
    }
    if let Some((first, value)) = good.as_object().and_then(|fields| fields.iter().next()) {
        bodies.push((format!("{open},\"{first}\":{value}}}"), "DUPLICATE_FIELD", None));
        let escaped = format!("\\u{:04x}{}", u32::from(first.as_bytes()[0]), &first[1..]);
        bodies.push((format!("{open},\"{escaped}\":{value}}}"), "DUPLICATE_FIELD", None));
    }
    bodies
}

/// The field values of an object as a JSON array.
fn positional(good: &Value) -> String {
    Value::from(good.as_object().into_iter().flatten().map(|(_, value)| value.clone()).collect::<Vec<_>>()).to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_body_is_refused_by_every_command_with_its_code() -> Result<()> {
    let (callers, commands) = (Callers::new().await?, Commands::all());
    let before = callers.log().await?;
    let mut wrong = vec![];
    for kind in commands.iter() {
        let token = callers.token(kind);
        for (body, code, field) in structures(&sample(kind)) {
            let got = callers.one(token.unwrap_or(&callers.owner), &kind.name, JSON, body.clone()).await?;
            let problem = got.json();
            // A caller without the permission learns nothing about the body.
            let code = if token.is_some() { code } else { "FORBIDDEN" };
            let named = field.is_none_or(|field| token.is_none() || problem["errors"][0]["field"] == field);
            let fits = (400..500).contains(&got.status) && got.kind == "application/problem+json";
            if !fits || problem["code"] != code || !named || !names_no_type(&problem) {
                let body: String = body.chars().take(80).collect();
                wrong.push(format!("{} {body} ({code}): {} {problem}", kind.name, got.status));
            }
        }
    }
    none_wrong(&wrong);
    assert_eq!(callers.log().await?, before);
    callers.engine.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalid_utf8_and_bodies_of_another_type_or_size_are_refused() -> Result<()> {
    let callers = Callers::new().await?;
    let before = callers.log().await?;
    let token = callers.owner.as_str();
    let reason =
        |inside: &[u8]| [br#"{"order":"0190a5b2-7c3d-7e4f-8a9b-0c1d2e3f4a5b","reason":""#, inside, b"\"}"].concat();
    for inside in
        [&b"\xc0\x80"[..], b"\xff", b"\xed\xa0\x80", b"\xed\xb0\x80", b"\xf5\x80\x80\x80", b"\xe2\x82", b"\xe0\x80\xaf"]
    {
        let got = callers.one(token, "RejectOrder", JSON, reason(inside)).await?;
        assert_eq!((got.status, &got.json()["code"]), (400, &json!("INVALID_UTF8")), "{inside:?}");
    }
    let long = "x".repeat(1_000_000);
    let got = callers.one(token, "RejectOrder", JSON, reason(long.as_bytes())).await?;
    assert_eq!((got.status, &got.json()["code"]), (413, &json!("BODY_TOO_LARGE")));
    let got = callers.one(token, "RejectOrder", JSON, reason(&long.as_bytes()[..200_000])).await?;
    assert_eq!((got.status, &got.json()["errors"][0]["field"]), (422, &json!("reason")));
    let names = (0..20_000).map(|number| format!("\"f{number}\":1")).collect::<Vec<_>>().join(",");
    let got = callers.one(token, "RejectOrder", JSON, format!("{{{names}}}")).await?;
    assert_eq!((got.status, &got.json()["code"]), (422, &json!("INVALID_FIELD")));
    let got = callers.engine.send(&HttpRequest::post("/v1/commands", token, NDJSON, vec![b'\n'; 1_001])).await?;
    assert_eq!((got.status, &got.json()["code"]), (400, &json!("EMPTY_BATCH")));
    let got = callers.engine.send(&HttpRequest::post("/v1/commands", token, NDJSON, "{}\n".repeat(1_001))).await?;
    assert_eq!((got.status, &got.json()["code"]), (413, &json!("TOO_MANY_LINES")));
    let got = callers.engine.send(&HttpRequest::post("/v1/commands", token, NDJSON, vec![b' '; 5_000_000])).await?;
    assert_eq!((got.status, &got.json()["code"]), (413, &json!("BODY_TOO_LARGE")));
    for kind in
        ["text/plain", "application/json; charset=utf-16", "application/json; charset=latin1", NDJSON, "", "a/b; c"]
    {
        let got = callers.one(token, "EnableProgram", kind, "{}").await?;
        assert_eq!((got.status, &got.json()["code"]), (415, &json!("UNSUPPORTED_MEDIA_TYPE")), "{kind}");
    }
    for encoding in ["gzip", "deflate", "br", "gzip, identity"] {
        let mut sent = HttpRequest::post("/v1/commands/EnableProgram", token, JSON, &b"\x1f\x8b\x08\x00"[..]);
        sent.headers.push(("content-encoding".into(), encoding.into()));
        assert_eq!(callers.engine.send(&sent).await?.status, 415, "{encoding}");
    }
    assert_eq!(callers.log().await?, before);
    callers.engine.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn text_is_read_back_character_for_character() -> Result<()> {
    let callers = Callers::new().await?;
    let marks = format!("Z{}", "\u{301}".repeat(1_000));
    let texts: Vec<&str> = PLAIN.iter().copied().chain([marks.as_str()]).collect();
    let mut token = String::new();
    for (index, text) in texts.iter().enumerate() {
        let name = if text.chars().count() <= 200 { text } else { "A long description" };
        let body = json!({
            "product": Uuid::new_v5(&callers.tenant, &index.to_be_bytes()), "name": name, "description": text,
            "sku": format!("T-{index}"), "price": { "minor": 1, "currency": "USD" },
        });
        let answer = callers.engine.execute(&callers.owner, "CreateProduct", &body).await?;
        token = answer["receipt"]["token"].as_str().context("a token")?.to_owned();
    }
    for (index, text) in texts.iter().enumerate() {
        let id = Uuid::new_v5(&callers.tenant, &index.to_be_bytes());
        let query = format!("{{ product(product: \"{id}\", minPosition: \"{token}\") {{ name description }} }}");
        let product = callers.engine.query(&callers.owner, &query).await?["product"].take();
        assert_eq!(product["description"], *text);
        assert!(product["name"] == *text || text.chars().count() > 200, "{product}");
    }
    callers.engine.close().await;
    Ok(())
}
