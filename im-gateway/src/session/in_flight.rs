//! How many requests of one session may wait for their answer at once.
//!
//! Pure. Not here: how many a second.

use protocol::kind::client;
use protocol::limits::PAGES_IN_FLIGHT_MAX;
use protocol::{ErrorCode, Refusal};

/// Those that are not answered yet.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    requests: u32,
    /// Of these, the ones whose answer may be as long as a frame.
    pages: usize,
}

impl InFlight {
    /// How many there are.
    #[cfg(test)]
    pub(crate) const fn requests(&self) -> u32 {
        self.requests
    }

    /// Whether one more of this kind may begin.
    pub(crate) fn check(&self, kind: u16, requests_max: u32) -> Result<(), Refusal> {
        let refused = |message| Err(Refusal::new(ErrorCode::RateLimited, message));
        if self.requests >= requests_max {
            return refused(format!("more than {requests_max} requests in flight"));
        }
        if is_for_a_page(kind) && self.pages >= PAGES_IN_FLIGHT_MAX {
            return refused(format!("more than {PAGES_IN_FLIGHT_MAX} pages in flight"));
        }
        Ok(())
    }

    pub(crate) fn begin(&mut self, kind: u16) {
        self.requests += 1;
        self.pages += usize::from(is_for_a_page(kind));
    }

    pub(crate) fn end(&mut self, kind: u16) {
        self.requests = self.requests.saturating_sub(1);
        let page = usize::from(is_for_a_page(kind));
        self.pages = self.pages.saturating_sub(page);
    }
}

fn is_for_a_page(kind: u16) -> bool {
    client::ANSWERED_WITH_A_PAGE.contains(&kind)
}
