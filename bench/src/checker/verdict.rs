//! What can be wrong, what was found, and how it is shown: a table for people, JSON for machines.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// Examples kept of each kind in each conversation: enough to look for the cause.
const EXAMPLES_MAX: usize = 3;

/// A promise that was not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Acknowledged, or handed to somebody, and not in the log.
    Missing,
    /// In the log and never handed to a member who was one.
    NotDelivered,
    /// Handed to the application again, and not flagged as a redelivery after a restart.
    DeliveredTwice,
    /// Two messages that two members, or a member and the log, have in different orders.
    Inversion,
    /// A number that the log lacks, or an entry that a member was led past.
    Hole,
    /// Handed to an account that was no member then.
    NonMember,
    /// Two messages under one number.
    SequenceReuse,
    /// One message under two numbers.
    StoredTwice,
    /// Stored although its sender was told that it is not.
    StoredThoughRefused,
    /// Something that nobody has sent there.
    Altered,
    /// The server's mark covers what the client was never handed.
    MarkLeads,
    /// A send that did not end within its send timeout.
    LateSend,
    /// Kept in a journal, and of no known end after the next run of its client.
    Forgotten,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Missing,
        Self::NotDelivered,
        Self::DeliveredTwice,
        Self::Inversion,
        Self::Hole,
        Self::NonMember,
        Self::SequenceReuse,
        Self::StoredTwice,
        Self::StoredThoughRefused,
        Self::Altered,
        Self::MarkLeads,
        Self::LateSend,
        Self::Forgotten,
    ];

    /// For the table.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Missing => "acknowledged, missing in history",
            Self::NotDelivered => "not delivered to a member",
            Self::DeliveredTwice => "delivered twice",
            Self::Inversion => "order inversions",
            Self::Hole => "holes",
            Self::NonMember => "delivered to a non-member",
            Self::SequenceReuse => "two messages, one number",
            Self::StoredTwice => "one message, two numbers",
            Self::StoredThoughRefused => "refused, yet stored",
            Self::Altered => "sent by nobody",
            Self::MarkLeads => "mark ahead of the deliveries",
            Self::LateSend => "send without an end in time",
            Self::Forgotten => "forgotten by its journal",
        }
    }
}

/// What was found in one conversation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// Its id, as logs print it.
    pub conversation: String,
    /// Sends begun.
    pub sent: u64,
    /// Sends acknowledged.
    pub acked: u64,
    /// Sends refused.
    pub refused: u64,
    /// Sends whose outcome stayed unknown, and those that never left.
    pub unanswered: u64,
    /// Of these, the ones that a journal kept and a later run of the client brought to an end.
    pub resolved: u64,
    /// Acknowledged or handed over, and a placeholder since their deadline.
    pub expired: u64,
    /// Ephemeral messages, sent and handed over.
    pub ephemeral: (u64, u64),
    /// The longest time from a send to its end, in milliseconds.
    pub slowest_send_ms: u64,
    /// Entries of its log.
    pub entries: u64,
    /// Accounts that were members at some time and whose deliveries are recorded.
    pub members: u64,
    /// Hand-overs.
    pub delivered: u64,
    /// Hand-overs that repeat those of an earlier run of the client, and say so.
    pub redelivered: u64,
    /// Entries before a leave that the one who left was not handed any more.
    pub cut_by_leave: u64,
    /// How often each promise was broken.
    pub violations: BTreeMap<Kind, u64>,
    /// The first of each.
    pub examples: Vec<String>,
}

impl Findings {
    pub(super) fn new(conversation: &str) -> Self {
        Self {
            conversation: conversation.to_owned(),
            ..Self::default()
        }
    }

    /// One more; says which when it is one of the first.
    pub(super) fn broken(&mut self, kind: Kind, example: impl FnOnce() -> String) {
        let count = self.violations.entry(kind).or_default();
        *count += 1;
        if *count <= EXAMPLES_MAX as u64 {
            self.examples
                .push(format!("{}: {}", kind.title(), example()));
        }
    }
}

/// The judgement of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Why the record cannot be judged as a whole; empty when it can.
    pub incomplete: Vec<String>,
    /// The sum over all conversations.
    pub total: Findings,
    /// Each of them.
    pub conversations: Vec<Findings>,
}

impl Verdict {
    /// Whether every promise was kept, as far as a whole record shows.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.incomplete.is_empty() && self.total.violations.is_empty()
    }

    /// How often this was found.
    #[must_use]
    pub fn count(&self, kind: Kind) -> u64 {
        self.total.violations.get(&kind).copied().unwrap_or(0)
    }

    pub(super) fn add(&mut self, findings: Findings) {
        let total = &mut self.total;
        total.sent += findings.sent;
        total.acked += findings.acked;
        total.refused += findings.refused;
        total.unanswered += findings.unanswered;
        total.resolved += findings.resolved;
        total.expired += findings.expired;
        total.ephemeral.0 += findings.ephemeral.0;
        total.ephemeral.1 += findings.ephemeral.1;
        total.slowest_send_ms = total.slowest_send_ms.max(findings.slowest_send_ms);
        total.entries += findings.entries;
        total.members += findings.members;
        total.delivered += findings.delivered;
        total.redelivered += findings.redelivered;
        total.cut_by_leave += findings.cut_by_leave;
        for (kind, count) in &findings.violations {
            *total.violations.entry(*kind).or_default() += count;
        }
        self.conversations.push(findings);
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<34} {:>7} {:>8} {:>8} {:>7} {:>10} {:>7} {:>5} {:>10}",
            "conversation",
            "members",
            "sent",
            "acked",
            "refused",
            "delivered",
            "again",
            "cut",
            "violations"
        )?;
        let sum = ("all", &self.total);
        let each = self.conversations.iter();
        let each = each.map(|findings| (findings.conversation.as_str(), findings));
        for (name, found) in each.chain([sum]) {
            writeln!(
                f,
                "{name:<34} {:>7} {:>8} {:>8} {:>7} {:>10} {:>7} {:>5} {:>10}",
                found.members,
                found.sent,
                found.acked,
                found.refused,
                found.delivered,
                found.redelivered,
                found.cut_by_leave,
                found.violations.values().sum::<u64>(),
            )?;
        }
        let total = &self.total;
        let counts = [
            ("outcome unknown, or not sent", total.unanswered),
            ("of these resolved from a journal", total.resolved),
            ("expired", total.expired),
            ("ephemeral messages", total.ephemeral.0),
            ("hand-overs of these", total.ephemeral.1),
            ("slowest end of a send, ms", total.slowest_send_ms),
        ];
        writeln!(f)?;
        for (what, count) in counts {
            writeln!(f, "{what:<34} {count:>7}")?;
        }
        writeln!(f)?;
        for kind in Kind::ALL {
            writeln!(f, "{:<34} {:>7}", kind.title(), self.count(kind))?;
        }
        for findings in &self.conversations {
            for example in &findings.examples {
                writeln!(f, "  {}: {example}", findings.conversation)?;
            }
        }
        for why in &self.incomplete {
            writeln!(f, "cannot be judged: {why}")?;
        }
        Ok(())
    }
}
