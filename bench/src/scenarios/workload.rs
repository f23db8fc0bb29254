//! Who is in which group, and who says what how often: the whole of a scenario's load as plain data,
//! and how it is divided among load processes. Pure.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// What is sent. Counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Class {
    /// Into groups, of chat priority.
    Chat,
    /// Into pairs, of command priority: commands and their answers.
    Command,
    /// Into groups and not stored: the newest counts.
    Telemetry,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Chat, Self::Command, Self::Telemetry];
}

/// Where a stream goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum To {
    /// The group with this index.
    Group(usize),
    /// The pair with this index.
    Pair(usize),
}

/// What one account says in one conversation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Stream {
    /// Whose.
    pub from: u32,
    /// Where to.
    pub to: To,
    /// What.
    pub class: Class,
    /// Its part of the whole load when a rate is offered.
    pub share: f64,
}

/// How much is offered.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Pace {
    /// Each stream has so many under way, and sends the next when one of them is through.
    Closed {
        /// How many.
        window: u32,
    },
    /// All streams together send so many a second, whatever the server does.
    Open {
        /// How many.
        per_s: f64,
    },
}

/// When a send of a closed loop is through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Through {
    /// With its ack.
    Acked,
    /// With its ack, and when the sender has got it back as a member of the group: a fan-out that is
    /// slower than commits holds its publisher up.
    Returned,
}

/// A scenario's load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Workload {
    /// Accounts, by numbers from 0.
    pub accounts: u32,
    /// The members of each group; the first one makes it.
    pub groups: Vec<Vec<u32>>,
    /// Pairs.
    pub pairs: Vec<(u32, u32)>,
    /// Who says what.
    pub streams: Vec<Stream>,
    /// When a send of a closed loop is through.
    pub through: Through,
}

/// What every robot of a mixed swarm says in a second. A robot tells where it is once a second,
/// talks with its team now and then and with its zone rarely, and has a command every ten seconds,
/// which it answers.
const TELEMETRY_PER_S: f64 = 1.0;
const TEAM_PER_S: f64 = 0.2;
const ZONE_PER_S: f64 = 0.02;
const COMMANDS_PER_S: f64 = 0.1;

/// What the dispatcher says to all of them in a second.
const ALL_PER_S: f64 = 1.0;

/// Robots of a team, and of a zone.
const TEAM: usize = 10;
const ZONE: usize = 50;

impl Workload {
    /// Groups with members of their own, of which the first `publishers` publish.
    #[must_use]
    pub fn groups(groups: u32, members: u32, publishers: u32, through: Through) -> Self {
        let members_of = |group: u32| (group * members..(group + 1) * members).collect::<Vec<_>>();
        let groups: Vec<_> = (0..groups).map(members_of).collect();
        let publishers = publishers.min(members) as usize;
        let streams = groups.iter().enumerate().flat_map(|(index, members)| {
            members[..publishers].iter().map(move |from| Stream {
                from: *from,
                to: To::Group(index),
                class: Class::Chat,
                share: 1.0,
            })
        });
        let streams = streams.collect();
        let accounts = u32::try_from(groups.len()).unwrap_or(u32::MAX) * members;
        Self {
            accounts,
            groups,
            pairs: Vec::new(),
            streams,
            through,
        }
        .even()
    }

    /// A swarm as it works: account 0 dispatches, the others are robots in teams, in zones and all
    /// together. Returns it and what it says in a second by itself.
    #[must_use]
    pub fn mixed(robots: u32) -> (Self, f64) {
        let all: Vec<u32> = (1..=robots).collect();
        let mut groups: Vec<Vec<u32>> = all.chunks(TEAM).map(<[u32]>::to_vec).collect();
        let zones_from = groups.len();
        groups.extend(all.chunks(ZONE).map(<[u32]>::to_vec));
        let everybody = groups.len();
        groups.push((0..=robots).collect());
        let pairs: Vec<_> = all.iter().map(|robot| (0, *robot)).collect();
        let stream = |from, to, class, share| Stream {
            from,
            to,
            class,
            share,
        };
        let mut streams = vec![stream(0, To::Group(everybody), Class::Chat, ALL_PER_S)];
        for (place, robot) in all.iter().enumerate() {
            let team = To::Group(place / TEAM);
            let zone = To::Group(zones_from + place / ZONE);
            let pair = To::Pair(place);
            streams.extend([
                stream(*robot, team, Class::Telemetry, TELEMETRY_PER_S),
                stream(*robot, team, Class::Chat, TEAM_PER_S),
                stream(*robot, zone, Class::Chat, ZONE_PER_S),
                stream(0, pair, Class::Command, COMMANDS_PER_S),
                stream(*robot, pair, Class::Command, COMMANDS_PER_S),
            ]);
        }
        let per_s = streams.iter().map(|stream| stream.share).sum();
        let workload = Self {
            accounts: robots + 1,
            groups,
            pairs,
            streams,
            through: Through::Acked,
        };
        (workload.even(), per_s)
    }

    /// Shares that come to 1.
    fn even(mut self) -> Self {
        let whole: f64 = self.streams.iter().map(|stream| stream.share).sum();
        for stream in &mut self.streams {
            stream.share /= whole;
        }
        self
    }

    /// How many conversations there are: groups, then pairs.
    #[must_use]
    pub const fn conversations(&self) -> usize {
        self.groups.len() + self.pairs.len()
    }

    /// The conversation of a stream.
    #[must_use]
    pub const fn conversation(&self, to: To) -> usize {
        match to {
            To::Group(index) => index,
            To::Pair(index) => self.groups.len() + index,
        }
    }

    /// The accounts of each of so many load processes, as even as can be.
    #[must_use]
    pub fn divide(&self, processes: usize) -> Vec<Range<u32>> {
        let processes = u32::try_from(processes.max(1)).unwrap_or(u32::MAX);
        let processes = processes.min(self.accounts.max(1));
        let bound = |n: u32| {
            let share = u64::from(self.accounts) * u64::from(n) / u64::from(processes);
            u32::try_from(share).unwrap_or(u32::MAX)
        };
        (0..processes).map(|n| bound(n)..bound(n + 1)).collect()
    }

    /// The conversations of each of these accounts.
    #[must_use]
    pub fn conversations_of(&self, accounts: &Range<u32>) -> Vec<Vec<usize>> {
        let mut of = vec![Vec::new(); accounts.len()];
        let groups = self.groups.iter().map(|members| &members[..]);
        let pairs: Vec<_> = self.pairs.iter().map(|(a, b)| [*a, *b]).collect();
        let pairs = pairs.iter().map(|pair| &pair[..]);
        for (index, members) in groups.chain(pairs).enumerate() {
            let ours = members.iter().filter(|account| accounts.contains(account));
            for account in ours {
                of[(account - accounts.start) as usize].push(index);
            }
        }
        of
    }

    /// Who asks a conversation how far it is: one member of it, and not the same one for all pairs,
    /// because a session's questions at once are bounded.
    #[must_use]
    pub fn asker(&self, conversation: usize) -> u32 {
        match self.groups.get(conversation) {
            Some(members) => members[0],
            None => self.pairs[conversation - self.groups.len()].1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_have_members_of_their_own() {
        let load = Workload::groups(3, 4, 2, Through::Acked);
        assert_eq!((load.accounts, load.conversations()), (12, 3));
        assert_eq!(load.groups[2], [8, 9, 10, 11]);
        let from: Vec<_> = load.streams.iter().map(|stream| stream.from).collect();
        assert_eq!(from, [0, 1, 4, 5, 8, 9]);
        assert!((load.streams[0].share - 1.0 / 6.0).abs() < 1e-9);
        assert_eq!(load.asker(1), 4);
    }

    #[test]
    fn a_swarm_has_groups_of_several_sizes_and_a_pair_for_each_robot() {
        let (load, per_s) = Workload::mixed(100);
        assert_eq!(load.accounts, 101);
        assert_eq!(load.groups.len(), 10 + 2 + 1);
        assert_eq!(load.groups[12].len(), 101);
        assert_eq!(load.pairs.len(), 100);
        assert!((per_s - 143.0).abs() < 1e-6, "{per_s}");
        let whole: f64 = load.streams.iter().map(|stream| stream.share).sum();
        assert!((whole - 1.0).abs() < 1e-9);
        assert_eq!(load.asker(load.conversation(To::Pair(7))), 8);
        assert_eq!(load.conversations_of(&(0..1))[0].len(), 1 + 100);
        assert_eq!(load.conversations_of(&(5..6))[0], [0, 10, 12, 13 + 4]);
    }

    #[test]
    fn every_account_is_in_one_process() {
        let load = Workload::groups(1, 10, 1, Through::Acked);
        assert_eq!(load.divide(3), [0..3, 3..6, 6..10]);
        assert_eq!(load.divide(0), vec![0..10; 1]);
        assert_eq!(load.divide(50).len(), 10);
    }
}
