//! What an emergency frame asks for, if it makes sense. Not here: who may.

use protocol::content::{self, Emergency};
use protocol::estop::{self, Stop};
use protocol::id::ConversationKind;
use protocol::wire::{EstopRelease, Send};
use protocol::{AccountId, ClientMessageId, ConversationId, Refusal};
use service_kit::clock;

/// A stop or a release, as its sender says it.
pub(super) enum Wanted {
    Stop(Stop),
    Release(Vec<ClientMessageId>, ConversationId, EstopRelease),
}

/// What this sender asks for.
pub(super) fn parse(send: &Send, caller: AccountId) -> Result<Wanted, Refusal> {
    let conversation = ConversationId::from_slice(&send.conversation_id)?;
    let id = ClientMessageId::from_slice(&send.client_message_id)?;
    let said = content::decode(&send.content)
        .map_err(|refusal| Refusal::bad_request(format!("content: {}", refusal.message)))?;
    let is_own = conversation == ConversationId::pair(caller, caller);
    let is_group = matches!(conversation.kind(), ConversationKind::Group(_));
    let bad = |why: &str| Err(Refusal::bad_request(why));
    match content::emergency(said) {
        Some(Emergency::Stop(stop)) => {
            estop::check_reason(&stop.reason)?;
            if (stop.fleet && !is_own) || (!stop.fleet && !is_group) {
                return bad("conversation_id: a group, or with `fleet` the pair with oneself");
            }
            Ok(Wanted::Stop(Stop {
                id,
                conversation,
                fleet: stop.fleet,
                sender: caller,
                reason: stop.reason,
                sent_at_ms: clock::unix_ms(),
                stored: false,
                release: None,
            }))
        }
        Some(Emergency::Release(release)) => {
            estop::check_reason(&release.reason)?;
            let stops: Vec<_> = estop::ids(&release.stop_ids)?.into_iter().collect();
            if stops.is_empty() || !(is_own || is_group) {
                return bad("stop_ids, conversation_id: the stops of a group, or of the fleet");
            }
            Ok(Wanted::Release(stops, conversation, release))
        }
        None => bad("content: a frame of kind 56 stops or releases"),
    }
}
