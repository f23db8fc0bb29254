//! Which words are found where.

use super::*;

fn words(instruction: &str) -> Vec<Word> {
    read(
        instruction,
        &World::new(0, &[("carrier-1".into(), crate::world::Model::Carrier)]),
    )
}

#[test]
fn the_longest_name_wins_in_both_languages() {
    assert_eq!(
        words("把A区的三个箱子搬到充电站旁边"),
        [
            Word::Place("area-a"),
            Word::Number(3),
            Word::Kind("box"),
            Word::Deed(Deed::Move),
            Word::To,
            Word::Place("beside-charging-station"),
        ]
    );
    assert_eq!(
        words("Bring 2 pallets from dock 2 to Storage."),
        [
            Word::Deed(Deed::Move),
            Word::Number(2),
            Word::Kind("pallet"),
            Word::From,
            Word::Place("dock-2"),
            Word::To,
            Word::Place("storage"),
            Word::Pause,
        ]
    );
    assert_eq!(words("2号码头"), [Word::Place("dock-2")]);
    assert_eq!(words("box-1"), [Word::Thing("box-1".into())]);
    assert_eq!(words("carrier-1"), [Word::Robot("carrier-1".into())]);
}

#[test]
fn english_words_are_not_found_inside_others() {
    assert_eq!(words("tomorrow notebook boxing"), []);
}

#[test]
fn beside_a_place_is_a_place_where_there_is_one() {
    assert_eq!(
        words("beside charging station"),
        [Word::Place("beside-charging-station")]
    );
    assert_eq!(
        words("near storage"),
        [Word::Beside, Word::Place("storage")]
    );
}
