//! Who is in which conversation: groups of different sizes and pairs, drawn from the seed. Pure.

use std::collections::HashSet;

use rand::seq::SliceRandom as _;

use super::dice;

/// Sizes of groups, in turn, as far as there are clients.
const SIZES: [u32; 7] = [3, 5, 8, 13, 21, 34, 55];

/// Groups are made until a client is in so many on average, beside the one that everybody is in.
const GROUPS_PER_CLIENT: u32 = 2;

/// Every so many groups one has members who come and go.
const CHURNS_EVERY: usize = 3;

/// Every so many clients one has a pair with the usher.
const PAIR_EVERY: u32 = 8;

/// Every so many clients one is a person; the others are machines.
const OPERATOR_EVERY: u32 = 4;

/// The client that makes the groups and is in all of them.
pub const USHER: u32 = 0;

/// One conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// A group's name.
    pub name: String,
    /// Whether it is the pair of two.
    pub is_pair: bool,
    /// Its first members, the usher before the others.
    pub members: Vec<u32>,
    /// Clients that come and go; not the usher.
    pub churning: Vec<u32>,
}

/// All conversations of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// In the order of their numbers in the record.
    pub places: Vec<Place>,
}

impl Layout {
    /// For so many clients.
    #[must_use]
    pub fn draw(seed: u64, clients: u32) -> Self {
        let mut random = dice(seed, 1);
        let mut others: Vec<u32> = (USHER + 1..clients).collect();
        let mut places = vec![Place {
            name: "everybody".into(),
            is_pair: false,
            members: (USHER..clients).collect(),
            churning: Vec::new(),
        }];
        let mut seats = 0;
        for size in SIZES.into_iter().cycle() {
            if seats >= clients * GROUPS_PER_CLIENT {
                break;
            }
            let size = size.min(clients / 2).max(2);
            seats += size;
            others.shuffle(&mut random);
            let mut members = vec![USHER];
            members.extend(others.iter().take(size as usize - 1));
            let churns = places.len() % CHURNS_EVERY == 1;
            // Half of those who come and go are in at first.
            let outside = others.iter().skip(members.len() - 1);
            let inside = members.iter().skip(1);
            let half = (size as usize).div_ceil(2);
            let churning = inside.take(half).chain(outside.take(half)).copied();
            places.push(Place {
                name: format!("group {} of {size}", places.len()),
                is_pair: false,
                churning: if churns {
                    churning.collect()
                } else {
                    Vec::new()
                },
                members,
            });
        }
        for client in (USHER + 1..clients).filter(|client| client % PAIR_EVERY == 1) {
            places.push(Place {
                name: String::new(),
                is_pair: true,
                members: vec![USHER, client],
                churning: Vec::new(),
            });
        }
        Self { places }
    }

    /// Where a client writes, and how often: the more, the smaller.
    #[must_use]
    pub fn writes_to(&self, client: u32) -> Vec<(u32, f64)> {
        let all = (0..).zip(&self.places);
        let mine = all.filter(|(_, place)| {
            place.members.contains(&client) || place.churning.contains(&client)
        });
        mine.map(|(number, place)| {
            let members = u32::try_from(place.members.len()).unwrap_or(u32::MAX);
            (number, 1.0 / f64::from(members))
        })
        .collect()
    }

    /// Where a client may come to be and is not at first.
    #[must_use]
    pub fn outside(&self, client: u32) -> HashSet<u32> {
        let all = (0..).zip(&self.places);
        let out = all.filter(|(_, place)| {
            place.churning.contains(&client) && !place.members.contains(&client)
        });
        out.map(|(number, _)| number).collect()
    }
}

/// The name of a client's account.
#[must_use]
pub fn name(client: u32) -> String {
    format!("chaos-{client:04}")
}

/// Whether a client is a person, who may make groups; the usher is.
#[must_use]
pub const fn is_operator(client: u32) -> bool {
    client.is_multiple_of(OPERATOR_EVERY)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_is_a_layout_and_another_seed_another() {
        assert_eq!(Layout::draw(7, 200), Layout::draw(7, 200));
        assert_ne!(Layout::draw(7, 200), Layout::draw(8, 200));
    }

    #[test]
    fn the_usher_is_everywhere_and_nobody_is_twice_in_one_place() {
        for clients in [4, 40, 200] {
            let layout = Layout::draw(3, clients);
            let sizes: BTreeSet<_> = layout.places.iter().map(|p| p.members.len()).collect();
            assert!(sizes.len() >= 2 && layout.places.iter().any(|p| p.is_pair));
            for place in &layout.places {
                assert_eq!(place.members[0], USHER);
                assert!(!place.churning.contains(&USHER));
                for list in [&place.members, &place.churning] {
                    let once: BTreeSet<_> = list.iter().collect();
                    assert_eq!(once.len(), list.len());
                    assert!(list.iter().all(|client| *client < clients));
                }
            }
            for client in 0..clients {
                assert!(!layout.writes_to(client).is_empty());
            }
        }
        assert!(is_operator(USHER));
    }
}
