//! Where a stanza of XMPP ends, and what stands in it, as far as our client needs to know.
//!
//! Not an XML parser: it relies on what RFC 6120 forbids in a stream (comments, processing
//! instructions, entities of one's own) and on the server's stanzas being well-formed.

use anyhow::{bail, ensure};

/// A stanza of more bytes is not one of ours.
const STANZA_BYTES_MAX: usize = 1 << 20;

/// What comes on a stream, at its top level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// The stream begins, once more after authentication.
    Opened,
    /// The stream ends.
    Closed,
    /// A whole element.
    Stanza(Stanza<'a>),
}

/// A whole element, as it lies in the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stanza<'a> {
    /// What stands between the first `<` and its `>`.
    tag: &'a [u8],
    /// What follows the first `>`, down to the end of the element.
    rest: &'a [u8],
}

impl<'a> Stanza<'a> {
    pub(super) fn name(&self) -> &'a [u8] {
        name(self.tag)
    }

    /// An attribute of the element itself. What is escaped in it stays so.
    pub(super) fn attribute(&self, wanted: &str) -> Option<&'a [u8]> {
        let mut rest = &self.tag[self.name().len()..];
        loop {
            let start = rest.iter().position(|byte| !byte.is_ascii_whitespace())?;
            rest = &rest[start..];
            let equals = rest.iter().position(|byte| *byte == b'=')?;
            let quote = *rest.get(equals + 1)?;
            let value = &rest[equals + 2..];
            let end = value.iter().position(|byte| *byte == quote)?;
            if &rest[..equals] == wanted.as_bytes() {
                return Some(&value[..end]);
            }
            rest = &value[end + 1..];
        }
    }

    /// Whether this stands anywhere in it.
    pub(super) fn contains(&self, part: &str) -> bool {
        find(self.rest, part.as_bytes()).is_some()
    }

    /// The text of the first element within that begins with exactly this.
    pub(super) fn text_after(&self, start: &str) -> Option<&'a [u8]> {
        let place = find(self.rest, start.as_bytes())?;
        let text = &self.rest[place + start.len()..];
        let end = text.iter().position(|byte| *byte == b'<')?;
        Some(&text[..end])
    }

    /// The whole of it, for a message to a person.
    pub(super) fn shown(&self) -> String {
        let text = [b"<", self.tag, b">", self.rest].concat();
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// The first part of the input and how many bytes it takes, once it is whole.
pub(super) fn first(input: &[u8]) -> anyhow::Result<Option<(Part<'_>, usize)>> {
    let found = part(input)?;
    let bytes = input.len();
    let endless = found.is_none() && bytes > STANZA_BYTES_MAX;
    ensure!(!endless, "a stanza of {bytes} bytes or more");
    Ok(found)
}

fn part(input: &[u8]) -> anyhow::Result<Option<(Part<'_>, usize)>> {
    // Between stanzas, spaces keep connections alive.
    let start = input.iter().position(|byte| !byte.is_ascii_whitespace());
    let start = start.unwrap_or(input.len());
    let Some((tag, mut at)) = first_tag(input, start)? else {
        return Ok(None);
    };
    if tag.starts_with(b"?xml") {
        // It goes with what follows.
        let next = part(&input[at..])?;
        return Ok(next.map(|(part, bytes)| (part, at + bytes)));
    }
    match tag {
        b"/stream:stream" => return Ok(Some((Part::Closed, at))),
        _ if name(tag) == b"stream:stream" => return Ok(Some((Part::Opened, at))),
        _ => {}
    }
    let body = at;
    let mut depth = i32::from(!tag.ends_with(b"/"));
    while depth > 0 {
        let Some(next) = input[at..].iter().position(|byte| *byte == b'<') else {
            return Ok(None);
        };
        let Some((tag, end)) = first_tag(input, at + next)? else {
            return Ok(None);
        };
        at = end;
        depth += match (tag.starts_with(b"/"), tag.ends_with(b"/")) {
            (true, false) => -1,
            (false, true) => 0,
            (false, false) => 1,
            (true, true) => bail!("a tag is nothing but a slash"),
        };
    }
    let rest = &input[body..at];
    Ok(Some((Part::Stanza(Stanza { tag, rest }), at)))
}

/// The tag that begins at `start`, without `<` and `>`, and where it ends.
fn first_tag(input: &[u8], start: usize) -> anyhow::Result<Option<(&[u8], usize)>> {
    let Some(open) = input.get(start) else {
        return Ok(None);
    };
    ensure!(*open == b'<', "text where a stanza begins");
    let mut quote = None;
    for (place, byte) in input.iter().enumerate().skip(start + 1) {
        match (quote, byte) {
            (None, b'>') => return Ok(Some((&input[start + 1..place], place + 1))),
            (None, b'\'' | b'"') => quote = Some(*byte),
            (Some(open), close) if open == *close => quote = None,
            _ => {}
        }
    }
    Ok(None)
}

fn name(tag: &[u8]) -> &[u8] {
    let ends = |byte: &u8| byte.is_ascii_whitespace() || *byte == b'/';
    &tag[..tag.iter().position(ends).unwrap_or(tag.len())]
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stanza(input: &str) -> Stanza<'_> {
        match first(input.as_bytes()).unwrap() {
            Some((Part::Stanza(stanza), bytes)) if bytes == input.len() => stanza,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_stanza_ends_where_its_element_ends() {
        let nested = "<a x='1>2' y=\"'\"><b><a/></b><a>t</a></a>";
        let message = stanza(nested);
        assert_eq!(message.name(), b"a");
        assert_eq!(message.attribute("x"), Some(&b"1>2"[..]));
        assert_eq!(message.attribute("y"), Some(&b"'"[..]));
        assert_eq!(message.attribute("z"), None);
        assert_eq!(message.text_after("<a>"), Some(&b"t"[..]));
        assert!(message.contains("<b>") && !message.contains("<c>"));
        assert_eq!(message.shown(), nested);
        for cut in 0..nested.len() {
            assert_eq!(first(&nested.as_bytes()[..cut]).unwrap(), None, "{cut}");
        }
        assert_eq!(stanza("<success xmlns='s'/>").name(), b"success");
        assert_eq!(stanza(" \n<r/>").name(), b"r");
    }

    #[test]
    fn a_stream_opens_and_closes() {
        let header = b"<?xml version='1.0'?><stream:stream from='h' version='1.0'>";
        let opened = Some((Part::Opened, header.len()));
        assert_eq!(first(header).unwrap(), opened);
        let closed = Some((Part::Closed, 16));
        assert_eq!(first(b"</stream:stream>").unwrap(), closed);
    }

    #[test]
    fn what_is_no_stanza_is_refused() {
        assert!(first(b"text").is_err());
        assert!(first(b"<a></></a>").is_err());
        let endless = vec![b' '; STANZA_BYTES_MAX + 1];
        assert!(first(&endless).is_err());
    }
}
