use domain::kernel::Actor;
use domain::shared::{CustomerId, Timestamp};
use proptest::prelude::*;
use rdkafka::message::{OwnedMessage, Timestamp as RecordTime};
use uuid::Uuid;

use super::*;

fn record(event: &RawEvent, partition: i32, headers: Option<OwnedHeaders>) -> OwnedMessage {
    let (key, value) = (event.stream.to_string().into_bytes(), event.payload.as_bytes().to_vec());
    OwnedMessage::new(Some(value), Some(key), "topic".into(), RecordTime::NotAvailable, partition, 0, headers)
}

prop_compose! {
    fn ids()(tenant: u128, stream: u128, principal: u128, command: u128) -> [Uuid; 4] {
        [tenant, stream, principal, command].map(Uuid::from_u128)
    }
}

fn actor() -> impl Strategy<Value = Actor> {
    prop_oneof![
        any::<u128>().prop_map(|id| Actor::Customer(CustomerId::new(Uuid::from_u128(id)))),
        any::<u128>().prop_map(|id| Actor::Member(Principal::new(Uuid::from_u128(id)))),
        any::<String>().prop_map(Actor::Engine),
    ]
}

prop_compose! {
    fn an_event()(
        ids in ids(),
        actor in actor(),
        correlation in any::<Option<u128>>(),
        (lane, index, version) in (0..16_i16, any::<i16>(), any::<i16>()),
        (position, tenant_position, sequence, epoch) in (1..i64::MAX, any::<i64>(), any::<i64>(), any::<i64>()),
        (stream_type, kind, text) in (any::<String>(), any::<String>(), any::<String>()),
        (occurred_at, recorded_at) in (-2_208_988_800_000_000..7_258_118_400_000_000_i64, 0..7_258_118_400_000_000_i64),
    ) -> RawEvent {
        RawEvent {
            lane, position, epoch, tenant_position, sequence, index, version, actor,
            correlation: correlation.map(Uuid::from_u128),
            tenant: TenantId::new(ids[0]),
            stream: ids[1],
            principal: Principal::new(ids[2]),
            command: CommandId::new(ids[3]),
            stream_type: stream_type.into(),
            kind: kind.into(),
            payload: serde_json::json!({ "text": text }).to_string().into(),
            occurred_at: Timestamp::from_micros(occurred_at),
            recorded_at: Timestamp::from_micros(recorded_at),
            decoded: Default::default(),
        }
    }
}

proptest! {
    #[test]
    fn an_event_survives_a_round_trip_through_a_record(event in an_event()) {
        let record = record(&event, i32::from(event.lane), Some(headers(&event)));
        prop_assert_eq!(format!("{:?}", decode(&record)), format!("{:?}", Ok::<_, Foreign>(event)));
    }

    #[test]
    fn a_record_without_one_of_its_headers_is_foreign(event in an_event(), left_out in 0..NAMES.len()) {
        let all = headers(&event);
        let kept = all.as_borrowed().iter().filter(|header| header.key != NAMES[left_out]);
        let headers = kept.fold(OwnedHeaders::new(), |headers, header| headers.insert(header));
        let decoded = decode(&record(&event, i32::from(event.lane), Some(headers)));
        // Two headers are written for other tools and not read, and one is optional.
        let foreign = matches!(decoded, Err(Foreign::Missing(name)) if name == NAMES[left_out]);
        prop_assert_eq!(foreign, !["content-type", "ce_source", CORRELATION].contains(&NAMES[left_out]));
    }

    #[test]
    fn a_record_with_an_unparsable_number_or_id_is_foreign(event in an_event(), broken in 5..NAMES.len()) {
        prop_assume!(!["ce_streamtype"].contains(&NAMES[broken]));
        prop_assume!(NAMES[broken] != CORRELATION || event.correlation.is_some());
        let all = headers(&event);
        let headers = all.as_borrowed().iter().fold(OwnedHeaders::new(), |headers, header| {
            let value = if header.key == NAMES[broken] { Some(b"?".as_slice()) } else { header.value };
            headers.insert(Header { key: header.key, value })
        });
        let decoded = decode(&record(&event, i32::from(event.lane), Some(headers)));
        prop_assert!(matches!(decoded, Err(Foreign::Broken(name)) if name == NAMES[broken]), "{:?}", decoded);
    }

    #[test]
    fn a_record_in_another_partition_or_with_another_key_is_foreign(event in an_event()) {
        let elsewhere = record(&event, i32::from(event.lane) + 1, Some(headers(&event)));
        let decoded = decode(&elsewhere);
        prop_assert!(matches!(decoded, Err(Foreign::OtherLane { .. })), "{:?}", decoded);
        let renamed = record(&event, i32::from(event.lane), Some(headers(&event))).set_key(Some(b"x".to_vec()));
        prop_assert!(matches!(decode(&renamed), Err(Foreign::Mismatch)));
        let unreadable = record(&event, i32::from(event.lane), Some(headers(&event))).set_payload(Some(b"{".to_vec()));
        prop_assert!(matches!(decode(&unreadable), Err(Foreign::Payload)));
        let nothing = record(&event, i32::from(event.lane), None).set_payload(None);
        prop_assert!(matches!(decode(&nothing), Err(Foreign::Missing(_))));
    }
}
