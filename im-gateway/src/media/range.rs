//! Which bytes of a media a request is answered with: Range and If-Range of RFC 9110.
//!
//! Pure. Several ranges at once are answered with the whole, which the RFC allows.

use std::ops::Range;

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// All of it: 200.
    Whole,
    /// These bytes: 206.
    Part(Range<u64>),
    /// There are no such bytes: 416.
    Nothing,
}

/// What the headers of a request ask for, of a media of so many bytes. `if_range`: the range counts
/// only for a media of this ETag; a date is none.
pub(crate) fn wanted(
    range: Option<&str>,
    if_range: Option<&str>,
    etag: &str,
    bytes: u64,
) -> Wanted {
    if if_range.is_some_and(|its| its.trim() != etag) {
        return Wanted::Whole;
    }
    range
        .and_then(|range| parse(range, bytes))
        .unwrap_or(Wanted::Whole)
}

/// `None`: not one range of bytes that makes sense, which counts as none.
fn parse(range: &str, bytes: u64) -> Option<Wanted> {
    let (unit, set) = range.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = set.trim().split_once('-')?;
    let (first, last) = (first.trim(), last.trim());
    if first.is_empty() {
        let length = number(last)?;
        return Some(match length {
            0 => Wanted::Nothing,
            length => Wanted::Part(bytes.saturating_sub(length)..bytes),
        });
    }
    let first = number(first)?;
    let last = match last {
        "" => bytes.saturating_sub(1),
        last => number(last)?,
    };
    if first > last && !set.trim().ends_with('-') {
        return None;
    }
    if first >= bytes {
        return Some(Wanted::Nothing);
    }
    Some(Wanted::Part(first..last.saturating_add(1).min(bytes)))
}

fn number(digits: &str) -> Option<u64> {
    let all_digits = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    // More than there can be is as good as the most.
    all_digits.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_to_what_there_is() {
        let of = |range: &str| wanted(Some(range), None, "\"e\"", 100);
        assert_eq!(of("bytes=0-0"), Wanted::Part(0..1));
        assert_eq!(of("bytes=10-"), Wanted::Part(10..100));
        assert_eq!(of("bytes=10-19"), Wanted::Part(10..20));
        assert_eq!(of("Bytes = 10-999"), Wanted::Part(10..100));
        assert_eq!(of("bytes=-10"), Wanted::Part(90..100));
        assert_eq!(of("bytes=-999"), Wanted::Part(0..100));
        let huge = format!("bytes=99-{}9", u64::MAX);
        assert_eq!(of(&huge), Wanted::Part(99..100));
        for nothing in ["bytes=100-", "bytes=100-200", "bytes=-0"] {
            assert_eq!(of(nothing), Wanted::Nothing, "{nothing}");
        }
    }

    #[test]
    fn what_is_no_range_is_the_whole() {
        for range in ["", "bytes", "bytes=", "bytes=-", "bytes=x-1", "bytes=2-1"] {
            let whole = wanted(Some(range), None, "\"e\"", 100);
            assert_eq!(whole, Wanted::Whole, "{range}");
        }
        for range in ["items=0-1", "bytes=0-1,5-6", "bytes=+1-2"] {
            let whole = wanted(Some(range), None, "\"e\"", 100);
            assert_eq!(whole, Wanted::Whole, "{range}");
        }
        assert_eq!(wanted(None, None, "\"e\"", 100), Wanted::Whole);
    }

    #[test]
    fn a_range_of_another_media_is_the_whole() {
        let of = |if_range| wanted(Some("bytes=1-"), Some(if_range), "\"e\"", 100);
        assert_eq!(of("\"e\""), Wanted::Part(1..100));
        assert_eq!(of("\"f\""), Wanted::Whole);
        assert_eq!(of("W/\"e\""), Wanted::Whole);
        assert_eq!(of("Tue, 01 Dec 2026 00:00:00 GMT"), Wanted::Whole);
    }
}
