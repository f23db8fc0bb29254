//! What is known of robots, and for how long.

use super::*;
use crate::registry::filter::Filter;
use crate::registry::testing::{R, card_row, heard_live, number};

fn battery_is_over(book: &Book, percent: u32, now: Instant) -> bool {
    let filter = Filter::compile(&format!("battery > {percent}")).unwrap();
    let robot = book.robot(AccountId(1)).unwrap();
    filter.is_met(&robot.at(now))
}

#[test]
fn what_is_live_is_believed_for_a_time() {
    let now = Instant::now();
    let mut book = Book::default();
    book.cards(card_row(1, "lift-1", 4));
    assert!(!battery_is_over(&book, 0, now), "nothing is known of it");
    book.live(R, heard_live(1, "battery", 80.0, 1_000), now);
    assert!(battery_is_over(&book, 50, now));
    let found = book.robot(AccountId(1)).unwrap().to_wire(now);
    assert_eq!(found.live[0].age_ms, 1_000);
    let later = now + Duration::from_millis(LIVE_AGE_MS_MAX);
    assert!(!battery_is_over(&book, 50, later));
    book.take_changed(usize::MAX);
    book.expire(later);
    assert_eq!(book.take_changed(usize::MAX), [AccountId(1)]);
    book.expire(later);
    assert!(book.take_changed(usize::MAX).is_empty());
}

#[test]
fn pages_are_asked_for_from_where_the_last_one_ended() {
    let now = Instant::now();
    let mut book = Book::default();
    book.cards(card_row(7, "lift-7", 4));
    let wanted = book.cards_wanted("test");
    assert_eq!((wanted.revision, wanted.account_id), (4, 7));
    let page = heard_live(7, "battery", 80.0, 0);
    let at = (page.instance, page.revision);
    book.live(R, page, now);
    let wanted = book.live_wanted(R);
    assert_eq!((wanted.instance, wanted.revision), at);
    assert_eq!(book.live_wanted(InstanceId(2)).revision, 0);
    book.routers(&[]);
    assert_eq!(book.live_wanted(R).revision, 0);
    book.forget_cards();
    assert_eq!(book.cards_wanted("test").revision, 0);
    assert!(book.ids().is_empty());
}

#[test]
fn a_live_value_takes_the_place_of_the_cards_own() {
    let now = Instant::now();
    let mut book = Book::default();
    let mut page = card_row(1, "lift-1", 4);
    let account = page.cards[0].account.as_mut().unwrap();
    let card = account.capabilities.as_mut().unwrap();
    card.attributes = vec![number("battery", "%", 100.0)];
    book.cards(page);
    assert!(battery_is_over(&book, 50, now));
    book.live(R, heard_live(1, "battery", 10.0, 0), now);
    assert!(!battery_is_over(&book, 50, now));
}

/// Not a gate: machines differ. It prints what it takes.
#[test]
#[allow(clippy::print_stdout, reason = "it is what the test is for")]
fn ten_thousand_cards_are_asked() {
    let mut book = Book::default();
    for account in 1..=10_000 {
        book.cards(card_row(account, &format!("lift-{account}"), account));
        book.live(R, heard_live(account, "battery", 80.0, 0), Instant::now());
    }
    let query = "\"lift\" in capabilities && lift.payload_kg >= 5 && zone == \"B\" && battery > 20";
    let filter = Filter::compile(query).unwrap();
    let begun = Instant::now();
    let now = Instant::now();
    let is_met = |id: &AccountId| {
        let robot = book.robot(*id);
        robot.is_some_and(|robot| filter.is_met(&robot.at(now)))
    };
    let met = book.ids().iter().filter(|id| is_met(id)).count();
    let took = begun.elapsed();
    println!("10,000 cards asked in {took:?}");
    assert_eq!(met, 10_000);
}
