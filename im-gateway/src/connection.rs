//! One session's connection, from its first frame to its last: the shell around
//! [`crate::session`].
//!
//! Not here: what a frame means, and how frames are read and written (`crate::wire`). Longer than
//! 400 lines: one connection from its first frame to its last, read in one go.

mod present;

use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use protocol::kind::client;
use protocol::limits::{
    CAPABILITY_CARD_BYTES_MAX, FRAME_BYTES_MAX, GATEWAY_ADDRESS_BYTES_MAX, GATEWAYS_LISTED_MAX,
};
use protocol::wire::Membership;
use protocol::wire::internal::MembershipsPage;
use protocol::{AccountId, ErrorCode, Frame, Refusal};
use service_kit::clock;
use service_kit::peers::StickyLink;
use tokio::time::Instant;

pub(crate) use self::present::Present;
use crate::answers::Answers;
use crate::doors::{ADDRESS_RETRY_AFTER_MS, HalfOpen};
use crate::events;
use crate::gateway::Gateway;
use crate::gateway::credentials::{note_refreshed, over_at};
use crate::handle::SessionHandle;
use crate::login::{self, Credential};
use crate::media;
use crate::session::{Introduction, Next, Now, Passed, Session, go_away};
use crate::upstream::Upstream;
use crate::wire::{LAST_WORD_TIMEOUT, Received, Turn, Wire};

/// The memberships in one Welcome, encoded, in bytes: a frame, and room for the account, the list
/// of gateways and what is around them. The client asks for the others.
const WELCOME_MEMBERSHIPS_BYTES_MAX: usize =
    FRAME_BYTES_MAX - CAPABILITY_CARD_BYTES_MAX - WELCOME_GATEWAYS_BYTES_MAX - 4 * 1024;

/// The list of gateways in one Welcome, encoded, in bytes.
const WELCOME_GATEWAYS_BYTES_MAX: usize = GATEWAYS_LISTED_MAX * (GATEWAY_ADDRESS_BYTES_MAX + 3);

/// How a connection ended.
enum Ended {
    /// The client is gone.
    Gone(&'static str),
    /// The client is told why.
    LastWord(Frame, &'static str),
}

/// A connection with a session.
pub struct Connection {
    wire: Wire,
    session: Session,
    present: Present,
}

impl Connection {
    /// From the first frame to the Welcome, which is then in the outbox. `None`: there is no
    /// session, and the client has been told why. `half_open` is given back when that is decided.
    pub(crate) async fn open(
        mut wire: Wire,
        gateway: Arc<Gateway>,
        half_open: HalfOpen,
    ) -> Option<Box<Self>> {
        let mut session = Session::new(gateway.rules.clone(), Instant::now());
        let opened = tokio::select! {
            opened = open(&mut session, &mut wire, &gateway) => opened,
            () = gateway.drain().draining() => {
                Err(Ended::LastWord(leaving(Duration::ZERO), "drain"))
            }
        };
        drop(half_open);
        match opened {
            // Boxed: a future has room for a value on both sides of each move.
            Ok(present) => Some(Box::new(Self {
                wire,
                session,
                present,
            })),
            Err(Ended::LastWord(frame, _)) => {
                wire.finish_with(&frame).await;
                None
            }
            Err(Ended::Gone(_)) => None,
        }
    }

    /// Tells a client whose address has too many connections that nobody is known behind.
    pub(crate) async fn refuse(wire: Wire) {
        let message = "too many connections from this address are not logged in";
        let refusal = Refusal::new(ErrorCode::RateLimited, message);
        let word = refusal.retry_after_ms(ADDRESS_RETRY_AFTER_MS).to_wire();
        wire.finish_with(&Frame::notice(client::ERROR, &word)).await;
    }

    /// Reads and writes until the session ends.
    pub async fn serve(mut self: Box<Self>) {
        let ended = self.run().await;
        let handle = &self.present.handle;
        let why = match ended {
            Ended::Gone(why) => why,
            Ended::LastWord(frame, why) => {
                handle.close(&frame);
                // Boxed, so that a session does not keep room for its end.
                Box::pin(self.wire.finish(handle)).await;
                why
            }
        };
        events::session_ended(handle, why);
    }

    async fn run(&mut self) -> Ended {
        let Self {
            wire,
            session,
            present: Present { gateway, handle },
        } = self;
        let mut logic = gateway.upstream.link_for(handle.session);
        let mut answers = Answers::default();
        let mut leaves_at = None;
        let draining = gateway.drain().draining();
        tokio::pin!(draining);
        // Set again when it fires and not with every frame: what it waits for comes later and later.
        let over_at = over_at(handle.good_until_ms(), Instant::now());
        let first = over_at.unwrap_or_else(|| session.gives_up_at());
        let timer = tokio::time::sleep_until(first.min(session.gives_up_at()));
        tokio::pin!(timer);
        loop {
            let next = tokio::select! {
                Some((passed, outcome)) = answers.next() => {
                    if let Err(refusal) = &outcome {
                        events::request_failed(handle, refusal);
                    }
                    session.answer(&passed, outcome)
                }
                turn = wire.turn(handle) => match turn {
                    Turn::Received(received) => match frame(received, session) {
                        Ok(frame) => session.frame(frame, now()),
                        Err(ended) => return ended,
                    },
                    Turn::Evicted(why) => {
                        let word = why.last_word(LAST_WORD_TIMEOUT);
                        return Ended::LastWord(word, "evicted");
                    }
                },
                () = &mut draining, if leaves_at.is_none() => {
                    let grace = gateway.leave_grace;
                    let at = Instant::now() + grace;
                    let wakes_at = at.min(timer.deadline());
                    leaves_at = Some(at);
                    timer.as_mut().reset(wakes_at);
                    Next::Answer(leaving(grace))
                }
                () = &mut timer => {
                    let stalled_since = wire.stalled_since();
                    match due(session, handle, (leaves_at, stalled_since), Instant::now()) {
                        Ok(wakes_at) => timer.as_mut().reset(wakes_at),
                        Err(ended) => return ended,
                    }
                    continue;
                }
            };
            match next {
                Next::Nothing => {}
                Next::Answer(frame) => handle.answer(&frame),
                Next::Pong(correlation, pong) => {
                    handle.pong(correlation, pong);
                    answers.rest();
                }
                Next::Pass(passed) => pass(gateway, handle, &mut logic, &mut answers, passed),
                Next::Confirmed(stops) => gateway.confirmed(handle, stops),
                Next::Marks(marks) => {
                    gateway.share_marks(handle, &marks);
                    gateway.mark(handle.account, &marks);
                }
                Next::Close(word) => return refused(word),
                // Only before the Welcome.
                Next::Authenticate(_) | Next::Apply(_) => {}
            }
        }
    }
}

/// A request: what concerns emergencies is answered here, with the other tiers or without them; to
/// what is said of media we add where their bytes are.
fn pass(
    gateway: &Arc<Gateway>,
    handle: &Arc<SessionHandle>,
    logic: &mut StickyLink,
    answers: &mut Answers,
    passed: Passed,
) {
    events::request_passed(passed.kind);
    match passed.kind {
        client::ESTOP => {
            let stored = gateway.emergency(handle, &passed);
            answers.push(passed, stored);
        }
        client::CHANGE_CREDENTIALS => {
            let (from, handle) = ((handle.account, handle.session), Arc::clone(handle));
            let answer = Upstream::pass(logic, from, &passed);
            answers.push(passed, async move {
                let answer = answer.await;
                answer.inspect(|body| note_refreshed(&handle, body))
            });
        }
        client::LIST_ESTOPS => {
            let body = passed.body.clone();
            let listed = Arc::clone(gateway).list_estops(handle.kind, body);
            answers.push(passed, listed);
        }
        client::CREATE_MEDIA | client::OPEN_MEDIA | client::LIST_MEDIA => {
            let Some(media) = gateway.media.clone() else {
                answers.push(passed, std::future::ready(Err(media::none())));
                return;
            };
            let answer = Upstream::pass(logic, (handle.account, handle.session), &passed);
            let asked = (passed.kind, passed.body.clone());
            let whole = media.complete(handle.account, asked, answer);
            answers.push(passed, whole);
        }
        client::WATCH => {
            let from = (handle.account, handle.session);
            let allowed = Upstream::pass(logic, from, &passed);
            let watched = gateway.watch(handle, passed.body.clone(), allowed);
            answers.push(passed, watched);
        }
        _ => {
            let from = (handle.account, handle.session);
            let answer = Upstream::pass(logic, from, &passed);
            answers.push(passed, answer);
        }
    }
}

/// What time alone ends, or when the next of it is due.
fn due(
    session: &mut Session,
    handle: &SessionHandle,
    (leaves_at, stalled_since): (Option<Instant>, Option<Instant>),
    now: Instant,
) -> Result<Instant, Ended> {
    if handle.is_congested() {
        // It is we who do not read; whether the client does is seen by what it takes.
        session.excuse(now);
    }
    if session.gives_up_at() <= now {
        return Err(Ended::LastWord(session.give_up(), "silent"));
    }
    if leaves_at.is_some_and(|at| at <= now) {
        return Err(Ended::LastWord(leaving(Duration::ZERO), "drain"));
    }
    let over_at = over_at(handle.good_until_ms(), now);
    if over_at.is_some_and(|at| at <= now) {
        let word = go_away("the credential has expired", Duration::ZERO, true);
        return Err(Ended::LastWord(word, "expired"));
    }
    // A client may say that it is there and never read.
    let stalled_until = stalled_since.map(|since| since + session.patience());
    if stalled_until.is_some_and(|at| at <= now) {
        events::connection_failed(&"the client takes nothing");
        return Err(Ended::Gone("stalled"));
    }
    let dues = [
        Some(session.gives_up_at()),
        leaves_at,
        stalled_until,
        over_at,
    ];
    Ok(dues.into_iter().flatten().min().unwrap_or(now))
}

/// From the first frame to the Welcome, which is then in the outbox.
async fn open(
    session: &mut Session,
    wire: &mut Wire,
    gateway: &Arc<Gateway>,
) -> Result<Present, Ended> {
    let gives_up_at = session.gives_up_at();
    let give_up = |session: &mut Session| Ended::LastWord(session.give_up(), "silent");
    let Ok(first) = tokio::time::timeout_at(gives_up_at, wire.next_frame()).await else {
        return Err(give_up(session));
    };
    let first = frame(first, session)?;
    let introduction = match session.frame(first, now()) {
        Next::Authenticate(introduction) => introduction,
        Next::Apply(passed) => {
            let applied = login::apply(gateway, wire.address(), &passed);
            let Ok(outcome) = tokio::time::timeout_at(gives_up_at, applied).await else {
                return Err(give_up(session));
            };
            if let Err(refusal) = &outcome {
                events::not_admitted(refusal);
            }
            let word = session.applied(&passed, outcome);
            return Err(Ended::LastWord(word, "applied"));
        }
        Next::Close(word) => return Err(refused(word)),
        Next::Nothing
        | Next::Answer(_)
        | Next::Pong(..)
        | Next::Pass(_)
        | Next::Marks(_)
        | Next::Confirmed(_) => {
            return Err(Ended::Gone("not established"));
        }
    };
    let (address, peer) = (wire.address(), wire.peer());
    let credential = Credential {
        address,
        peer: &peer,
        token: &introduction.token,
    };
    let admitted = admit(&introduction, &credential, gateway);
    let (present, account, mut page) = match tokio::time::timeout_at(gives_up_at, admitted).await {
        Ok(Ok(admitted)) => admitted,
        Ok(Err(refusal)) => {
            events::not_admitted(&refusal);
            return Err(Ended::LastWord(session.refuse(&refusal), "refused"));
        }
        Err(_) => return Err(give_up(session)),
    };
    let handle = &present.handle;
    let estops = gateway.estops_for(handle, &introduction.latched).await;
    let of_estops: usize = estops.iter().map(|stop| stop.encoded_len() + 5).sum();
    let fitting = fitting(&page.memberships, of_estops);
    page.more = page.memberships.len() > fitting;
    page.memberships.truncate(fitting);
    wire.establish(introduction.zstd);
    events::session_began(handle.session, &account, &introduction);
    let lists = (gateway.listed(), estops);
    let welcome = session.welcome(handle.session, &introduction, account, page, lists, now());
    handle.welcome(&welcome);
    Ok(present)
}

async fn admit(
    introduction: &Introduction,
    credential: &Credential<'_>,
    gateway: &Arc<Gateway>,
) -> Result<(Present, protocol::wire::Account, MembershipsPage), Refusal> {
    let session = gateway.next_session();
    gateway.estops_known().await?;
    let (account, held) = login::log_in(gateway, session, credential).await?;
    let (id, kind) = (AccountId(account.account_id), account.kind());
    // Sub-accounts are drivers, and not people with several devices.
    let shares = !gateway.rules.has_one_session(kind) && !account.name.contains('~');
    let handle = SessionHandle::new(session, id, introduction.zstd)
        .of_kind(kind)
        .holding(held)
        .sharing_marks(shares);
    let present = Present::new(gateway, Arc::new(handle));
    let page = present.arrive(introduction.history_generation).await?;
    Ok((present, account, page))
}

/// The frame that was received, or how the connection ended.
fn frame(received: Received, session: &mut Session) -> Result<Frame, Ended> {
    match received {
        Some(Ok(frame)) => Ok(frame),
        Some(Err(error)) => match error.refusal() {
            Some(refusal) => {
                let word = session.broken(&refusal);
                Err(refused(word))
            }
            None => {
                events::connection_failed(&error);
                Err(Ended::Gone("connection"))
            }
        },
        None => Err(Ended::Gone("client")),
    }
}

fn refused(word: Frame) -> Ended {
    events::frame_refused(&Refusal::decode(&word.body));
    Ended::LastWord(word, "refused")
}

fn leaving(grace: Duration) -> Frame {
    go_away("the server is going down", grace, true)
}

/// How many of these fit into a Welcome in which so many bytes are taken.
fn fitting(memberships: &[Membership], taken: usize) -> usize {
    let mut bytes = taken;
    memberships
        .iter()
        .take_while(|membership| {
            bytes += membership.encoded_len() + 5;
            bytes <= WELCOME_MEMBERSHIPS_BYTES_MAX
        })
        .count()
}

fn now() -> Now {
    Now {
        at: Instant::now(),
        unix_ms: clock::unix_ms(),
    }
}
