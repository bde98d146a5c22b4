//! Record format: one event per record, CloudEvents 1.0 in binary mode.
//!
//! The value is the payload as stored or as published, the key is the stream, all other fields are headers. A record that no relay can
//! have written is [`Foreign`]: it is counted and skipped, and stops neither relay nor consumer.

use std::fmt::{Display, Write};
use std::str::FromStr;

use domain::kernel::event_id;
use domain::shared::{CommandId, Principal, TenantId};
use projections::ports::RawEvent;
use rdkafka::Message;
use rdkafka::message::{Header, Headers, OwnedHeaders};
use serde_json::value::RawValue;

const SPEC: &str = "1.0";
const CONTENT: &str = "application/json";

/// Header names, in the order in which they are written. CloudEvents allows lower-case letters and digits.
const NAMES: [&str; 21] = [
    "ce_specversion",
    "content-type",
    "ce_id",
    "ce_source",
    "ce_type",
    "ce_time",
    "ce_recordedtime",
    "ce_lane",
    "ce_position",
    "ce_epoch",
    "ce_tenant",
    "ce_tenantposition",
    "ce_streamtype",
    "ce_streamid",
    "ce_sequence",
    "ce_principal",
    "ce_commandid",
    "ce_commandindex",
    "ce_eventversion",
    "ce_actor",
    CORRELATION,
];

/// Header with the correlation id; left out of a record whose event has none.
const CORRELATION: &str = "ce_correlationid";

/// Reason for which no relay can have written a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Foreign {
    #[error("it has no header `{0}`")]
    Missing(&'static str),
    #[error("its header `{0}` cannot be parsed")]
    Broken(&'static str),
    #[error("its value is not JSON")]
    Payload,
    #[error("its key is not its stream, or its id is not that of its command")]
    Mismatch,
    #[error("it belongs to lane {lane} and is in partition {partition}")]
    OtherLane { lane: i16, partition: i32 },
    #[error("it has position {position}, and the log of lane {lane} ends at {head}")]
    BeyondLog { lane: i16, position: i64, head: i64 },
}

impl Foreign {
    /// Value of the metric label `why`.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Missing(_) => "missing",
            Self::Broken(_) => "broken",
            Self::Payload => "payload",
            Self::Mismatch => "mismatch",
            Self::OtherLane { .. } => "other_lane",
            Self::BeyondLog { .. } => "from_the_future",
        }
    }
}

/// Headers of the record of a stored event.
pub fn headers(event: &RawEvent) -> OwnedHeaders {
    headers_of_version(event, event.version)
}

/// Headers of a record with this version of the event's shape, stored or published.
pub(crate) fn headers_of_version(event: &RawEvent, version: i16) -> OwnedHeaders {
    let id = event_id(event.tenant, event.principal, event.command, event.index);
    let source = format_args!("/tenants/{}", event.tenant);
    // An actor is an enum of ids and texts, so its serialization cannot fail. Without a readable actor, consumers take the
    // record as broken and read the event from the log.
    let actor = match event.unreadable() {
        Some(_) => String::new(),
        None => serde_json::to_string(&event.actor).unwrap_or_default(),
    };
    let values: [&dyn Display; NAMES.len()] = [
        &SPEC,
        &CONTENT,
        &id,
        &source,
        &event.kind,
        &event.occurred_at,
        &event.recorded_at,
        &event.lane,
        &event.position,
        &event.epoch,
        &event.tenant,
        &event.tenant_position,
        &event.stream_type,
        &event.stream,
        &event.sequence,
        &event.principal,
        &event.command,
        &event.index,
        &version,
        &actor,
        &event.correlation.unwrap_or_default(),
    ];
    let mut text = String::with_capacity(128);
    let mut headers = OwnedHeaders::new_with_capacity(NAMES.len());
    for (key, value) in NAMES.into_iter().zip(values) {
        if key == CORRELATION && event.correlation.is_none() {
            continue;
        }
        text.clear();
        // Writing to a string cannot fail.
        let _ = write!(text, "{value}");
        headers = headers.insert(Header { key, value: Some(text.as_str()) });
    }
    headers
}

/// Event of a record.
pub fn decode(record: &impl Message) -> Result<RawEvent, Foreign> {
    let fields = Fields::of(record);
    if fields.text("ce_specversion")? != SPEC {
        return Err(Foreign::Broken("ce_specversion"));
    }
    let payload = record.payload().and_then(|bytes| str::from_utf8(bytes).ok()).ok_or(Foreign::Payload)?;
    serde_json::from_str::<&RawValue>(payload).map_err(|_| Foreign::Payload)?;
    let event = RawEvent {
        lane: fields.read("ce_lane")?,
        position: fields.read("ce_position")?,
        epoch: fields.read("ce_epoch")?,
        tenant: TenantId::new(fields.read("ce_tenant")?),
        tenant_position: fields.read("ce_tenantposition")?,
        stream_type: fields.text("ce_streamtype")?.into(),
        stream: fields.read("ce_streamid")?,
        sequence: fields.read("ce_sequence")?,
        principal: Principal::new(fields.read("ce_principal")?),
        command: CommandId::new(fields.read("ce_commandid")?),
        index: fields.read("ce_commandindex")?,
        kind: fields.text("ce_type")?.into(),
        version: fields.read("ce_eventversion")?,
        payload: payload.into(),
        actor: serde_json::from_str(fields.text("ce_actor")?).map_err(|_| Foreign::Broken("ce_actor"))?,
        correlation: match fields.text(CORRELATION) {
            Ok(_) => Some(fields.read(CORRELATION)?),
            Err(_) => None,
        },
        occurred_at: fields.read("ce_time")?,
        recorded_at: fields.read("ce_recordedtime")?,
        decoded: Default::default(),
    };
    let mut stream = uuid::Uuid::encode_buffer();
    let stream: &str = event.stream.hyphenated().encode_lower(&mut stream);
    let id = event_id(event.tenant, event.principal, event.command, event.index);
    if record.key() != Some(stream.as_bytes()) || fields.read::<uuid::Uuid>("ce_id")? != id {
        return Err(Foreign::Mismatch);
    }
    let (lane, partition) = (event.lane, record.partition());
    if i32::from(lane) != partition {
        return Err(Foreign::OtherLane { lane, partition });
    }
    if event.position < 1 { Err(Foreign::Broken("ce_position")) } else { Ok(event) }
}

/// Header values of a record, in the order of `NAMES`.
struct Fields<'r>([Option<&'r str>; NAMES.len()]);

impl<'r> Fields<'r> {
    fn of(record: &'r impl Message) -> Self {
        let mut fields = [None; NAMES.len()];
        let headers = record.headers().into_iter().flat_map(|headers| headers.iter());
        for header in headers {
            if let Some(at) = NAMES.iter().position(|name| *name == header.key) {
                fields[at] = header.value.and_then(|bytes| str::from_utf8(bytes).ok());
            }
        }
        Self(fields)
    }

    fn text(&self, name: &'static str) -> Result<&'r str, Foreign> {
        let at = NAMES.iter().position(|known| *known == name);
        at.and_then(|at| self.0[at]).ok_or(Foreign::Missing(name))
    }

    fn read<T: FromStr>(&self, name: &'static str) -> Result<T, Foreign> {
        self.text(name)?.parse().map_err(|_| Foreign::Broken(name))
    }
}

#[cfg(test)]
mod tests;
