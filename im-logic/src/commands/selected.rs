//! Commands to any robots that meet a condition.
//!
//! Who they are is decided once, before the command is stored, and stored with it: a repeat is
//! answered from the store, whoever meets the condition by then. Of those that meet it the ones that
//! are online and have nothing to do come first; among equals it is chance, so that not all commands
//! of a moment go to the same robots.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use bytes::Bytes;
use protocol::command::CommandKey;
use protocol::kind::method;
use protocol::limits::COMMAND_TARGETS_MAX;
use protocol::wire::internal::{
    BusyAmong, CommandRead, Online, OnlineAccounts, OpenCommand, Reach, Reached, read_commands,
};
use protocol::wire::{CommandSent, GetCommand, QueryFault, RobotSelection, SendCommand};
use protocol::{AccountId, ClientMessageId, ErrorCode, Refusal};
use service_kit::rpc;

use super::{Commands, understood};
use crate::store::{Caller, To};

/// Accounts with sessions in one question to a router: some 640 KiB.
const ONLINE_PER_QUESTION: u32 = 64 * 1024;

/// What is known of a robot that may be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Candidate {
    account: AccountId,
    is_online: bool,
    is_busy: bool,
}

impl Commands {
    /// Stores a command to any robots that meet a condition, or answers its repeat.
    pub(super) async fn send_to_any(
        &self,
        caller: Caller,
        key: CommandKey,
        mut send: SendCommand,
    ) -> Result<Bytes, Refusal> {
        let selection = send.selection.clone().unwrap_or_default();
        let mut matched = 0;
        if !self.is_stored(caller, &send).await? {
            let met = self.registry.meeting(caller, &selection).await?;
            let met = self.reached(caller, &selection, met).await?;
            matched = u32::try_from(met.len()).unwrap_or(u32::MAX);
            let wanted = wanted(&selection, met.len())?;
            let candidates = self.candidates(caller, met).await?;
            let chosen = choose(candidates, wanted, key.id());
            send.targets = chosen.into_iter().map(|robot| robot.0).collect();
            send.targets.sort_unstable();
        }
        let open = OpenCommand {
            issuer: caller.account.0,
            send: Some(send),
        };
        let to = To::Key(key.plan.as_bytes());
        let answer = self
            .store
            .ask(to, method::OPEN_COMMAND, &open, caller.deadline);
        let mut sent: CommandSent = answer.await?;
        // Two at once: the other one's robots have it.
        sent.matched = if sent.duplicate { 0 } else { matched };
        Ok(rpc::encode(&sent))
    }

    async fn is_stored(&self, caller: Caller, send: &SendCommand) -> Result<bool, Refusal> {
        let question = read_commands::Question::Get(GetCommand {
            key: send.key.clone(),
            counts_only: true,
            ..GetCommand::default()
        });
        match self.read::<CommandRead>(caller, question).await {
            Ok(_) => Ok(true),
            Err(refusal) if refusal.code == ErrorCode::NoSuchCommand => Ok(false),
            Err(refusal) => Err(refusal),
        }
    }

    /// Members of a group that the issuer is in are within its reach; of all robots, those that it
    /// shares a group with.
    async fn reached(
        &self,
        caller: Caller,
        selection: &RobotSelection,
        met: Vec<AccountId>,
    ) -> Result<Vec<AccountId>, Refusal> {
        if !selection.group_id.is_empty() {
            return Ok(met);
        }
        let mut reached = Vec::with_capacity(met.len());
        for some in met.chunks(COMMAND_TARGETS_MAX) {
            let question = read_commands::Question::Reach(Reach {
                account_id: caller.account.0,
                targets: some.iter().map(|robot| robot.0).collect(),
            });
            let answer: Reached = self.read(caller, question).await?;
            reached.extend(answer.targets.into_iter().map(AccountId));
        }
        Ok(reached)
    }

    /// Who is online and at work, as far as it is known: it decides who comes first, and nobody is
    /// left out for it.
    async fn candidates(
        &self,
        caller: Caller,
        met: Vec<AccountId>,
    ) -> Result<Vec<Candidate>, Refusal> {
        let mut busy = HashSet::new();
        for some in met.chunks(COMMAND_TARGETS_MAX) {
            let question = BusyAmong {
                targets: some.iter().map(|robot| robot.0).collect(),
            };
            let to = To::Any(&[]);
            let answer = self
                .store
                .ask(to, method::BUSY_AMONG, &question, caller.deadline);
            let answer: Reached = answer.await?;
            busy.extend(answer.targets.into_iter().map(AccountId));
        }
        let online = self.online(caller).await.unwrap_or_default();
        let candidate = |account: AccountId| Candidate {
            account,
            is_online: online.contains(&account),
            is_busy: busy.contains(&account),
        };
        Ok(met.into_iter().map(candidate).collect())
    }

    async fn online(&self, caller: Caller) -> Result<HashSet<AccountId>, Refusal> {
        let (mut online, mut after) = (HashSet::new(), 0);
        loop {
            let question = Online {
                after_account_id: after,
                limit: ONLINE_PER_QUESTION,
            };
            let body = rpc::encode(&question);
            let link = self.registry.any_router()?;
            let answer = link.call(method::ONLINE, body, caller.deadline.remaining());
            let page: OnlineAccounts = understood(&answer.await?)?;
            online.extend(page.account_ids.iter().copied().map(AccountId));
            match page.account_ids.last().filter(|_| page.more) {
                Some(last) => after = *last,
                None => return Ok(online),
            }
        }
    }
}

/// How many of so many.
fn wanted(selection: &RobotSelection, matched: usize) -> Result<usize, Refusal> {
    let count = usize::try_from(selection.count).unwrap_or(usize::MAX);
    let wanted = if count == 0 { matched.max(1) } else { count };
    if wanted > COMMAND_TARGETS_MAX {
        return Err(Refusal::new(
            ErrorCode::LimitReached,
            format!("selection: {wanted} robots, and at most {COMMAND_TARGETS_MAX} are allowed"),
        ));
    }
    if matched >= wanted {
        return Ok(wanted);
    }
    let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Err(Refusal::query(
        format!("selection: {matched} robots meet the condition, and {wanted} are wanted"),
        QueryFault {
            matched: small(matched),
            wanted: small(wanted),
            ..QueryFault::default()
        },
    ))
}

/// So many of them.
fn choose(mut of: Vec<Candidate>, count: usize, command: ClientMessageId) -> Vec<AccountId> {
    let chance = |account: AccountId| {
        let mut hasher = DefaultHasher::new();
        (command.as_bytes(), account.0).hash(&mut hasher);
        hasher.finish()
    };
    of.sort_by_cached_key(|robot| (!robot.is_online, robot.is_busy, chance(robot.account)));
    of.truncate(count);
    of.into_iter().map(|robot| robot.account).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMAND: u8 = 7;

    fn robot(id: u64, is_online: bool, is_busy: bool) -> Candidate {
        Candidate {
            account: AccountId(id),
            is_online,
            is_busy,
        }
    }

    fn command(n: u8) -> ClientMessageId {
        ClientMessageId::from_slice(&[n; 16]).unwrap()
    }

    #[test]
    fn who_is_there_and_idle_comes_first_and_nobody_is_left_out() {
        let all = vec![
            robot(1, false, false),
            robot(2, true, true),
            robot(3, false, true),
            robot(4, true, false),
        ];
        let order = choose(all, 4, command(COMMAND));
        assert_eq!(order, [4, 2, 1, 3].map(AccountId));
    }

    #[test]
    fn among_equals_another_command_finds_other_robots() {
        let all: Vec<_> = (0..100).map(|id| robot(id, true, false)).collect();
        let one = choose(all.clone(), 5, command(1));
        assert_eq!(one, choose(all.clone(), 5, command(1)));
        assert_ne!(one, choose(all, 5, command(2)));
    }

    #[test]
    fn too_few_is_refused_with_how_many_there_are() {
        let selection = |count| RobotSelection {
            count,
            ..RobotSelection::default()
        };
        assert_eq!(wanted(&selection(2), 3), Ok(2));
        assert_eq!(wanted(&selection(0), 3), Ok(3));
        let refused = wanted(&selection(4), 3).unwrap_err();
        assert_eq!(refused.code, ErrorCode::Query);
        let fault = refused.query_fault.unwrap();
        assert_eq!((fault.matched, fault.wanted), (3, 4));
        assert!(wanted(&selection(0), 0).is_err(), "all of none");
        let many = wanted(&selection(0), COMMAND_TARGETS_MAX + 1).unwrap_err();
        assert_eq!(many.code, ErrorCode::LimitReached);
    }
}
