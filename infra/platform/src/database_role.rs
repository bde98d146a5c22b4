//! Roles of the database: the privileges that a connection has after its login.

/// Role that a connection takes. `event_log::walls` creates the roles and grants their privileges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseRole {
    /// Appends to the log and owns lanes.
    Scribe,
    /// Keeps read models; runs policies, timers, effects, webhooks and the relay. Cannot change the log.
    Worker,
    /// Answers callers. Sees the rows of one tenant in each transaction: that of [`crate::database::begin_for`].
    Reader,
    /// Reads all tenants, except their keys, and writes nothing.
    Auditor,
}

impl DatabaseRole {
    pub const ALL: [Self; 4] = [Self::Scribe, Self::Worker, Self::Reader, Self::Auditor];

    /// Name of the role in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scribe => "cartulary_scribe",
            Self::Worker => "cartulary_worker",
            Self::Reader => "cartulary_reader",
            Self::Auditor => "cartulary_auditor",
        }
    }

    /// Statement with which a connection takes the role, once after its login.
    pub fn statement(self) -> String {
        format!("SET ROLE {}", self.name())
    }
}
