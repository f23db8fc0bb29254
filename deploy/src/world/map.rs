//! The floor: named rectangles on a grid, cells where nothing passes, and ways between cells.

use std::collections::{BTreeSet, VecDeque};

/// One cell of the floor: column and row.
pub(crate) type Cell = (u8, u8);

/// The floor's size in cells.
const WIDTH: u8 = 26;
const HEIGHT: u8 = 13;

/// A named part of the floor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// How commands name it.
    pub id: &'static str,
    /// What it is.
    pub kind: &'static str,
    /// How people name it, in English and Chinese.
    pub aliases: &'static [&'static str],
    /// The first column and row.
    from: Cell,
    /// The last column and row.
    to: Cell,
}

/// The floor. Every place is apart from the others.
pub(crate) const PLACES: [Place; 9] = [
    Place {
        id: "area-a",
        kind: "area",
        aliases: &["area A", "zone A", "A区", "A 区"],
        from: (1, 1),
        to: (4, 3),
    },
    Place {
        id: "area-b",
        kind: "area",
        aliases: &["area B", "zone B", "B区", "B 区"],
        from: (1, 9),
        to: (4, 11),
    },
    Place {
        id: "corridor",
        kind: "corridor",
        aliases: &["corridor", "hallway", "走廊", "过道"],
        from: (6, 5),
        to: (18, 7),
    },
    Place {
        id: "charging-station",
        kind: "charger",
        aliases: &["charging station", "charger", "充电站", "充电桩"],
        from: (10, 1),
        to: (12, 2),
    },
    Place {
        id: "beside-charging-station",
        kind: "area",
        aliases: &[
            "beside the charging station",
            "next to the charging station",
            "near the charging station",
            "by the charging station",
            "充电站旁边",
            "充电站旁",
            "充电站附近",
            "充电桩旁边",
        ],
        from: (13, 1),
        to: (15, 2),
    },
    Place {
        id: "entrance",
        kind: "area",
        aliases: &["entrance", "门口", "入口"],
        from: (10, 10),
        to: (14, 11),
    },
    Place {
        id: "dock-1",
        kind: "dock",
        aliases: &["dock 1", "dock one", "1号码头", "一号码头", "码头1"],
        from: (20, 1),
        to: (24, 2),
    },
    Place {
        id: "dock-2",
        kind: "dock",
        aliases: &["dock 2", "dock two", "2号码头", "二号码头", "码头2"],
        from: (20, 5),
        to: (24, 7),
    },
    Place {
        id: "storage",
        kind: "storage",
        aliases: &["storage", "storeroom", "warehouse", "仓库", "库房"],
        from: (18, 9),
        to: (24, 11),
    },
];

impl Place {
    /// Whether the cell is in it.
    pub(crate) const fn contains(&self, (x, y): Cell) -> bool {
        self.from.0 <= x && x <= self.to.0 && self.from.1 <= y && y <= self.to.1
    }

    /// Its cells, row by row and back: the way of somebody who looks at each.
    pub(crate) fn cells(&self) -> impl Iterator<Item = Cell> + '_ {
        (self.from.1..=self.to.1).flat_map(move |y| {
            let row = self.from.0..=self.to.0;
            let back = (y - self.from.1) % 2 == 1;
            let mut row: Vec<u8> = row.collect();
            if back {
                row.reverse();
            }
            row.into_iter().map(move |x| (x, y))
        })
    }
}

/// The place of an id or an alias, in any case.
pub(crate) fn place(name: &str) -> Option<&'static Place> {
    let name = name.trim().to_lowercase();
    PLACES.iter().find(|place| {
        place.id == name
            || place
                .aliases
                .iter()
                .any(|alias| alias.to_lowercase() == name)
    })
}

/// The place that a cell is in.
pub(crate) fn place_at(cell: Cell) -> Option<&'static Place> {
    PLACES.iter().find(|place| place.contains(cell))
}

/// The shortest way, without the first cell and with the last; `None` if there is none.
pub(crate) fn way(from: Cell, to: Cell, blocked: &BTreeSet<Cell>) -> Option<Vec<Cell>> {
    let mut came_from = std::collections::BTreeMap::from([(from, from)]);
    let mut next = VecDeque::from([from]);
    while let Some(cell) = next.pop_front() {
        if cell == to {
            let mut way = Vec::new();
            let mut at = to;
            while at != from {
                way.push(at);
                at = came_from[&at];
            }
            way.reverse();
            return Some(way);
        }
        for neighbour in neighbours(cell) {
            if !blocked.contains(&neighbour) && !came_from.contains_key(&neighbour) {
                came_from.insert(neighbour, cell);
                next.push_back(neighbour);
            }
        }
    }
    None
}

fn neighbours((x, y): Cell) -> impl Iterator<Item = Cell> {
    [
        (x.checked_sub(1), Some(y)),
        (Some(x + 1).filter(|x| *x < WIDTH), Some(y)),
        (Some(x), y.checked_sub(1)),
        (Some(x), Some(y + 1).filter(|y| *y < HEIGHT)),
    ]
    .into_iter()
    .filter_map(|(x, y)| x.zip(y))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_apart_and_their_names_are_unique() {
        let mut names = BTreeSet::new();
        let mut cells = BTreeSet::new();
        for place in &PLACES {
            assert!(names.insert(place.id.to_lowercase()), "{}", place.id);
            for alias in place.aliases {
                // An alias may repeat the id of its own place.
                assert!(
                    names.insert(alias.to_lowercase()) || *alias == place.id,
                    "{alias}"
                );
            }
            for cell in place.cells() {
                assert!(cells.insert(cell), "{} {cell:?}", place.id);
                assert!(cell.0 < WIDTH && cell.1 < HEIGHT);
            }
        }
    }

    #[test]
    fn places_are_found_by_their_names_in_both_languages() {
        for (name, id) in [
            ("area-a", "area-a"),
            ("AREA A", "area-a"),
            ("A区", "area-a"),
            ("a区", "area-a"),
            ("充电站旁边", "beside-charging-station"),
            ("充电站", "charging-station"),
            ("2号码头", "dock-2"),
        ] {
            assert_eq!(place(name).map(|place| place.id), Some(id), "{name}");
        }
        assert_eq!(place("moon"), None);
    }

    #[test]
    fn ways_go_around_what_is_blocked() {
        let open = way((0, 0), (2, 0), &BTreeSet::new()).unwrap();
        assert_eq!(open, [(1, 0), (2, 0)]);
        let around = way((0, 0), (2, 0), &BTreeSet::from([(1, 0)])).unwrap();
        assert_eq!(around.len(), 4);
        assert!(!around.contains(&(1, 0)));
        let shut = BTreeSet::from([(1, 0), (0, 1)]);
        assert_eq!(way((0, 0), (2, 0), &shut), None);
        assert_eq!(way((3, 3), (3, 3), &shut), Some(vec![]));
    }
}
