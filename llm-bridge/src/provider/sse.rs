//! Server-sent events: bytes in, whole events out, however the bytes are cut. Comments and unknown
//! fields are passed over, but for the status that DashScope hides in them. Pure.

use super::error::ModelError;

/// The longest event, in bytes.
const EVENT_BYTES_MAX: usize = 1024 * 1024;

/// What DashScope puts before a status, in a comment or behind an event's name.
const STATUS_MARK: &str = ":HTTP_STATUS/";

/// What some editors and servers begin a text with.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// Its name; empty for none.
    pub name: String,
    /// Its data, lines joined by line feeds.
    pub data: String,
    /// The HTTP status that it stands for, if it says.
    pub status: Option<u16>,
}

/// Reads a stream piece by piece.
#[derive(Debug, Default)]
pub struct Events {
    line: Vec<u8>,
    data: Vec<u8>,
    name: String,
    status: Option<u16>,
    has_data: bool,
    has_begun: bool,
}

impl Events {
    /// The events that this piece completes.
    pub fn push(&mut self, piece: &[u8]) -> Result<Vec<Event>, ModelError> {
        let mut events = Vec::new();
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(part);
            if self.line.len() + self.data.len() > EVENT_BYTES_MAX {
                return Err(ModelError::Malformed("an event without end".into()));
            }
            if part.ends_with(b"\n") {
                events.extend(self.end_line()?);
            }
        }
        Ok(events)
    }

    /// The event whose last line came, but not the empty line after it.
    pub fn end(&mut self) -> Result<Option<Event>, ModelError> {
        if !self.line.is_empty() {
            // A line without its end may be half of one.
            return Ok(None);
        }
        self.dispatch()
    }

    fn end_line(&mut self) -> Result<Option<Event>, ModelError> {
        let line = std::mem::take(&mut self.line);
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = match std::mem::replace(&mut self.has_begun, true) {
            false => line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line),
            true => line,
        };
        if line.is_empty() {
            return self.dispatch();
        }
        if let Some(data) = field(line, b"data:") {
            if std::mem::replace(&mut self.has_data, true) {
                self.data.push(b'\n');
            }
            self.data.extend_from_slice(data);
        } else if let Some(name) = field(line, b"event:") {
            let name = String::from_utf8_lossy(name);
            let (name, status) = match name.split_once(STATUS_MARK) {
                Some((name, status)) => (name, status.trim().parse().ok()),
                None => (name.as_ref(), None),
            };
            name.trim().clone_into(&mut self.name);
            self.status = status.or(self.status);
        } else {
            let status = line.strip_prefix(STATUS_MARK.as_bytes());
            if let Some(status) = status.or_else(|| field(line, b"status:")) {
                let status = std::str::from_utf8(status).unwrap_or_default();
                self.status = status.trim().parse().ok().or(self.status);
            }
        }
        Ok(None)
    }

    fn dispatch(&mut self) -> Result<Option<Event>, ModelError> {
        let (name, status) = (std::mem::take(&mut self.name), self.status.take());
        let data = std::mem::take(&mut self.data);
        if !std::mem::take(&mut self.has_data) {
            return Ok(None);
        }
        let data = String::from_utf8(data)
            .map_err(|_| ModelError::Malformed("an event that is not UTF-8".into()))?;
        Ok(Some(Event { name, data, status }))
    }
}

/// The value of a field, one space after the colon belonging to it.
fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let value = line.strip_prefix(name)?;
    Some(value.strip_prefix(b" ").unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "\u{feff}: hello\r\ndata: {\"a\":\r\ndata: 1}\r\n\r\nevent: x\nid: 7\n\n\
        data:箱子\n\nid:1\nevent:result\n:HTTP_STATUS/200\ndata:{\"说\":\"一\\\"二😀\"}\n\n\
        event:response.created:HTTP_STATUS/429\ndata: [DONE]\n\ndata: no end";

    fn event(name: &str, data: &str, status: Option<u16>) -> Event {
        Event {
            name: name.into(),
            data: data.into(),
            status,
        }
    }

    fn expected() -> Vec<Event> {
        vec![
            event("", "{\"a\":\n1}", None),
            event("", "箱子", None),
            event("result", "{\"说\":\"一\\\"二😀\"}", Some(200)),
            event("response.created", "[DONE]", Some(429)),
        ]
    }

    #[test]
    fn events_are_the_same_however_the_stream_is_cut() {
        for size in 1..STREAM.len() {
            let mut events = Events::default();
            let mut read = Vec::new();
            for piece in STREAM.as_bytes().chunks(size) {
                read.extend(events.push(piece).unwrap());
            }
            assert_eq!(read, expected(), "pieces of {size} bytes");
            assert_eq!(events.end(), Ok(None), "half a line is no event");
        }
        // And in two pieces at every byte: within characters, lines, events and JSON strings.
        for cut in 0..STREAM.len() {
            let mut events = Events::default();
            let (first, second) = STREAM.as_bytes().split_at(cut);
            let mut read = events.push(first).unwrap();
            read.extend(events.push(second).unwrap());
            assert_eq!(read, expected(), "cut at byte {cut}");
        }
    }

    #[test]
    fn the_last_event_needs_no_empty_line() {
        let mut events = Events::default();
        assert_eq!(
            events.push(b"event:error\nstatus:400\ndata: {}\n"),
            Ok(vec![])
        );
        assert_eq!(events.end(), Ok(Some(event("error", "{}", Some(400)))));
        assert_eq!(events.end(), Ok(None));
    }

    #[test]
    fn an_event_without_end_and_one_that_is_no_text_are_malformed() {
        let mut events = Events::default();
        assert!(events.push(&vec![b'x'; EVENT_BYTES_MAX + 1]).is_err());
        assert!(Events::default().push(b"data: \xff\n\n").is_err());
    }
}
