//! What a connection met that came to nothing, in words for whoever runs this engine: librdkafka names settings of its own,
//! and adds how long it took.

/// What librdkafka says, and what it means.
const MEANINGS: [(&str, &str); 4] = [
    (
        "certificate verify failed",
        "its certificate is not for this host, has run out, or was signed by nobody who is trusted here",
    ),
    ("alert bad certificate", "it wants a certificate of ours, signed by somebody whom it trusts"),
    ("alert certificate required", "it wants a certificate of ours, signed by somebody whom it trusts"),
    ("Disconnected", "it ended the connection; if it goes on to, TLS is set on one side only, or it wants a user"),
];

/// One sentence, the same every time the same thing happens.
pub(crate) fn told(reason: &str) -> String {
    let reason = reason.split_once(" (after ").map_or(reason, |(reason, _)| reason);
    let Some((broker, _)) = reason.split_once(": ") else { return reason.to_owned() };
    match MEANINGS.iter().find(|(said, _)| reason.contains(said)) {
        Some((_, meaning)) => format!("{broker}: {meaning}"),
        None => reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_librdkafka_are_not_named_and_what_is_clear_stays_as_it_is() {
        let refused = "ssl://kafka:9093/bootstrap: SSL handshake failed: error:0A000086:SSL routines::certificate verify \
                       failed: broker certificate could not be verified, verify that ssl.ca.location is correctly \
                       configured or root CA certificates are installed (install ca-certificates package) (after 4ms in \
                       state SSL_HANDSHAKE)";
        let meaning = "its certificate is not for this host, has run out, or was signed by nobody who is trusted here";
        assert_eq!(told(refused), format!("ssl://kafka:9093/bootstrap: {meaning}"));
        let clear = "kafka:9093/1: Connect to ipv4#10.0.0.1:9093 failed: Connection refused (after 0ms in state CONNECT, \
                     3 identical error(s) suppressed)";
        assert_eq!(told(clear), "kafka:9093/1: Connect to ipv4#10.0.0.1:9093 failed: Connection refused");
    }
}
