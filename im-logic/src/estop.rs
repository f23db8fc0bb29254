//! Emergency stops: who may stop and release, and the way of both into the store.
//!
//! Operators stop and release: the fleet, or a group that they are in. By the time a stop comes
//! here its gateway has let it out already, by the rights that it knew; so it is stored whatever has
//! become of these since, and only an account that is no operator is refused. A release is stored
//! first, so the store's word on who may release counts.

use std::sync::Arc;

use protocol::content::{self, Emergency};
use protocol::estop;
use protocol::id::ConversationKind;
use protocol::kind::method;
use protocol::wire::internal::{
    Append, Appended, EstopCommit, EstopTargets, EstopWrite, Members, MembersPage,
};
use protocol::wire::{self, EntryKind, Priority, SendAck};
use protocol::{AccountId, ClientMessageId, ConversationId, Refusal, Roles};
use service_kit::clock;

use crate::directory::Directory;
use crate::events;
use crate::permission::{self, Action};
use crate::store::{Deadline, Store, To};

/// Stores stops and releases, and says whom they concern.
#[derive(Debug)]
pub struct Estops {
    directory: Arc<Directory>,
    store: Store,
}

/// A stop or a release that makes sense.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    conversation: ConversationId,
    kind: EntryKind,
}

impl Estops {
    /// Over these.
    #[must_use]
    pub const fn new(directory: Arc<Directory>, store: Store) -> Self {
        Self { directory, store }
    }

    /// Stores a stop or a release. A repeat is answered as the first was.
    ///
    /// # Errors
    /// What makes no sense, who may not, and that the store is away.
    pub async fn commit(
        &self,
        commit: EstopCommit,
        deadline: Deadline,
    ) -> Result<SendAck, Refusal> {
        let caller = AccountId(commit.account_id);
        let send = commit.send.unwrap_or_default();
        let wanted = parse(&send, caller)?;
        let profile = self.directory.one(caller, deadline).await?;
        permission::check_kind(wanted.action(), profile.kind)?;
        let write = EstopWrite {
            append: Some(Append {
                conversation_id: send.conversation_id,
                sender: caller.0,
                client_message_id: send.client_message_id,
                kind: wanted.kind.into(),
                content: send.content,
                priority: Priority::Emergency.into(),
                // Who may was decided above, and where it was let out.
                sender_roles: Roles::ALL.bits(),
                ..Append::default()
            }),
            sent_at_ms: match commit.sent_at_ms {
                0 => clock::unix_ms(),
                at => at,
            },
        };
        let to = To::Owner(wanted.conversation);
        let answer = self
            .store
            .ask::<_, Appended>(to, method::ESTOP_WRITE, &write, deadline);
        let written = answer.await?;
        events::estop_stored(caller, wanted.conversation, wanted.kind, &written);
        Ok(SendAck {
            sequence: written.sequence,
            committed_at_ms: written.committed_at_ms,
            duplicate: written.duplicate,
        })
    }

    /// A page of the robots that a stop concerns, connected or not.
    ///
    /// # Errors
    /// That there is no such group, or that the store is away.
    pub async fn targets(
        &self,
        asked: EstopTargets,
        deadline: Deadline,
    ) -> Result<MembersPage, Refusal> {
        if asked.conversation_id.is_empty() {
            let to = To::Any(&[]);
            return self
                .store
                .ask(to, method::ESTOP_ROBOTS, &asked, deadline)
                .await;
        }
        let conversation = ConversationId::from_slice(&asked.conversation_id)?;
        let question = Members {
            conversation_id: asked.conversation_id,
            after_account_id: asked.after_account_id,
            limit: asked.limit,
        };
        let to = To::Any(conversation.as_bytes());
        self.store
            .ask(to, method::MEMBERS, &question, deadline)
            .await
    }
}

impl Wanted {
    /// A group's members are checked where it is let out, and by the store where it is released.
    fn action(&self) -> Action {
        match self.conversation.kind() {
            ConversationKind::Group(_) => Action::StopGroup,
            ConversationKind::Pair(..) => Action::StopFleet,
        }
    }
}

fn parse(send: &wire::Send, caller: AccountId) -> Result<Wanted, Refusal> {
    let conversation = ConversationId::from_slice(&send.conversation_id)?;
    ClientMessageId::from_slice(&send.client_message_id)?;
    let (kind, fleet, reason) = match content::emergency(content::decode(&send.content)?) {
        Some(Emergency::Stop(stop)) => (EntryKind::Estop, Some(stop.fleet), stop.reason),
        Some(Emergency::Release(release)) => {
            if estop::ids(&release.stop_ids)?.is_empty() {
                return Err(Refusal::bad_request("stop_ids: none"));
            }
            (EntryKind::EstopRelease, None, release.reason)
        }
        None => {
            let why = "content: a frame of kind 56 stops or releases";
            return Err(Refusal::bad_request(why));
        }
    };
    estop::check_reason(&reason)?;
    match (conversation.kind(), fleet) {
        (ConversationKind::Group(_), Some(true)) => Err(Refusal::bad_request(
            "fleet: a stop of the fleet goes into the sender's pair with itself",
        )),
        (ConversationKind::Pair(low, high), Some(true) | None)
            if low == caller && high == caller =>
        {
            Ok(Wanted { conversation, kind })
        }
        (ConversationKind::Pair(..), _) => Err(Refusal::bad_request(
            "conversation_id: a group, or with `fleet` the sender's pair with itself",
        )),
        (ConversationKind::Group(_), Some(false) | None) => Ok(Wanted { conversation, kind }),
    }
}

#[cfg(test)]
mod tests {
    use protocol::content::Content;

    use super::*;

    const ANA: AccountId = AccountId(3);

    fn send(conversation: ConversationId, content: Content) -> wire::Send {
        wire::Send {
            conversation_id: conversation.to_bytes(),
            client_message_id: ClientMessageId::new(1_700_000_000_000, [1; 10]).to_bytes(),
            content: content::encode(content),
            ..wire::Send::default()
        }
    }

    fn stop(fleet: bool) -> Content {
        Content::Estop(wire::Estop {
            fleet,
            reason: "有人".into(),
        })
    }

    #[test]
    fn a_stop_goes_to_a_group_or_to_the_fleet() {
        let (group, own) = (ConversationId::group(7), ConversationId::pair(ANA, ANA));
        let other = ConversationId::pair(ANA, AccountId(4));
        let is_ok = |to, fleet| parse(&send(to, stop(fleet)), ANA).is_ok();
        assert!(is_ok(group, false) && is_ok(own, true));
        assert!(!is_ok(group, true) && !is_ok(own, false));
        assert!(!is_ok(other, true) && !is_ok(other, false));
    }

    #[test]
    fn a_release_names_what_it_ends() {
        let release = |stop_ids| {
            let release = wire::EstopRelease {
                stop_ids,
                reason: String::new(),
            };
            let to = ConversationId::group(7);
            parse(&send(to, Content::EstopRelease(release)), ANA)
        };
        let id = ClientMessageId::new(1_700_000_000_000, [1; 10]).to_bytes();
        assert_eq!(release(vec![id]).unwrap().kind, EntryKind::EstopRelease);
        assert!(release(Vec::new()).is_err());
    }

    #[test]
    fn other_content_and_long_reasons_are_refused() {
        let group = ConversationId::group(7);
        assert!(parse(&send(group, content::text("停")), ANA).is_err());
        let long = Content::Estop(wire::Estop {
            fleet: false,
            reason: "停".repeat(200),
        });
        assert!(parse(&send(group, long), ANA).is_err());
    }
}
