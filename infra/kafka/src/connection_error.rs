//! Connection errors in terms of this engine's configuration. librdkafka's messages name its own settings and end with
//! a duration, which would make every message different.

/// Parts of librdkafka's messages, with their explanations.
const MEANINGS: [(&str, &str); 4] = [
    (
        "certificate verify failed",
        "its certificate is not for this host, has expired, or is signed by no authority trusted here",
    ),
    ("alert bad certificate", "it requires a client certificate, signed by an authority that it trusts"),
    ("alert certificate required", "it requires a client certificate, signed by an authority that it trusts"),
    ("Disconnected", "it closed the connection; if this persists, TLS is set on one side only, or it requires a login"),
];

/// One sentence, identical each time the same error happens.
pub(crate) fn explain(reason: &str) -> String {
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
    fn known_messages_are_explained_and_others_stay_as_they_are() {
        let refused = "ssl://kafka:9093/bootstrap: SSL handshake failed: error:0A000086:SSL routines::certificate verify \
                       failed: broker certificate could not be verified, verify that ssl.ca.location is correctly \
                       configured or root CA certificates are installed (install ca-certificates package) (after 4ms in \
                       state SSL_HANDSHAKE)";
        let meaning = "its certificate is not for this host, has expired, or is signed by no authority trusted here";
        assert_eq!(explain(refused), format!("ssl://kafka:9093/bootstrap: {meaning}"));
        let clear = "kafka:9093/1: Connect to ipv4#10.0.0.1:9093 failed: Connection refused (after 0ms in state CONNECT, \
                     3 identical error(s) suppressed)";
        assert_eq!(explain(clear), "kafka:9093/1: Connect to ipv4#10.0.0.1:9093 failed: Connection refused");
    }
}
