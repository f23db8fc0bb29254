//! Lines and messages of the NATS protocol, as they lie in the input.
//!
//! Not here: what they mean to a client.

use anyhow::{Context as _, bail, ensure};

/// What ends every line, and every payload.
pub(super) const END: &[u8] = b"\r\n";

/// A line without an end after so many bytes is not one of ours. INFO is the longest.
pub(super) const LINE_BYTES_MAX: usize = 64 << 10;

/// A message of more bytes is not one of ours.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// MSG or HMSG, as it lies in the input.
#[derive(Debug)]
pub(super) struct Message<'a> {
    pub(super) subject: &'a [u8],
    pub(super) sid: &'a [u8],
    pub(super) has_headers: bool,
    pub(super) payload: &'a [u8],
}

/// The first line of the input, without its end, when it is whole.
pub(super) fn first_line(input: &[u8]) -> anyhow::Result<Option<&[u8]>> {
    let end = input.iter().position(|byte| *byte == b'\r');
    let length = end.unwrap_or(input.len());
    ensure!(length <= LINE_BYTES_MAX, "a line of {length} bytes or more");
    match input.get(length..length + END.len()) {
        None => Ok(None),
        Some(END) => Ok(Some(&input[..length])),
        Some(_) => bail!("a line does not end as it should"),
    }
}

/// What the line announces, and how many bytes it takes in `rest`, when it is whole.
pub(super) fn message<'a>(
    line: &'a [u8],
    rest: &'a [u8],
) -> anyhow::Result<Option<(Message<'a>, usize)>> {
    let has_headers = line.starts_with(b"H");
    let mut fields = line.split(|byte| *byte == b' ');
    // The operation.
    fields.next();
    let subject = fields.next().context("a message without a subject")?;
    let sid = fields.next().context("a message without a subscription")?;
    // A subject to answer to may stand before them, or nothing between two spaces.
    let bytes = decimal(fields.next_back().context("a message without a length")?)?;
    let bytes = usize::try_from(bytes)?;
    ensure!(bytes <= MESSAGE_BYTES_MAX, "a message of {bytes} bytes");
    let headers = if has_headers {
        let headers = fields.next_back().context("headers without a length")?;
        usize::try_from(decimal(headers)?)?
    } else {
        0
    };
    let Some(end) = rest.get(bytes..bytes + END.len()) else {
        return Ok(None);
    };
    ensure!(end == END, "a payload does not end as it should");
    let payload = rest.get(headers..bytes).context("headers are too long")?;
    let message = Message {
        subject,
        sid,
        has_headers,
        payload,
    };
    Ok(Some((message, bytes + END.len())))
}

pub(super) fn decimal(digits: &[u8]) -> anyhow::Result<u64> {
    let mut number = 0_u64;
    for digit in digits {
        ensure!(
            digit.is_ascii_digit(),
            "{} is no number",
            digits.escape_ascii()
        );
        let more = number.checked_mul(10).context("a number is too large")?;
        number = more + u64::from(digit - b'0');
    }
    ensure!(!digits.is_empty(), "a number is missing");
    Ok(number)
}
