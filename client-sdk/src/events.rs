//! What the client counts and logs: a function for each thing that happens. A robot's process may
//! have no metrics of its own, so the counts are plain numbers that the application reads.

use std::sync::atomic::{AtomicU64, Ordering};

use protocol::{ConversationId, Refusal, SequenceNumber};

/// What a client has counted since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Messages accepted for sending.
    pub sent: u64,
    /// Messages acknowledged: stored.
    pub acked: u64,
    /// Messages that were sent again under the same id.
    pub resent: u64,
    /// Messages handed to the queue of the application.
    pub delivered: u64,
    /// Entries that came again and were dropped.
    pub duplicates_dropped: u64,
    /// Gaps found between what was expected and what came or was said to be there.
    pub gaps_found: u64,
    /// Gaps closed by pulling.
    pub gaps_repaired: u64,
    /// Entries forgotten because the application was slow; they are pulled later.
    pub pushes_forgotten: u64,
    /// Ephemeral messages dropped because too many keys waited.
    pub ephemerals_dropped: u64,
    /// Entries whose content this build does not know; their numbers are passed over.
    pub contents_unknown: u64,
    /// Connections after the first.
    pub reconnects: u64,
    /// Addresses in lists of gateways that make no sense or are too many.
    pub gateways_passed_over: u64,
    /// Messages of an earlier run that the journal kept, and that are sent again.
    pub recovered: u64,
    /// Messages that were acknowledged, and are sent again because the server was restored from a
    /// backup that may not have them.
    pub resent_after_restore: u64,
    /// Of these, those that the restored server refuses for good.
    pub lost_by_restore: u64,
    /// Writes of the journal that failed.
    pub journal_failures: u64,
}

macro_rules! counters {
    ($($name:ident),* $(,)?) => {
        /// The live numbers behind [`Stats`].
        #[derive(Debug, Default)]
        pub(crate) struct Counters { $($name: AtomicU64),* }

        impl Counters {
            pub(crate) fn stats(&self) -> Stats {
                Stats { $($name: self.$name.load(Ordering::Relaxed)),* }
            }
        }
    };
}

counters!(
    sent,
    acked,
    resent,
    delivered,
    duplicates_dropped,
    gaps_found,
    gaps_repaired,
    pushes_forgotten,
    ephemerals_dropped,
    contents_unknown,
    reconnects,
    gateways_passed_over,
    recovered,
    resent_after_restore,
    lost_by_restore,
    journal_failures,
);

fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

impl Counters {
    pub(crate) fn accepted(&self) {
        add(&self.sent, 1);
    }

    pub(crate) fn acknowledged(&self) {
        add(&self.acked, 1);
    }

    pub(crate) fn sent_again(&self) {
        add(&self.resent, 1);
    }

    pub(crate) fn handed_over(&self) {
        add(&self.delivered, 1);
    }

    pub(crate) fn duplicate_dropped(&self, conversation: ConversationId, sequence: SequenceNumber) {
        add(&self.duplicates_dropped, 1);
        tracing::trace!(%conversation, %sequence, "dropped a repeated entry");
    }

    pub(crate) fn gap_found(&self, conversation: ConversationId, next: SequenceNumber, to: u64) {
        add(&self.gaps_found, 1);
        tracing::debug!(%conversation, %next, to, "found a gap");
    }

    pub(crate) fn gap_repaired(&self, conversation: ConversationId) {
        add(&self.gaps_repaired, 1);
        tracing::debug!(%conversation, "repaired a gap");
    }

    pub(crate) fn push_forgotten(&self, conversation: ConversationId) {
        add(&self.pushes_forgotten, 1);
        tracing::trace!(%conversation, "forgot a push: the application is slow");
    }

    pub(crate) fn ephemeral_dropped(&self) {
        add(&self.ephemerals_dropped, 1);
        tracing::trace!("dropped an ephemeral message: too many keys wait");
    }

    pub(crate) fn content_unknown(&self, conversation: ConversationId, sequence: SequenceNumber) {
        add(&self.contents_unknown, 1);
        tracing::warn!(%conversation, %sequence, "passed over content that this build does not know");
    }

    pub(crate) fn gateways_passed_over(&self, addresses: usize) {
        if addresses > 0 {
            add(&self.gateways_passed_over, addresses as u64);
            tracing::warn!(addresses, "passed over addresses in a list of gateways");
        }
    }

    pub(crate) fn recovered_one(&self) {
        add(&self.recovered, 1);
    }

    pub(crate) fn restored_one(&self) {
        add(&self.resent_after_restore, 1);
    }

    pub(crate) fn lost_one(&self, conversation: ConversationId, refusal: &Refusal) {
        add(&self.lost_by_restore, 1);
        tracing::warn!(%conversation, %refusal, "a message that a restore lost is refused");
    }

    pub(crate) fn journal_failed(&self) {
        add(&self.journal_failures, 1);
    }

    pub(crate) fn connected(&self, session: u64, address: &str, first: bool) {
        if !first {
            add(&self.reconnects, 1);
        }
        tracing::debug!(session, address, first, "connected");
    }
}

pub(crate) fn disconnected(reason: &str) {
    tracing::debug!(reason, "disconnected");
}

pub(crate) fn attempt_failed(address: &str, reason: &dyn std::fmt::Display) {
    tracing::debug!(address, %reason, "could not connect");
}

pub(crate) fn renewed(expires_at_ms: u64) {
    tracing::debug!(expires_at_ms, "the credential was renewed");
}

/// It is tried again; somebody must look if that goes on until the credential ends.
pub(crate) fn not_renewed(error: &dyn std::error::Error) {
    let source = error.source().map(tracing::field::display);
    tracing::warn!(%error, source, "the credential was not renewed");
}

pub(crate) fn pull_refused(conversation: ConversationId, refusal: &Refusal) {
    tracing::debug!(%conversation, %refusal, "a pull was refused");
}

pub(crate) fn malformed(kind: u16, refusal: &Refusal) {
    tracing::warn!(kind, %refusal, "passed over a frame that makes no sense");
}

pub(crate) fn unanswered(kind: u16) {
    tracing::debug!(kind, "a request had no answer in time");
}

pub(crate) fn journal_failing(error: &dyn std::fmt::Display) {
    tracing::error!(%error, "the journal cannot be written: messages are refused until it can");
}

pub(crate) fn command_ignored(conversation: ConversationId, sequence: SequenceNumber, why: &str) {
    tracing::warn!(%conversation, %sequence, why, "ignored a command");
}

pub(crate) fn report_refused(conversation: ConversationId, error: &dyn std::fmt::Display) {
    tracing::warn!(%conversation, %error, "could not report what became of a command");
}

/// A crash could make the robot forget an epoch, or say that an order failed that it has finished.
pub(crate) fn ledger_failed(error: &std::io::Error) {
    tracing::warn!(%error, "the ledger of orders was not written");
}
