//! Server-sent events: bytes in, the data of whole events out. Comments and the other fields are
//! passed over. Pure.

use super::error::ModelError;

/// The longest event, in bytes.
const EVENT_BYTES_MAX: usize = 1024 * 1024;

/// Reads a stream piece by piece.
#[derive(Debug, Default)]
pub(super) struct Events {
    line: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
}

impl Events {
    /// The events that this piece completes.
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<Vec<String>, ModelError> {
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

    fn end_line(&mut self) -> Result<Option<String>, ModelError> {
        let line = std::mem::take(&mut self.line);
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            if !std::mem::take(&mut self.has_data) {
                return Ok(None);
            }
            return String::from_utf8(std::mem::take(&mut self.data))
                .map(Some)
                .map_err(|_| ModelError::Malformed("an event that is not UTF-8".into()));
        }
        if let Some(data) = line.strip_prefix(b"data:") {
            if std::mem::replace(&mut self.has_data, true) {
                self.data.push(b'\n');
            }
            self.data
                .extend_from_slice(data.strip_prefix(b" ").unwrap_or(data));
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = ": hello\r\ndata: {\"a\":\r\ndata: 1}\r\n\r\nevent: x\nid: 7\n\n\
                          data:箱子\n\ndata: [DONE]\n\ndata: no end";

    #[test]
    fn events_are_the_same_however_the_stream_is_cut() {
        let expected = ["{\"a\":\n1}", "箱子", "[DONE]"];
        for size in 1..STREAM.len() {
            let mut events = Events::default();
            let mut read = Vec::new();
            for piece in STREAM.as_bytes().chunks(size) {
                read.extend(events.push(piece).unwrap());
            }
            assert_eq!(read, expected, "pieces of {size} bytes");
        }
    }

    #[test]
    fn an_event_without_end_and_one_that_is_no_text_are_malformed() {
        let mut events = Events::default();
        assert!(events.push(&vec![b'x'; EVENT_BYTES_MAX + 1]).is_err());
        assert!(Events::default().push(b"data: \xff\n\n").is_err());
    }
}
