//! Scenarios as text.
//!
//! A scenario is a page of Markdown. Its fenced blocks are run; the rest is for readers:
//!
//! - `given`: what exists before, one line each. `product mug at 900 USD with 10 units`: the product is on sale in the first
//!   store, named after its id.
//! - `request`: a request and its bearer. `POST /v1/commands/PlaceOrder as customer ada`, then headers, a blank line and the
//!   body; at `/graphql` the body is the query itself. `, 50 at once` sends it fifty times in parallel.
//! - `answer`: the status, then JSON that the answer must contain. Fields that are not named may be anything, lists
//!   must have the same length, and `"…"` stands for any value but null. `answer soon` sends the request again until the
//!   answer matches, because policies work asynchronously. `answer 49 times` is the number of parallel requests that get
//!   this answer.
//! - `proves: INV-06 an order lowers the available units`: a line before a request. The step proves this clause of a
//!   capability, by an answer that names what it must contain.
//! - `{{ada}}` is an id, the same one for each use of the name in a scenario. `{{item:mug}}` is the stock item of the
//!   product `mug` in the first store, `{{review:order:mug}}` the review of `mug` in an order, `{{in:6}}` is the time in six seconds, `{{tenant}}` and `{{store}}` are those of the scenario, `{{each}}` is a new id for
//!   each parallel request, and `{{last.receipt.token}}` is a field of the previous answer.

use std::collections::BTreeMap;
use std::mem;

use anyhow::{Context, Result, bail, ensure};
use domain::inventory::StockItem;
use domain::reviews::{Review, ReviewSubject};
use domain::shared::{OrderId, ProductId, Seconds, StoreId};
use platform::clock::{new_id, now};
use serde_json::Value;
use uuid::Uuid;

/// A scenario as it was read.
#[derive(Debug)]
pub(crate) struct Story {
    pub(crate) title: String,
    pub(crate) steps: Vec<Step>,
}

/// One request and the expected answers.
#[derive(Debug)]
pub(crate) struct Step {
    /// Line of the file in which it begins.
    pub(crate) line: usize,
    pub(crate) method: String,
    pub(crate) path: String,
    /// The bearer, as the scenario writes it: `customer ada`.
    pub(crate) who: String,
    pub(crate) at_once: usize,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    pub(crate) soon: bool,
    pub(crate) answers: Vec<Expected>,
    /// Claims of this step: capability and clause.
    pub(crate) proves: Vec<String>,
}

/// Parts that an answer must contain, and the number of such answers.
#[derive(Debug)]
pub(crate) struct Expected {
    pub(crate) times: Option<usize>,
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Story {
    pub(crate) fn read(text: &str) -> Result<Self> {
        let title = text.lines().find_map(|line| line.strip_prefix("# ")).context("a scenario has a title")?.to_owned();
        let mut steps: Vec<Step> = vec![];
        let mut proves = vec![];
        for (line, word, block) in blocks(text)? {
            match word.split_once(' ').unwrap_or((&word, "")) {
                ("proves:", "") => proves.push(block),
                ("given", "") => steps.extend(given(line, &block).with_context(|| format!("line {line}"))?),
                ("request", "") => {
                    let step = request(line, &block).with_context(|| format!("line {line}"))?;
                    steps.push(Step { proves: mem::take(&mut proves), ..step });
                }
                ("answer", how) => {
                    let step = steps.last_mut().context("an answer without a request")?;
                    step.soon |= how == "soon";
                    let times = how.strip_suffix(" times").or(how.strip_suffix(" time"));
                    ensure!(how.is_empty() || step.soon || times.is_some(), "line {line}: `answer {how}` is unknown");
                    let (status, body) = block.split_once('\n').unwrap_or((&block, ""));
                    let (times, status) = (times.map(str::parse).transpose()?, status.trim().parse()?);
                    step.answers.push(Expected { times, status, body: body.trim().to_owned() });
                }
                _ => bail!("line {line}: a block of `{word}` is unknown"),
            }
        }
        ensure!(!steps.is_empty(), "it has no request");
        ensure!(steps.iter().all(|step| !step.answers.is_empty()), "a request without an answer");
        ensure!(proves.is_empty(), "no request behind a proof");
        let asserted = |step: &Step| step.proves.is_empty() || step.answers.iter().all(|one| !one.body.is_empty());
        ensure!(steps.iter().all(asserted), "a proof whose answer may contain anything");
        Ok(Self { title, steps })
    }
}

/// Fenced blocks with the line they begin in and the word behind the fence, and the lines with proofs between them.
fn blocks(text: &str) -> Result<Vec<(usize, String, String)>> {
    let mut blocks = vec![];
    let mut open: Option<(usize, String, String)> = None;
    for (number, line) in (1..).zip(text.lines()) {
        match (line.strip_prefix("```"), &mut open) {
            (Some(word), None) => open = Some((number, word.trim().to_owned(), String::new())),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some((.., block))) => block.extend([line, "\n"]),
            (None, None) => {
                let claim = line.strip_prefix("proves:");
                blocks.extend(claim.map(|claim| (number, "proves:".to_owned(), claim.trim().to_owned())));
            }
        }
    }
    ensure!(open.is_none(), "a block is never closed");
    Ok(blocks)
}

/// Steps that make what a `given` block names.
fn given(line: usize, block: &str) -> Result<Vec<Step>> {
    let mut steps = vec![];
    for text in block.lines() {
        let words: Vec<_> = text.split_whitespace().collect();
        let ["product", name, "at", minor, currency, "with", units, "units"] = words[..] else {
            bail!("`{text}`: only `product mug at 900 USD with 10 units` is known");
        };
        let sku = format!("{}-1", name.to_uppercase());
        let price = format!(r#"{{ "minor": {minor}, "currency": "{currency}" }}"#);
        let commands = [
            (
                "CreateProduct",
                format!(r#""product": "{{{{{name}}}}}", "name": "{name}", "sku": "{sku}", "price": {price}"#),
            ),
            ("PublishProduct", format!(r#""product": "{{{{{name}}}}}""#)),
            ("OpenStockItem", format!(r#""product": "{{{{{name}}}}}", "store": "{{{{store}}}}""#)),
            ("ReceiveStock", format!(r#""item": "{{{{item:{name}}}}}", "units": {units}"#)),
        ];
        for (command, fields) in commands {
            let step = request(line, &format!("POST /v1/commands/{command} as manager\n\n{{ {fields} }}"))?;
            let accepted = Expected { times: None, status: 200, body: r#"{ "outcome": "accepted" }"#.into() };
            steps.push(Step { answers: vec![accepted], ..step });
        }
    }
    Ok(steps)
}

fn request(line: usize, block: &str) -> Result<Step> {
    let (head, body) = block.split_once("\n\n").unwrap_or((block, ""));
    let mut head = head.lines();
    let first = head.next().context("an empty request")?;
    let (what, who) = first.split_once(" as ").context("`METHOD /path as bearer`")?;
    let (method, path) = what.split_once(' ').context("`METHOD /path as bearer`")?;
    let (who, at_once) = match who.split_once(", ") {
        Some((who, times)) => (who, times.strip_suffix(" at once").context("`, 50 at once`")?.parse()?),
        None => (who, 1),
    };
    let headers = head.map(|line| {
        let (name, value) = line.split_once(": ").with_context(|| format!("`{line}` is no header"))?;
        Ok((name.to_owned(), value.to_owned()))
    });
    let (headers, body) = (headers.collect::<Result<_>>()?, body.trim().to_owned());
    let (method, path, who) = (method.to_owned(), path.to_owned(), who.trim().to_owned());
    Ok(Step { line, method, path, who, at_once, headers, body, soon: false, answers: vec![], proves: vec![] })
}

/// The names of a scenario and their ids.
pub(crate) struct Names {
    known: BTreeMap<String, Uuid>,
    store: StoreId,
    pub(crate) last: Value,
}

impl Names {
    pub(crate) fn new(tenant: Uuid, store: StoreId) -> Self {
        let known = [("tenant".to_owned(), tenant), ("store".to_owned(), store.uuid())].into();
        Self { known, store, last: Value::Null }
    }

    pub(crate) fn id(&mut self, name: &str) -> Uuid {
        *self.known.entry(name.to_owned()).or_insert_with(new_id)
    }

    /// Makes `each` stand for a new id.
    pub(crate) fn next_each(&mut self) {
        self.known.remove("each");
    }

    /// Replaces names by their values.
    pub(crate) fn fill(&mut self, text: &str) -> Result<String> {
        let mut filled = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (name, after) = after.split_once("}}").context("a name is never closed")?;
            filled.push_str(before);
            filled.push_str(&self.value(name)?);
            rest = after;
        }
        filled.push_str(rest);
        Ok(filled)
    }

    fn value(&mut self, name: &str) -> Result<String> {
        if let Some(path) = name.strip_prefix("last.") {
            let value = path.split('.').try_fold(&self.last, |value, step| value.get(step));
            let value = value.with_context(|| format!("the answer before has no `{path}`: {}", self.last))?;
            return Ok(value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        }
        if let Some(seconds) = name.strip_prefix("in:") {
            return Ok(now().after(Seconds(seconds.parse()?)).to_string());
        }
        if let Some(product) = name.strip_prefix("item:") {
            let product = ProductId::new(self.id(product));
            return Ok(StockItem::id(product, self.store).to_string());
        }
        if let Some((order, product)) = name.strip_prefix("review:").and_then(|line| line.split_once(':')) {
            let (order, product) = (OrderId::new(self.id(order)), ProductId::new(self.id(product)));
            return Ok(Review::id(order, ReviewSubject::Product(product)).to_string());
        }
        Ok(self.id(name).to_string())
    }
}

/// The first difference between an answer and the expected one.
pub(crate) fn differs(expected: &Value, found: &Value, path: &str) -> Option<String> {
    match (expected, found) {
        (Value::String(any), found) if any == "…" && !found.is_null() => None,
        (Value::Object(expected), Value::Object(found)) => expected.iter().find_map(|(name, value)| {
            differs(value, found.get(name).unwrap_or(&Value::Null), &format!("{path}.{name}"))
        }),
        (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => {
            let pairs = (0..).zip(expected.iter().zip(found));
            pairs
                .into_iter()
                .find_map(|(index, (one, other)): (usize, _)| differs(one, other, &format!("{path}[{index}]")))
        }
        _ if expected == found => None,
        _ => Some(format!("at `{}` expected {expected}, found {found}", path.trim_start_matches('.'))),
    }
}

#[test]
fn first_difference_from_the_expected_answer_is_named() {
    let found = serde_json::json!({ "a": { "b": [1, { "c": "x", "d": null }] }, "e": 2 });
    let differs = |expected: Value| differs(&expected, &found, "");
    assert_eq!(differs(serde_json::json!({ "a": { "b": [1, { "c": "…" }] } })), None);
    assert_eq!(differs(serde_json::json!({ "a": { "b": [1, { "d": null }] }, "e": 2 })), None);
    let first = differs(serde_json::json!({ "a": { "b": [1, { "c": "y" }] } }));
    assert_eq!(first.as_deref(), Some("at `a.b[1].c` expected \"y\", found \"x\""));
    assert!(differs(serde_json::json!({ "a": { "b": [1] } })).is_some(), "lists are whole");
    assert!(differs(serde_json::json!({ "a": { "b": [1, { "d": "…" }] } })).is_some(), "null differs from any value");
    assert!(differs(serde_json::json!({ "z": 1 })).is_some(), "a missing field differs");
}

#[test]
fn proof_belongs_to_the_step_below_it_and_needs_an_assertion() {
    let step = |answer: &str| format!("```request\nGET /live as nobody\n```\n\n```answer\n{answer}\n```\n");
    let page = format!("# A\n{}\nproves: ES-01 this\nproves: ES-02 that\n\n{}", step("200"), step("200\n{}"));
    let story = Story::read(&page).expect("a scenario");
    assert_eq!(story.steps[0].proves, [""; 0]);
    assert_eq!(story.steps[1].proves, ["ES-01 this", "ES-02 that"]);
    let bad = [format!("# A\nproves: ES-01 this\n{}", step("200")), format!("# A\n{}\nproves: ES-01 x", step("200"))];
    assert!(bad.iter().all(|page| Story::read(page).is_err()), "{bad:?}");
}

#[test]
fn given_product_is_put_on_sale_by_four_commands() {
    let page = "# A\n```given\nproduct mug at 900 USD with 10 units\n```\n```request\nGET /live as nobody\n```\n```answer\n200\n```\n";
    let steps = Story::read(page).expect("a scenario").steps;
    assert_eq!(steps.len(), 5);
    assert_eq!((steps[3].path.as_str(), steps[3].who.as_str()), ("/v1/commands/ReceiveStock", "manager"));
    assert_eq!(steps[3].body, r#"{ "item": "{{item:mug}}", "units": 10 }"#);
    assert!(Story::read("# A\n```given\na product\n```\n").is_err());
}

#[test]
fn names_have_one_value_throughout_a_scenario() {
    let tenant = new_id();
    let mut names = Names::new(tenant, StoreId::new(new_id()));
    names.last = serde_json::json!({ "receipt": { "token": "t-1", "at": 7 } });
    let text = names.fill("{{ada}} {{ada}} {{tenant}} {{last.receipt.token}} {{last.receipt.at}}").expect("names");
    let words: Vec<_> = text.split(' ').collect();
    assert_eq!((words[0], words[2], words[3], words[4]), (words[1], tenant.to_string().as_str(), "t-1", "7"));
    assert!(names.fill("{{last.nothing}}").is_err());
}
