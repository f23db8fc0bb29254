//! The rules of delivery, member by member: what it was entitled to has come, once, in the order of
//! the log, and nothing else has.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::collect::{Collected, Conversation, Delivered, Step};
use super::members::Stay;
use super::numbers::Log;
use super::verdict::{Findings, Kind};
use crate::record::Says;

pub(super) fn judge(
    collected: &Collected,
    conversation: &Conversation,
    log: &Log,
    memberships: &BTreeMap<u64, Vec<Stay>>,
    findings: &mut Findings,
) {
    for (client, account) in &collected.clients {
        let handed = conversation
            .handed
            .get(client)
            .map_or(&[][..], Vec::as_slice);
        let stays = memberships.get(account).map_or(&[][..], Vec::as_slice);
        if handed.is_empty() && stays.is_empty() {
            continue;
        }
        findings.members += u64::from(!stays.is_empty());
        let last_run = collected.last_runs.get(client).copied().unwrap_or(1);
        let member = Member::new(*client, last_run, handed, stays, log);
        member.judge_repeats(findings);
        member.judge_rights(findings);
        member.judge_missing(findings);
        member.judge_order(conversation, findings);
        member.judge_holes(findings);
        member.judge_marks(findings);
    }
}

/// One client in one conversation.
struct Member<'a> {
    client: u32,
    handed: &'a [Step],
    stays: &'a [Stay],
    log: &'a Log,
    /// The places in the log that were handed over, in whichever run.
    places: BTreeSet<u64>,
    /// The places that it was entitled to and that say something.
    entitled: Vec<u64>,
    /// Of these, the ends of stays that were over before they were handed over.
    cut: BTreeSet<u64>,
}

impl<'a> Member<'a> {
    fn new(
        client: u32,
        last_run: u32,
        handed: &'a [Step],
        stays: &'a [Stay],
        log: &'a Log,
    ) -> Self {
        let mut member = Self {
            client,
            handed,
            stays,
            log,
            places: BTreeSet::new(),
            entitled: Vec::new(),
            cut: BTreeSet::new(),
        };
        member.places = member.deliveries().map(|d| place(log, d)).collect();
        for stay in stays {
            let range = stay.from..=stay.to.unwrap_or(u64::MAX);
            let says_something = log
                .says
                .range(range)
                .filter(|(_, says)| **says != Says::Nothing)
                .map(|(sequence, _)| *sequence);
            let in_stay: Vec<_> = says_something.collect();
            if stay.to.is_some() && member.knows_of_the_end(*stay, last_run) {
                let unseen = in_stay.iter().rev();
                let unseen = unseen.take_while(|place| !member.places.contains(place));
                member.cut.extend(unseen);
            }
            member.entitled.extend(in_stay);
        }
        member
    }

    fn deliveries(&self) -> impl Iterator<Item = &'a Delivered> {
        self.handed.iter().filter_map(|step| match step {
            Step::Delivered(delivered) => Some(delivered),
            Step::ServerMark(_) | Step::Left => None,
        })
    }

    /// Whether it was told of its leave after the last that it was handed of this stay, or began
    /// anew: otherwise it was simply not given the rest.
    fn knows_of_the_end(&self, stay: Stay, last_run: u32) -> bool {
        let of_stay = |step: &Step| match step {
            Step::Delivered(delivered) => stay.covers(place(self.log, delivered)),
            Step::ServerMark(_) | Step::Left => false,
        };
        let last = self.handed.iter().rposition(of_stay);
        let run = last.and_then(|at| match self.handed.get(at) {
            Some(Step::Delivered(delivered)) => Some(delivered.run),
            Some(Step::ServerMark(_) | Step::Left) | None => None,
        });
        let after = self.handed.get(last.map_or(0, |at| at + 1)..);
        let mut after = after.unwrap_or_default().iter();
        run.unwrap_or(1) < last_run || after.any(|step| matches!(step, Step::Left))
    }

    /// What came again came in another run and said so.
    fn judge_repeats(&self, findings: &mut Findings) {
        let mut by_number: HashMap<u64, u32> = HashMap::new();
        let mut by_message: HashMap<u64, u32> = HashMap::new();
        for delivered in self.deliveries() {
            let mut earlier = by_number.insert(delivered.sequence, delivered.run);
            if let Says::Message(message) = delivered.says {
                let same_message = by_message.insert(message, delivered.run);
                earlier = earlier.max(same_message);
            }
            match earlier {
                None => {}
                Some(run) if run != delivered.run && delivered.flagged => findings.redelivered += 1,
                Some(run) => findings.broken(Kind::DeliveredTwice, || {
                    format!(
                        "client {}: {} {:?} in run {run} and again in run {}",
                        self.client, delivered.sequence, delivered.says, delivered.run
                    )
                }),
            }
        }
    }

    /// Nothing came that was not its to see.
    fn judge_rights(&self, findings: &mut Findings) {
        for delivered in self.deliveries() {
            let place = place(self.log, delivered);
            if !self.stays.iter().any(|stay| stay.covers(place)) {
                findings.broken(Kind::NonMember, || {
                    format!("client {}: {place} {:?}", self.client, delivered.says)
                });
            }
        }
    }

    /// All that it was entitled to has come.
    fn judge_missing(&self, findings: &mut Findings) {
        findings.cut_by_leave += self.cut.len() as u64;
        for place in &self.entitled {
            if !self.places.contains(place) && !self.cut.contains(place) {
                findings.broken(Kind::NotDelivered, || {
                    format!("client {}: {place} {:?}", self.client, self.log.says[place])
                });
            }
        }
    }

    /// Two members who both agree with the log agree with each other; so each is held against the
    /// log, by what the messages are and not by the numbers that they came under.
    fn judge_order(&self, conversation: &Conversation, findings: &mut Findings) {
        let mut highest: BTreeMap<u32, u64> = BTreeMap::new();
        let mut seen: BTreeSet<(u32, u64)> = BTreeSet::new();
        for delivered in self.deliveries() {
            let place = place(self.log, delivered);
            if !seen.insert((delivered.run, place)) {
                continue;
            }
            let highest = highest.entry(delivered.run).or_default();
            if place < *highest {
                findings.broken(Kind::Inversion, || {
                    let other = witness(self.log, conversation, self.client, place, *highest);
                    format!(
                        "client {} has {} after {highest} in run {}{other}",
                        self.client, place, delivered.run
                    )
                });
            }
            *highest = place.max(*highest);
        }
    }

    /// Within a run, nothing between the first and the last was passed over.
    fn judge_holes(&self, findings: &mut Findings) {
        let mut runs: BTreeMap<u32, BTreeSet<u64>> = BTreeMap::new();
        for delivered in self.deliveries() {
            let places = runs.entry(delivered.run).or_default();
            places.insert(place(self.log, delivered));
        }
        for (run, places) in runs {
            let (Some(first), Some(last)) = (places.first(), places.last()) else {
                continue;
            };
            let from = self.entitled.partition_point(|place| place < first);
            let to = self.entitled.partition_point(|place| place < last);
            for place in self.entitled.get(from..to).unwrap_or_default() {
                let after = places.range(place..).next().unwrap_or(last);
                // The end of an earlier stay may be cut, or have come in an earlier run.
                if after != place && self.same_stay(*place, *after) {
                    findings.broken(Kind::Hole, || {
                        format!("client {} was led past {place} in run {run}", self.client)
                    });
                }
            }
        }
    }

    fn same_stay(&self, a: u64, b: u64) -> bool {
        let mut stays = self.stays.iter();
        stays.any(|stay| stay.covers(a) && stay.covers(b))
    }

    /// When it starts, the server believes at most what it was handed.
    fn judge_marks(&self, findings: &mut Findings) {
        let mut handed = BTreeSet::new();
        let owed = |place: &&u64| !self.cut.contains(*place);
        let mut next = self.entitled.iter().filter(owed).peekable();
        for step in self.handed {
            match step {
                Step::Delivered(delivered) => {
                    handed.insert(place(self.log, delivered));
                }
                Step::Left => {}
                Step::ServerMark(mark) => {
                    while next.next_if(|place| handed.contains(*place)).is_some() {}
                    if let Some(place) = next.peek().filter(|place| **place <= mark) {
                        findings.broken(Kind::MarkLeads, || {
                            format!("client {}: {mark}, and {place} never came", self.client)
                        });
                    }
                }
            }
        }
    }
}

/// Where in the log it is; its own number when the log does not have it.
fn place(log: &Log, delivered: &Delivered) -> u64 {
    match delivered.says {
        Says::Message(message) => log.places.get(&message).copied(),
        Says::Membership | Says::Nothing | Says::Altered => None,
    }
    .unwrap_or(delivered.sequence)
}

/// Another client that has the two in the order of the log.
fn witness(log: &Log, conversation: &Conversation, not: u32, low: u64, high: u64) -> String {
    let others = conversation
        .handed
        .iter()
        .filter(|(client, _)| **client != not);
    for (client, steps) in others {
        let places = steps.iter().filter_map(|step| match step {
            Step::Delivered(delivered) => Some(place(log, delivered)),
            Step::ServerMark(_) | Step::Left => None,
        });
        let two: Vec<_> = places.filter(|p| *p == low || *p == high).collect();
        if two.starts_with(&[low, high]) {
            return format!("; client {client} has them the other way round");
        }
    }
    String::new()
}
