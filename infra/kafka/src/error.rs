//! Errors that end the relaying of a lane until it is started again.

use projections::ports::Fault;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use crate::availability::text;
use crate::topic::TopicError;

/// Reason for which a lane is restarted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaneError {
    #[error("{}", text(.0))]
    Kafka(#[from] KafkaError),
    #[error("{0}")]
    Log(#[from] Fault),
    #[error("{0}")]
    Topic(#[from] TopicError),
    #[error("the partition was recreated while its records were sent; filling it from the log")]
    PartitionRecreated,
}

/// True if Kafka refuses a record because of its size. It would refuse it every time.
pub(crate) fn too_large(error: &KafkaError) -> bool {
    matches!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::MessageSizeTooLarge))
}
