//! Commands and their outcomes on a real database: stored once, moved only forward, found again.

use im_store::command::{
    Command, CommandChore, CommandDone, CommandReaders as _, NOT_BEGUN, Opened, Opening, Report,
    Settled, Targets,
};
use im_store::engine::{Chore, Done, NewGroup};
use im_store::reports::REPORTS_TOGETHER_MAX;
use im_store::shard::{Append, MemberChange, Ruled};
use im_store::writer::Writer;
use protocol::command::CommandKey;
use protocol::wire::{AccountKind, EntryKind, OutcomeState, Priority, Role};
use protocol::{AccountId, ClientMessageId, ConversationId, ErrorCode, Refusal, Rights};

use crate::audit::commands_are_listed;
use crate::backend::Backend;
use crate::writer::{NOW_MS, start};

const ALL: (OutcomeState, OutcomeState) = (OutcomeState::Stored, OutcomeState::Superseded);

fn key(step: &str) -> CommandKey {
    CommandKey::new(ClientMessageId::new(NOW_MS, [5; 10]), step)
}

fn command(key: CommandKey, epoch: u64) -> Command {
    Command {
        key,
        epoch,
        issuer: AccountId(1),
        action: "清扫".into(),
        arguments: "{\"区\":\"B\"}".into(),
        digest: [1; 16],
        deadline_ms: NOW_MS + 60_000,
        created_at_ms: NOW_MS,
        is_cancelled: false,
        cancel_reason: String::new(),
    }
}

async fn chore(writer: &Writer, chore: CommandChore) -> Result<CommandDone, Refusal> {
    let Done::Command(done) = writer.chore(Chore::Command(chore)).await? else {
        panic!("another answer");
    };
    Ok(done)
}

async fn open(
    writer: &Writer,
    command: Command,
    robots: impl IntoIterator<Item = u64>,
) -> Result<Opened, Refusal> {
    let targets = Targets::Named(robots.into_iter().map(AccountId).collect());
    let opening = Box::new(Opening { command, targets });
    let CommandDone::Opened(opened) = chore(writer, CommandChore::Open(opening)).await? else {
        panic!("another answer");
    };
    Ok(*opened)
}

fn report(key: &CommandKey, robot: u64, state: OutcomeState) -> Report {
    Report {
        command: key.id(),
        account: AccountId(robot),
        state,
        reason: if state == OutcomeState::Failed {
            "没电了".into()
        } else {
            String::new()
        },
        result: String::new(),
    }
}

async fn settle(writer: &Writer, reports: Vec<Report>) -> Settled {
    let settle = CommandChore::Settle(reports);
    let CommandDone::Settled(settled) = chore(writer, settle).await.unwrap() else {
        panic!("another answer");
    };
    settled
}

async fn states(backend: &impl Backend, key: &CommandKey) -> Vec<(u64, OutcomeState)> {
    let readers = backend.readers().await;
    let found = readers.outcomes(key.id(), ALL, AccountId(0), 20_000).await;
    let found = found.unwrap().into_iter();
    found.map(|its| (its.account.0, its.state)).collect()
}

pub(crate) async fn a_command_is_stored_once_with_an_outcome_for_each_target(
    backend: &impl Backend,
) {
    const ROBOTS: u64 = 10_000;
    let (writer, _) = start(backend).await;
    let robots = || 1..=ROBOTS;
    let opened = open(&writer, command(key("1"), 0), robots()).await.unwrap();
    assert_eq!((opened.command.epoch, opened.duplicate), (1, false));
    assert_eq!(opened.targets.len() as u64, ROBOTS);
    let again = open(&writer, command(key("1"), 0), robots()).await.unwrap();
    assert!(again.duplicate && again.targets.is_empty());
    let mut other = command(key("1"), 0);
    other.digest = [2; 16];
    let refused = open(&writer, other, robots()).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Conflict);
    let none = open(&writer, command(key("2"), 0), []).await.unwrap_err();
    assert_eq!(none.code, ErrorCode::BadRequest);
    let many = open(&writer, command(key("2"), 0), 1..=ROBOTS + 1).await;
    assert_eq!(many.unwrap_err().code, ErrorCode::LimitReached);

    let readers = backend.readers().await;
    let counts = readers.outcome_counts(key("1").id()).await.unwrap();
    assert_eq!(u64::from(counts.stored), ROBOTS);
    let kept = readers.command(key("1").id()).await.unwrap().unwrap();
    assert_eq!(
        kept,
        Command {
            epoch: 1,
            ..command(key("1"), 0)
        }
    );
    let after = AccountId(ROBOTS - 2);
    let page = readers
        .outcomes(key("1").id(), ALL, after, 5)
        .await
        .unwrap();
    let page: Vec<_> = page.iter().map(|outcome| outcome.account.0).collect();
    assert_eq!(page, [ROBOTS - 1, ROBOTS]);
    assert!(readers.command(key("2").id()).await.unwrap().is_none());

    // Whatever ten thousand robots say at once.
    let said: Vec<_> = robots()
        .map(|robot| report(&key("1"), robot, OutcomeState::Finished))
        .collect();
    for said in said.chunks(REPORTS_TOGETHER_MAX) {
        let settled = settle(&writer, said.to_vec()).await;
        assert_eq!(settled.changes.len(), said.len());
    }
    let counts = readers.outcome_counts(key("1").id()).await.unwrap();
    assert_eq!((counts.stored, u64::from(counts.finished)), (0, ROBOTS));
}

pub(crate) async fn outcomes_only_move_forward(backend: &impl Backend) {
    let (writer, _) = start(backend).await;
    open(&writer, command(key("1"), 0), [7, 8, 9])
        .await
        .unwrap();
    let said = vec![
        report(&key("1"), 7, OutcomeState::Accepted),
        report(&key("1"), 8, OutcomeState::Failed),
        report(&key("1"), 7, OutcomeState::Delivered),
        report(&key("1"), 17, OutcomeState::Accepted),
        report(&key("2"), 7, OutcomeState::Accepted),
    ];
    let settled = settle(&writer, said).await;
    let after = [
        OutcomeState::Accepted,
        OutcomeState::Failed,
        OutcomeState::Accepted,
        OutcomeState::Unspecified,
        OutcomeState::Unspecified,
    ];
    assert_eq!(settled.states, after);
    let late = vec![report(&key("1"), 8, OutcomeState::Finished)];
    assert_eq!(settle(&writer, late).await.states, [OutcomeState::Failed]);
    let readers = backend.readers().await;
    let failed = (OutcomeState::Failed, OutcomeState::Failed);
    let failed = readers
        .outcomes(key("1").id(), failed, AccountId(0), 9)
        .await;
    assert_eq!(failed.unwrap()[0].reason, "没电了");

    // What has begun goes on; what has not is over, and stays so.
    let cancel = CommandChore::Cancel {
        command: key("1").id(),
        reason: "停".into(),
    };
    let CommandDone::Ended(changes) = chore(&writer, cancel).await.unwrap() else {
        panic!("nothing was cancelled");
    };
    assert_eq!(changes.len(), 1);
    let begins = vec![report(&key("1"), 9, OutcomeState::Accepted)];
    assert_eq!(
        settle(&writer, begins).await.states,
        [OutcomeState::Cancelled]
    );
    assert!(
        readers
            .command(key("1").id())
            .await
            .unwrap()
            .unwrap()
            .is_cancelled
    );
    let close = || CommandChore::Close(key("1").id());
    assert_eq!(
        chore(&writer, close()).await,
        Ok(CommandDone::Closed(false))
    );
    settle(&writer, vec![report(&key("1"), 7, OutcomeState::Finished)]).await;
    assert_eq!(chore(&writer, close()).await, Ok(CommandDone::Closed(true)));
    assert_eq!(readers.open_commands(&[], 9).await.unwrap(), []);
    commands_are_listed(&readers).await;
    let ended = [
        (7, OutcomeState::Finished),
        (8, OutcomeState::Failed),
        (9, OutcomeState::Cancelled),
    ];
    assert_eq!(states(backend, &key("1")).await, ended);
}

pub(crate) async fn what_expired_gives_way_only_to_how_it_ended(backend: &impl Backend) {
    let (writer, _) = start(backend).await;
    open(&writer, command(key("1"), 0), [7, 8]).await.unwrap();
    settle(&writer, vec![report(&key("1"), 7, OutcomeState::Running)]).await;
    let expire = |up_to| CommandChore::Expire {
        command: key("1").id(),
        up_to,
        reason: "late",
    };
    chore(&writer, expire(NOT_BEGUN)).await.unwrap();
    let half = [(7, OutcomeState::Running), (8, OutcomeState::Expired)];
    assert_eq!(states(backend, &key("1")).await, half);
    chore(&writer, expire(OutcomeState::Running)).await.unwrap();
    let said = vec![
        report(&key("1"), 8, OutcomeState::Accepted),
        report(&key("1"), 7, OutcomeState::Finished),
    ];
    let settled = settle(&writer, said).await;
    assert_eq!(
        settled.states,
        [OutcomeState::Expired, OutcomeState::Finished]
    );
}

pub(crate) async fn epochs_are_taken_by_one_and_older_ones_store_nothing(backend: &impl Backend) {
    let (writer, _) = start(backend).await;
    let plan = key("1").plan;
    let [mine, theirs] = [1, 2].map(|n| ClientMessageId::new(NOW_MS, [n; 10]));
    let take = |expected, request| CommandChore::TakeEpoch {
        plan,
        expected,
        holder: AccountId(1),
        request,
    };
    let taken = |epoch| Ok(CommandDone::Epoch { taken: true, epoch });
    let other = |epoch| {
        Ok(CommandDone::Epoch {
            taken: false,
            epoch,
        })
    };
    assert_eq!(chore(&writer, take(0, mine)).await, taken(1));
    assert_eq!(chore(&writer, take(0, mine)).await, taken(1), "a repeat");
    assert_eq!(chore(&writer, take(0, theirs)).await, other(1));
    open(&writer, command(key("1"), 1), [7]).await.unwrap();
    assert_eq!(chore(&writer, take(1, theirs)).await, taken(2));

    let stale = open(&writer, command(key("2"), 1), [7]).await.unwrap_err();
    assert_eq!(stale.code, ErrorCode::StaleEpoch);
    let again = open(&writer, command(key("1"), 2), [7]).await.unwrap();
    assert!(again.duplicate);
    let kept = backend
        .readers()
        .await
        .command(key("1").id())
        .await
        .unwrap();
    assert_eq!(kept.unwrap().epoch, 2);

    // A newer attempt ends what has not begun of the older ones.
    let newer = CommandKey {
        attempt: 2,
        ..key("1")
    };
    let opened = open(&writer, command(newer, 2), [7]).await.unwrap();
    assert_eq!(opened.superseded.len(), 1);
    let superseded = [(7, OutcomeState::Superseded)];
    assert_eq!(states(backend, &key("1")).await, superseded);
}

/// Accounts 1, 7 and 8; the first two are in the group.
async fn group_of_two(writer: &Writer) -> ConversationId {
    let accounts = [
        (1, AccountKind::Operator),
        (7, AccountKind::Robot),
        (8, AccountKind::Robot),
    ];
    for (id, kind) in accounts {
        let made = Chore::EnsureAccount {
            fleet: "t".into(),
            kind,
            name: format!("a{id}"),
            proposed: AccountId(id),
        };
        writer.chore(made).await.unwrap();
    }
    let group = ConversationId::group(5);
    let message_id = ClientMessageId::new(NOW_MS, [9; 10]);
    let row = Chore::CreateGroup(NewGroup {
        creator: AccountId(1),
        message_id,
        proposed: group,
        name: "仓库".into(),
        history_open: false,
        owned_max: 0,
    });
    writer.chore(row).await.unwrap();
    let joins = [(1, Role::Owner), (7, Role::Member)];
    let joins = joins.map(|(account, role)| MemberChange::Joins(AccountId(account), role));
    writer
        .append(entry(group, message_id, joins.into()))
        .await
        .unwrap();

    group
}

pub(crate) async fn a_robot_finds_its_orders_and_is_found_by_its_group(backend: &impl Backend) {
    let (writer, _) = start(backend).await;
    let group = group_of_two(&writer).await;
    let readers = backend.readers().await;
    let asked = [1, 7, 8].map(AccountId);
    let reached = readers.reach(AccountId(1), &asked).await.unwrap();
    assert_eq!(
        reached,
        [AccountId(7)],
        "a robot, and in a group with the asker"
    );
    assert_eq!(readers.reach(AccountId(8), &asked).await.unwrap(), []);

    let opening = Opening {
        command: command(key("1"), 0),
        targets: Targets::Group(group),
    };
    chore(&writer, CommandChore::Open(Box::new(opening)))
        .await
        .unwrap();
    assert_eq!(
        states(backend, &key("1")).await,
        [(7, OutcomeState::Stored)]
    );
    open(&writer, command(key("2"), 0), [7]).await.unwrap();
    settle(&writer, vec![report(&key("2"), 7, OutcomeState::Finished)]).await;
    let orders = readers.orders(AccountId(7), NOW_MS, &[], 9).await.unwrap();
    let orders: Vec<_> = orders
        .iter()
        .map(|(its, state)| (its.key.clone(), *state))
        .collect();
    assert_eq!(orders, [(key("1"), OutcomeState::Stored)]);
    let late = readers.orders(AccountId(7), NOW_MS + 60_000, &[], 9).await;
    assert_eq!(late.unwrap(), []);

    // What is over and old goes, and the epoch of its plan.
    chore(&writer, CommandChore::Close(key("2").id()))
        .await
        .unwrap();
    let before_ms = NOW_MS + 70_000;
    let forget = || CommandChore::Forget { before_ms };
    assert_eq!(
        chore(&writer, forget()).await,
        Ok(CommandDone::Forgotten(2))
    );
    assert_eq!(
        chore(&writer, forget()).await,
        Ok(CommandDone::Forgotten(0))
    );
    assert!(
        readers.command(key("1").id()).await.unwrap().is_some(),
        "it is open"
    );
}

fn entry(
    conversation: ConversationId,
    message_id: ClientMessageId,
    changes: Vec<MemberChange>,
) -> Append {
    Append {
        conversation,
        sender: AccountId(1),
        message_id,
        kind: EntryKind::Membership,
        content: bytes::Bytes::new(),
        priority: Priority::Chat,
        deliver_before_ms: 0,
        rights: Rights::EVERYTHING,
        changes,
        group: None,
        target: None,
        reply_to: None,
        ruled: Ruled::default(),
    }
}
