//! The requests of one session that logic is answering.
//!
//! Not here: how many there may be ([`crate::session`]).

use std::pin::Pin;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use protocol::Refusal;

use crate::session::Passed;

type Answered = (Passed, Result<Bytes, Refusal>);

/// Those that are on their way. A session that asks nothing holds no memory for it.
#[derive(Default)]
pub(crate) struct Answers(Option<FuturesUnordered<Pin<Box<dyn Future<Output = Answered> + Send>>>>);

impl Answers {
    /// One more.
    pub(crate) fn push(
        &mut self,
        passed: Passed,
        answer: impl Future<Output = Result<Bytes, Refusal>> + Send + 'static,
    ) {
        self.0
            .get_or_insert_default()
            .push(Box::pin(async move { (passed, answer.await) }));
    }

    /// Whichever is there first; `None` when there are none. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Answered> {
        self.0.as_mut()?.next().await
    }

    /// The session has asked nothing for a while.
    pub(crate) fn rest(&mut self) {
        if self.0.as_ref().is_some_and(FuturesUnordered::is_empty) {
            self.0 = None;
        }
    }
}
