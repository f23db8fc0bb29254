//! Capability cards on a real database: in the order in which they were written, and who is at work.

use im_store::command::{Command, CommandChore, Opening, Report, Targets};
use im_store::engine::{CardsAfter, Chore, Readers};
use im_store::writer::Writer;
use protocol::command::CommandKey;
use protocol::wire::{AccountKind, CapabilityCard, OutcomeState};
use protocol::{AccountId, ClientMessageId, ErrorCode};

use crate::backend::Backend;
use crate::writer::{NOW_MS, start};

const FIRST: CardsAfter = CardsAfter {
    revision: 0,
    account: AccountId(0),
};

async fn robots(writer: &Writer, ids: impl IntoIterator<Item = u64>) {
    for id in ids {
        let made = Chore::EnsureAccount {
            fleet: "t".into(),
            kind: AccountKind::Robot,
            name: format!("lift-{id}"),
            proposed: AccountId(id),
        };
        writer.chore(made).await.unwrap();
    }
}

async fn declare(writer: &Writer, robot: u64, model: &str) {
    let chore = Chore::SetCapabilities {
        account: AccountId(robot),
        card: CapabilityCard {
            model: model.into(),
            ..CapabilityCard::default()
        },
    };
    writer.chore(chore).await.unwrap();
}

/// Whose, of which model, and where to go on from.
async fn since(
    readers: &impl Readers,
    after: CardsAfter,
    limit: u32,
) -> (Vec<(u64, String)>, CardsAfter) {
    let cards = readers.cards("t", after, limit).await.unwrap();
    let next = cards
        .last()
        .map_or(after, |(account, revision)| CardsAfter {
            revision: *revision,
            account: AccountId(account.account_id),
        });
    let told = cards.into_iter().map(|(account, _)| {
        let card = account.capabilities.unwrap();
        (account.account_id, card.model)
    });
    (told.collect(), next)
}

pub(crate) async fn cards_come_in_the_order_in_which_they_were_written(backend: &impl Backend) {
    let (writer, _task) = start(backend).await;
    let readers = backend.readers().await;
    robots(&writer, [1, 2, 3]).await;
    let (none, _) = since(&readers, FIRST, 10).await;
    assert!(none.is_empty(), "who has declared nothing has no card");
    for robot in [2, 1, 3] {
        declare(&writer, robot, "叉车").await;
    }
    let card = |robot: u64, model: &str| (robot, model.to_owned());
    let (all, _) = since(&readers, FIRST, 10).await;
    assert_eq!(all, [2, 1, 3].map(|robot| card(robot, "叉车")));
    let (two, next) = since(&readers, FIRST, 2).await;
    assert_eq!(two, [card(2, "叉车"), card(1, "叉车")]);
    let (rest, last) = since(&readers, next, 2).await;
    assert_eq!(rest, [card(3, "叉车")]);

    // The same again is no news; another is, and only once.
    declare(&writer, 1, "叉车").await;
    assert!(since(&readers, last, 10).await.0.is_empty());
    declare(&writer, 2, "拖车").await;
    declare(&writer, 2, "吊车").await;
    let (news, _) = since(&readers, last, 10).await;
    assert_eq!(news, [card(2, "吊车")]);

    let nobody = Chore::SetCapabilities {
        account: AccountId(99),
        card: CapabilityCard::default(),
    };
    let refused = writer.chore(nobody).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::NoSuchAccount);
    let of_another = readers.cards("u", FIRST, 10).await.unwrap();
    assert!(of_another.is_empty());
}

pub(crate) async fn who_has_an_open_command_is_busy(backend: &impl Backend) {
    let (writer, _task) = start(backend).await;
    let readers = backend.readers().await;
    robots(&writer, 1..=3).await;
    let key = CommandKey::new(ClientMessageId::new(NOW_MS, [5; 10]), "1");
    let opening = Opening {
        command: Command {
            key: key.clone(),
            epoch: 0,
            issuer: AccountId(9),
            action: "清扫".into(),
            arguments: "{}".into(),
            digest: [1; 16],
            deadline_ms: NOW_MS + 60_000,
            created_at_ms: NOW_MS,
            is_cancelled: false,
            cancel_reason: String::new(),
        },
        targets: Targets::Named(vec![AccountId(1), AccountId(2)]),
    };
    let open = CommandChore::Open(Box::new(opening.clone()));
    writer.chore(Chore::Command(open)).await.unwrap();
    let done = Report {
        command: key.id(),
        account: AccountId(2),
        state: OutcomeState::Finished,
        reason: String::new(),
        result: String::new(),
    };
    let done = CommandChore::Settle(vec![done]);
    writer.chore(Chore::Command(done)).await.unwrap();
    let all = [1, 2, 3].map(AccountId);
    let busy = readers.busy(&all, NOW_MS).await.unwrap();
    assert_eq!(busy, [AccountId(1)]);
    let later = readers.busy(&all, NOW_MS + 60_000).await.unwrap();
    assert!(later.is_empty(), "its time is over");
    assert!(readers.busy(&[], NOW_MS).await.unwrap().is_empty());

    // A repeat whose robots were chosen by a condition names none, and finds the first.
    let repeat = Opening {
        targets: Targets::Named(Vec::new()),
        ..opening
    };
    let repeat = CommandChore::Open(Box::new(repeat));
    writer.chore(Chore::Command(repeat)).await.unwrap();
}
