//! Whom to ask: providers in an order, the next when one fails, a pause for who asks for one, none
//! for long for who is broken, and a bound of questions at once for each. [`choice`] decides, pure;
//! here is the shell around it.

pub mod choice;
pub mod routes;

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout_at};

use self::choice::{Choices, Policy, Question, Step};
use crate::events;
use crate::provider::service::{Deaf, Listener};
use crate::provider::{ChatRequest, ModelError, Reply, Service};

/// Providers in the order in which they are asked.
#[derive(Clone)]
pub struct Providers {
    shared: Arc<Shared>,
}

struct Shared {
    services: Vec<Service>,
    choices: Mutex<Choices>,
    /// A place has become free.
    freed: Notify,
}

impl fmt::Debug for Providers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.shared.services).finish()
    }
}

/// A place at a provider, given back however the question ends.
struct Place<'a> {
    shared: &'a Shared,
    target: usize,
    tries: bool,
    is_over: bool,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.shared.choices.lock().abandon(self.target, self.tries);
        }
        self.shared.freed.notify_waiters();
    }
}

/// Who waits is counted, and not when it has been dropped.
struct Waiting<'a>(&'a Shared);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.choices.lock().waits_no_more();
    }
}

impl Providers {
    /// These providers, at least one, each with its bound of questions at once.
    #[must_use]
    pub fn new(services: Vec<(Service, u32)>, policy: Policy) -> Self {
        let bounds: Vec<u32> = services.iter().map(|(_, bound)| *bound).collect();
        Self {
            shared: Arc::new(Shared {
                services: services.into_iter().map(|(service, _)| service).collect(),
                choices: Mutex::new(Choices::new(&bounds, policy)),
                freed: Notify::new(),
            }),
        }
    }

    /// The providers, in their order.
    #[must_use]
    pub fn services(&self) -> &[Service] {
        &self.shared.services
    }

    /// Who is asked first, as "provider (model), ...".
    #[must_use]
    pub fn describe(&self) -> String {
        let named = self.shared.services.iter();
        let named = named.map(|service| format!("{} ({})", service.name(), service.model()));
        named.collect::<Vec<_>>().join(", ")
    }

    /// Asks whom the order says until somebody answers. Cancel-safe: what is dropped was only asked.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn ask(&self, request: &ChatRequest) -> Result<Reply, ModelError> {
        self.ask_aloud(request, &mut Deaf).await
    }

    /// The same for who listens.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn ask_aloud(
        &self,
        request: &ChatRequest,
        listener: &mut dyn Listener,
    ) -> Result<Reply, ModelError> {
        let shared = &*self.shared;
        let mut question = shared.choices.lock().question(Instant::now());
        loop {
            // Before the look at the places, so that one that becomes free after it is not missed.
            let freed = shared.freed.notified();
            let step = shared.choices.lock().next(Instant::now(), &mut question);
            match step {
                Step::Ask(target) => {
                    let asked = self.attempt(target, &mut question, request, listener).await;
                    if let Some(reply) = asked {
                        return Ok(reply);
                    }
                }
                Step::WaitUntil(when) => sleep_until(when).await,
                Step::WaitForPlace { no_longer_than } => {
                    let _waiting = Waiting(shared);
                    // Either way it is looked again.
                    drop(timeout_at(no_longer_than, freed).await);
                }
                Step::GiveUp(error) => return Err(error),
            }
        }
    }

    /// One question to one provider; none when another step is due.
    async fn attempt(
        &self,
        target: usize,
        question: &mut Question,
        request: &ChatRequest,
        listener: &mut dyn Listener,
    ) -> Option<Reply> {
        let shared = &*self.shared;
        let mut place = Place {
            shared,
            target,
            tries: question.tries(),
            is_over: false,
        };
        let service = &shared.services[target];
        if question.attempts() > 1 {
            listener.restart();
        }
        let asked = service.attempt(request, listener).await;
        let (reply, error) = match asked {
            Ok(reply) => (Some(reply), None),
            Err(error) => (None, Some(error)),
        };
        let now = Instant::now();
        place.is_over = true;
        let has_opened = shared
            .choices
            .lock()
            .ended(now, target, question, error, rand::random());
        if has_opened {
            events::provider_left_alone(service.name());
        }
        reply
    }
}
