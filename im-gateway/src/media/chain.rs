//! The parts that a media is kept in, and which of them make it up.
//!
//! Pure. Each part is an object of its own whose name says which bytes it has, and which is never
//! written again: whoever writes beside another (a connection that is not known to be dead yet)
//! spoils nothing. What there is of an upload is the longest way from its first byte over parts that
//! follow each other. When it is whole, the parts of that way are written down and it is never
//! anything else.

use std::collections::BTreeMap;
use std::ops::Range;

use protocol::Refusal;
use protocol::media::{from_hex, to_hex};
use protocol::wire::MediaItem;
use serde::{Deserialize, Serialize};

/// The form of what is written down.
const MANIFEST_VERSION: u32 = 1;

/// A part: which bytes it has, and the name of its object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    /// Where it begins.
    pub(crate) first: u64,
    /// How many bytes it has.
    pub(crate) bytes: u64,
    /// What tells it from others of the same bytes.
    pub(crate) nonce: u64,
}

/// What is written down of a whole media.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    version: u32,
    pub(crate) bytes: u64,
    /// In hexadecimal.
    pub(crate) sha256: String,
    pub(crate) media_type: String,
    pub(crate) name: String,
    parts: Vec<Part>,
}

impl Part {
    /// The name of its object.
    pub(crate) fn name(&self) -> String {
        let Self {
            first,
            bytes,
            nonce,
        } = self;
        format!("{first:016x}-{bytes:x}-{nonce:016x}")
    }

    /// From the name of an object; `None`: it is another.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        let mut numbers = name.splitn(3, '-');
        let mut next = || u64::from_str_radix(numbers.next()?, 16).ok();
        let (first, bytes, nonce) = (next()?, next()?, next()?);
        (bytes > 0).then_some(Self {
            first,
            bytes,
            nonce,
        })
    }

    const fn end(&self) -> u64 {
        self.first.saturating_add(self.bytes)
    }
}

/// The parts of the longest way from the first byte, in order.
pub(crate) fn longest(mut parts: Vec<Part>) -> Vec<Part> {
    parts.sort_by_key(|part| (part.first, part.bytes, part.nonce));
    // By where a way ends: its last part.
    let mut ways: BTreeMap<u64, Option<Part>> = BTreeMap::from([(0, None)]);
    for part in parts {
        if ways.contains_key(&part.first) {
            ways.entry(part.end()).or_insert(Some(part));
        }
    }
    let mut way = Vec::new();
    let mut last = ways.last_key_value().and_then(|(_, last)| last.as_ref());
    while let Some(part) = last {
        way.push(part.clone());
        last = ways.get(&part.first).and_then(Option::as_ref);
    }
    way.reverse();
    way
}

/// Where a way ends.
pub(crate) fn end(way: &[Part]) -> u64 {
    way.last().map_or(0, Part::end)
}

impl Manifest {
    /// Of a media that is whole, over these parts.
    pub(crate) fn new(item: &MediaItem, parts: Vec<Part>) -> Self {
        Self {
            version: MANIFEST_VERSION,
            bytes: item.bytes,
            sha256: to_hex(&item.sha256),
            media_type: item.media_type.clone(),
            name: item.name.clone(),
            parts,
        }
    }

    /// As it was written down.
    ///
    /// # Errors
    /// When it is of a newer build, or damaged.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let damaged = || Refusal::internal("the manifest of a media is none");
        let parsed: Self = serde_json::from_slice(bytes).map_err(|_| damaged())?;
        let follows = |end: Option<u64>, part: &Part| {
            let end = end.filter(|end| *end == part.first)?;
            end.checked_add(part.bytes)
        };
        let end = parsed.parts.iter().fold(Some(0), follows);
        let is_ours = parsed.version == MANIFEST_VERSION && from_hex(&parsed.sha256).is_some();
        if is_ours && end == Some(parsed.bytes) {
            return Ok(parsed);
        }
        Err(damaged())
    }

    /// What names it to HTTP: the same bytes have the same.
    pub(crate) fn etag(&self) -> String {
        format!("\"{}\"", self.sha256)
    }

    /// Whether it is one of its parts.
    pub(crate) fn has(&self, part: &Part) -> bool {
        self.parts.contains(part)
    }

    /// Where these bytes are, in pieces of at most so many: parts, and what of them.
    pub(crate) fn pieces(
        &self,
        wanted: Range<u64>,
        most: u64,
    ) -> impl Iterator<Item = (Part, Range<u64>)> + Send + use<> {
        let from = self
            .parts
            .partition_point(|part| part.end() <= wanted.start);
        let parts: Vec<_> = self.parts[from..].to_vec();
        let (start, end) = (wanted.start, wanted.end);
        let those = parts.into_iter().take_while(move |part| part.first < end);
        those.flat_map(move |part| {
            let from = start.max(part.first) - part.first;
            let up_to = end.min(part.end()) - part.first;
            let mut at = from;
            std::iter::from_fn(move || {
                let piece = at..up_to.min(at.saturating_add(most));
                at = piece.end;
                (!piece.is_empty()).then(|| (part.clone(), piece))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn part(first: u64, bytes: u64, nonce: u64) -> Part {
        Part {
            first,
            bytes,
            nonce,
        }
    }

    #[test]
    fn a_part_comes_back_from_its_name() {
        let ours = part(4 << 40, 77, u64::MAX);
        assert_eq!(Part::of_name(&ours.name()), Some(ours));
        for other in ["manifest.json", "", "0-0-0", "1-2", "x-1-1"] {
            assert_eq!(Part::of_name(other), None, "{other}");
        }
    }

    #[test]
    fn names_are_in_the_order_of_their_bytes() {
        assert!(part(2, 1, 1).name() < part(10, 1, 1).name());
    }

    #[test]
    fn the_longest_way_is_found_among_what_several_have_written() {
        assert_eq!(longest(Vec::new()), []);
        assert_eq!(
            longest(vec![part(4, 4, 1)]),
            [],
            "its first bytes are missing"
        );
        let ours = vec![part(0, 4, 1), part(4, 4, 1), part(8, 1, 1)];
        assert_eq!(longest(ours.clone()), ours);
        // Another was cut short after two, and somebody went on there; and there is a hole.
        let mut all = ours.clone();
        all.extend([part(4, 2, 2), part(6, 1, 3), part(20, 4, 1)]);
        assert_eq!(longest(all), ours);
        let other = vec![part(0, 2, 1), part(0, 3, 2), part(2, 9, 3)];
        assert_eq!(longest(other), [part(0, 2, 1), part(2, 9, 3)]);
    }

    fn manifest() -> Manifest {
        let item = MediaItem {
            bytes: 10,
            sha256: vec![7; 32].into(),
            media_type: "image/png".into(),
            name: "现场.png".into(),
            ..MediaItem::default()
        };
        Manifest::new(&item, vec![part(0, 4, 1), part(4, 4, 2), part(8, 2, 3)])
    }

    #[test]
    fn a_manifest_comes_back_and_one_with_a_hole_does_not() {
        let text = serde_json::to_vec(&manifest()).unwrap();
        assert_eq!(Manifest::parse(&text), Ok(manifest()));
        let mut holed = manifest();
        holed.parts.remove(1);
        let text = serde_json::to_vec(&holed).unwrap();
        assert!(Manifest::parse(&text).is_err());
        assert!(Manifest::parse(b"{}").is_err());
    }

    #[test]
    fn bytes_are_found_in_pieces_over_their_parts() {
        let pieces = |wanted, most| {
            let found = manifest().pieces(wanted, most);
            found.map(|(part, of)| (part.nonce, of)).collect::<Vec<_>>()
        };
        assert_eq!(pieces(0..10, 99), [(1, 0..4), (2, 0..4), (3, 0..2)]);
        assert_eq!(pieces(5..9, 99), [(2, 1..4), (3, 0..1)]);
        assert_eq!(pieces(4..8, 3), [(2, 0..3), (2, 3..4)]);
        assert_eq!(pieces(9..10, 1), [(3, 1..2)]);
        assert_eq!(pieces(0..0, 1), []);
    }
}
