//! What travels as JSON is what travels on the wire.

use protocol::content::{self, Content as Said};
use protocol::wire::EntryKind;

use super::*;

fn body(content: &str) -> String {
    let id = ClientMessageId::new(1_700_000_000_000, [3; 10]);
    format!(r#"{{"conversation_id":"g17","client_message_id":"{id}","content":{content}}}"#)
}

#[test]
fn what_is_sent_comes_back_the_same() {
    let contents = [
        r#"{"kind":"text","text":"你好"}"#,
        r#"{"kind":"data","schema":"im.world.v1","payload":"AQID"}"#,
        r#"{"kind":"instruction","text":"把三号托盘搬到 B 区"}"#,
        r#"{"kind":"recall","target_sequence":4}"#,
    ];
    for content in contents {
        let parsed = SendBody::parse(body(content).as_bytes()).unwrap();
        let wire = parsed.to_wire().unwrap();
        assert_eq!(wire.priority(), WirePriority::Chat);
        let back = Content::from_wire(wire.kind, &wire.content);
        assert_eq!(serde_json::to_string(&back).unwrap(), content);
    }
}

#[test]
fn a_kind_without_a_form_of_its_own_travels_encoded() {
    let summary = content::encode(Said::Summary(wire::Summary {
        text: "完成".into(),
        ..wire::Summary::default()
    }));
    let kind = EntryKind::Summary.into();
    let shown = Content::from_wire(kind, &summary);
    let sent = serde_json::to_string(&shown).unwrap();
    let wire = SendBody::parse(body(&sent).as_bytes()).unwrap().to_wire();
    let wire = wire.unwrap();
    assert_eq!((wire.kind, wire.content), (kind, summary));
}

#[test]
fn what_makes_no_sense_is_named() {
    let cases = [
        ("{", "EOF"),
        (
            r#"{"content":{"kind":"text","text":""}}"#,
            "conversation_id",
        ),
        (&body(r#"{"kind":"shout","text":""}"#), "shout"),
        (&body(r#"{"kind":"text","txt":""}"#), "txt"),
    ];
    for (text, named) in cases {
        let refusal = SendBody::parse(text.as_bytes()).unwrap_err();
        assert!(refusal.message.contains(named), "{refusal}");
    }
    let cases = [
        r#"{"kind":"data","schema":"","payload":"?"}"#,
        r#"{"kind":"placeholder"}"#,
        r#"{"kind":"encoded","entry_kind":"PLAN","content":""}"#,
    ];
    for content in cases {
        let parsed = SendBody::parse(body(content).as_bytes()).unwrap();
        assert!(parsed.to_wire().is_err(), "{content}");
    }
}

#[test]
fn a_page_names_what_is_trimmed_and_where_the_next_begins() {
    let entry = |sequence| wire::Entry {
        sequence,
        kind: EntryKind::Placeholder.into(),
        ..wire::Entry::default()
    };
    let page = |entries, trimmed_up_to| wire::PullPage {
        entries,
        head: 12,
        trimmed_up_to,
        ..wire::PullPage::default()
    };
    let shown = Page::of(page(vec![entry(8), entry(9)], 7), 3);
    assert_eq!(shown.trimmed, Some(Trimmed { from: 4, to: 7 }));
    assert_eq!(shown.next_after, 9);
    let shown = Page::of(page(Vec::new(), 0), 12);
    assert_eq!((shown.trimmed, shown.next_after), (None, 12));
    let shown = Page::of(page(Vec::new(), 12), 3);
    assert_eq!(shown.next_after, 12);
}
