//! The requests that are not messages: groups, members, history, capabilities. Each is asked again
//! after a loss or a retryable refusal until its time is over. Pure, as the outbox is.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use protocol::Refusal;
use tokio::time::Instant;

use crate::error::Error;

/// Requests of one client that wait at once; one more is refused with `QueueFull`.
pub(crate) const REQUESTS_WAITING_MAX: usize = 256;

/// Of these, how many are in flight at once.
pub(crate) const REQUESTS_IN_FLIGHT_MAX: usize = 32;

/// One request, with all that does not change over its attempts.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) kind: u16,
    pub(crate) body: Bytes,
    pub(crate) deadline: Instant,
    /// Whether it waits for a connection and is repeated; ephemeral messages are not.
    pub(crate) lasting: bool,
}

/// The order in which requests were accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RequestId(u64);

#[derive(Debug)]
struct Waiting<R> {
    request: Request,
    reply: R,
    in_flight: bool,
    rest_until: Option<Instant>,
    last: Option<Refusal>,
}

/// All requests. `R` is whoever waits for one.
#[derive(Debug)]
pub(crate) struct Requests<R> {
    waiting: BTreeMap<RequestId, Waiting<R>>,
    queued: BTreeSet<RequestId>,
    in_flight: usize,
    connected: bool,
    last_id: u64,
}

impl<R> Requests<R> {
    pub(crate) const fn new() -> Self {
        Self {
            waiting: BTreeMap::new(),
            queued: BTreeSet::new(),
            in_flight: 0,
            connected: false,
            last_id: 0,
        }
    }

    /// Gives the reply back when the request does not wait for a connection and there is none.
    pub(crate) fn accept(&mut self, request: Request, reply: R) -> Result<(), (R, Error)> {
        if !request.lasting && !self.connected {
            return Err((reply, Error::NotConnected));
        }
        self.last_id += 1;
        let id = RequestId(self.last_id);
        self.queued.insert(id);
        let waiting = Waiting {
            request,
            reply,
            in_flight: false,
            rest_until: None,
            last: None,
        };
        self.waiting.insert(id, waiting);
        Ok(())
    }

    pub(crate) const fn connected(&mut self) {
        self.connected = true;
    }

    /// Returns those that are not repeated.
    pub(crate) fn connection_lost(&mut self) -> Vec<(R, Error)> {
        self.connected = false;
        self.in_flight = 0;
        let mut over = Vec::new();
        for id in self.waiting.keys().copied().collect::<Vec<_>>() {
            let Some(waiting) = self.waiting.get_mut(&id) else {
                continue;
            };
            waiting.in_flight = false;
            waiting.rest_until = None;
            if waiting.request.lasting {
                self.queued.insert(id);
            } else if let Some(reply) = self.settle(id) {
                over.push((reply, Error::NotConnected));
            }
        }
        over
    }

    /// The next request to send, which is in flight from now on.
    pub(crate) fn next(&mut self, now: Instant) -> Option<(RequestId, &Request)> {
        if !self.connected || self.in_flight >= REQUESTS_IN_FLIGHT_MAX {
            return None;
        }
        let id = *self.queued.iter().find(|id| {
            self.waiting
                .get(id)
                .is_some_and(|w| w.rest_until.is_none_or(|until| until <= now))
        })?;
        self.queued.remove(&id);
        self.in_flight += 1;
        let waiting = self.waiting.get_mut(&id)?;
        waiting.in_flight = true;
        Some((id, &waiting.request))
    }

    /// Answered, one way or the other.
    pub(crate) fn settle(&mut self, id: RequestId) -> Option<R> {
        let waiting = self.waiting.remove(&id)?;
        self.queued.remove(&id);
        if waiting.in_flight {
            self.in_flight = self.in_flight.saturating_sub(1);
        }
        Some(waiting.reply)
    }

    /// Refused for now, or unanswered. Returns the reply when the request is not repeated.
    pub(crate) fn again(
        &mut self,
        id: RequestId,
        refusal: Option<Refusal>,
        rest_until: Instant,
    ) -> Option<(R, Error)> {
        let waiting = self.waiting.get_mut(&id)?;
        if waiting.in_flight {
            waiting.in_flight = false;
            self.in_flight = self.in_flight.saturating_sub(1);
        }
        if waiting.request.lasting {
            waiting.last = refusal.or_else(|| waiting.last.take());
            waiting.rest_until = Some(rest_until);
            self.queued.insert(id);
            return None;
        }
        let error = refusal.map_or(Error::TimedOut { last: None }, Error::Refused);
        Some((self.settle(id)?, error))
    }

    /// Those whose time is over.
    pub(crate) fn tick(&mut self, now: Instant) -> Vec<(R, Error)> {
        let over: Vec<_> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| waiting.request.deadline <= now)
            .map(|(id, waiting)| (*id, waiting.last.clone()))
            .collect();
        over.into_iter()
            .filter_map(|(id, last)| Some((self.settle(id)?, Error::TimedOut { last })))
            .collect()
    }

    /// Everything, because the client ends.
    pub(crate) fn close(&mut self) -> Vec<(R, Error)> {
        self.queued.clear();
        std::mem::take(&mut self.waiting)
            .into_values()
            .map(|waiting| (waiting.reply, Error::Closed))
            .collect()
    }

    /// When, after this moment, [`Requests::tick`] or [`Requests::next`] has something to do.
    pub(crate) fn next_wake(&self, after: Instant) -> Option<Instant> {
        self.waiting
            .values()
            .flat_map(|waiting| {
                let rested = waiting.rest_until.filter(|_| !waiting.in_flight);
                rested.into_iter().chain([waiting.request.deadline])
            })
            .filter(|wake| *wake > after)
            .min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn request(now: Instant, lasting: bool) -> Request {
        Request {
            kind: 20,
            body: Bytes::new(),
            deadline: now + Duration::from_secs(10),
            lasting,
        }
    }

    #[test]
    fn a_request_is_asked_again_after_a_loss_and_a_rest_until_its_time_is_over() {
        let now = Instant::now();
        let mut requests = Requests::new();
        requests.accept(request(now, true), "group").unwrap();
        assert!(requests.next(now).is_none());
        requests.connected();
        assert!(requests.next(now).is_some() && requests.next(now).is_none());
        assert!(requests.connection_lost().is_empty());
        requests.connected();
        let (id, _) = requests.next(now).unwrap();
        let later = now + Duration::from_secs(1);
        let refusal = Refusal::unavailable("no store");
        assert!(requests.again(id, Some(refusal.clone()), later).is_none());
        assert!(requests.next(now).is_none() && requests.next(later).is_some());
        let over = requests.tick(now + Duration::from_secs(10));
        assert!(
            matches!(&over[..], [("group", Error::TimedOut { last: Some(l) })] if *l == refusal)
        );
        assert!(requests.next_wake(now).is_none());
    }

    #[test]
    fn one_that_does_not_last_fails_at_once_without_a_connection() {
        let now = Instant::now();
        let mut requests = Requests::new();
        assert!(requests.accept(request(now, false), "typing").is_err());
        requests.connected();
        requests.accept(request(now, false), "typing").unwrap();
        assert_eq!(requests.connection_lost().len(), 1);
    }
}
