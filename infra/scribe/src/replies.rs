//! Pending replies: collects the answers to the commands of each submission, and sends them when they are complete.

use commands::scribe::{Answer, CommandAnswer, Ticket};
use foldhash::HashMap;
use tokio::sync::oneshot;

use super::metrics::AnswerCounters;

/// Sender of the answers to one submission, in the order of its commands.
pub(super) type Reply = oneshot::Sender<Vec<Answer>>;

/// Submissions that are not completely answered.
pub(super) struct PendingReplies {
    pending: HashMap<Ticket, PendingReply>,
    last_ticket: u64,
    counters: AnswerCounters,
}

/// A submission and the answers it has so far.
struct PendingReply {
    reply: Reply,
    answers: Vec<Option<Answer>>,
    /// Number of commands without an answer.
    open: usize,
}

impl PendingReplies {
    pub(super) fn new() -> Self {
        Self { pending: HashMap::default(), last_ticket: 0, counters: AnswerCounters::new() }
    }

    /// Registers a submission of `count` commands and numbers it.
    pub(super) fn register(&mut self, reply: Reply, count: usize) -> Ticket {
        self.last_ticket = self.last_ticket.saturating_add(1);
        let ticket = Ticket(self.last_ticket);
        self.pending.insert(ticket, PendingReply { reply, answers: vec![None; count], open: count });
        ticket
    }

    /// Adds an answer, and sends the reply if it was the last one.
    pub(super) fn add(&mut self, answered: CommandAnswer) {
        let CommandAnswer { ticket, index, answer } = answered;
        self.counters.count(&answer);
        let Some(pending) = self.pending.get_mut(&ticket) else { return };
        if let Some(slot) = pending.answers.get_mut(index) {
            pending.open = pending.open.saturating_sub(usize::from(slot.is_none()));
            *slot = Some(answer);
        }
        if pending.open == 0
            && let Some(pending) = self.pending.remove(&ticket)
        {
            let answers = pending.answers.into_iter().flatten().collect();
            pending.reply.send(answers).ok();
        }
    }
}
