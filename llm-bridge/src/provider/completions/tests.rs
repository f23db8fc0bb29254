//! Reading chunks and whole completions.

use super::super::calls::TOOL_CALLS_MAX;
use super::*;

fn collect(events: &[&str]) -> Result<Reply, ModelError> {
    let mut reader = Box::new(Reader::new(Told::by_status));
    for data in events {
        reader.event(&Event {
            data: (*data).into(),
            ..Event::default()
        })?;
    }
    reader.finish()
}

#[test]
fn a_stream_is_collected_with_its_model_and_usage() {
    let reply = collect(&[
        r#"{"model":"m-1","choices":[{"delta":{"role":"assistant","content":""}}]}"#,
        r#"{"model":"m-1","choices":[{"delta":{"content":"搬"}}],"usage":null}"#,
        r#"{"model":"m-1","choices":[{"delta":{"content":"箱子"}}]}"#,
        r#"{"model":"m-1","choices":[{"delta":{},"finish_reason":"stop"}]}"#,
        r#"{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3,
            "prompt_tokens_details":{"cached_tokens":2}}}"#,
        "[DONE]",
    ]);
    let expected = Reply {
        text: "搬箱子".into(),
        model: "m-1".into(),
        usage: Some(Usage {
            prompt_tokens: 7,
            completion_tokens: 3,
            cached_tokens: 2,
            reasoning_tokens: 0,
        }),
        ..Reply::default()
    };
    assert_eq!(reply, Ok(expected));
}

#[test]
fn a_stream_that_just_ends_is_cut() {
    let begun = r#"{"choices":[{"delta":{"content":"a"}}]}"#;
    assert_eq!(collect(&[begun]), Err(ModelError::Cut));
    assert_eq!(collect(&[]), Err(ModelError::Cut));
    assert_eq!(collect(&[begun, "[DONE]"]).unwrap().text, "a");
}

#[test]
fn calls_come_in_fragments_whole_and_as_objects() {
    let reply = collect(&[
        r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"c1","type":"function",
            "function":{"name":"move","arguments":""}}]}}]}"#,
        r#"{"choices":[{"delta":{"tool_calls":[{"index":1,"id":"c2",
            "function":{"name":"lift","arguments":{"a":1}}}]}}]}"#,
        r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"",
            "function":{"arguments":"{\"to\":"}}]}}]}"#,
        r#"{"choices":[{"delta":{"tool_calls":[{"index":0,
            "function":{"arguments":"\"箱\"}"}}]}}]}"#,
        r#"{"choices":[{"delta":{},"finish_reason":"tool_calls"}]}"#,
    ])
    .unwrap();
    assert_eq!(reply.finish, Finish::ToolCalls);
    let calls: Vec<_> = reply
        .tool_calls
        .iter()
        .map(|c| (&*c.id, &*c.name, &*c.arguments))
        .collect();
    assert_eq!(
        calls,
        [
            ("c1", "move", "{\"to\":\"箱\"}"),
            ("c2", "lift", "{\"a\":1}")
        ]
    );
    let many: Vec<String> = (0..=TOOL_CALLS_MAX)
        .map(|index| {
            format!(r#"{{"choices":[{{"delta":{{"tool_calls":[{{"index":{index}}}]}}}}]}}"#)
        })
        .collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(collect(&many), Err(ModelError::TooLong));
}

#[test]
fn refusals_errors_and_nonsense_have_their_class() {
    let refused = r#"{"choices":[{"delta":{"refusal":"No."},"finish_reason":"stop"}]}"#;
    let filtered = r#"{"choices":[{"delta":{},"finish_reason":"content_filter"}]}"#;
    let flagged = r#"{"choices":[{"delta":{},"flag":1,"finish_reason":"stop"}]}"#;
    let broken = r#"{"error":{"message":"overloaded"}}"#;
    let limited = r#"{"error":{"message":"slow","code":"rate_limit_exceeded"}}"#;
    let old = r#"{"object":"error","message":"no such model","code":404}"#;
    let long = format!(
        r#"{{"choices":[{{"delta":{{"content":"{}"}}}}]}}"#,
        "x".repeat(ANSWER_BYTES_MAX + 1)
    );
    for (event, class) in [
        (refused, "refused"),
        (filtered, "refused"),
        (flagged, "refused"),
        (broken, "unavailable"),
        (limited, "rate_limited"),
        (old, "bad_request"),
        ("{", "malformed"),
        ("7", "malformed"),
        (&long, "too_long"),
    ] {
        assert_eq!(collect(&[event]).unwrap_err().class(), class, "{event:.60}");
    }
}

fn whole(body: &[u8]) -> Result<Reply, ModelError> {
    let mut reader = Box::new(Reader::new(Told::by_status));
    reader.whole(body)?;
    reader.finish()
}

#[test]
fn a_whole_completion_is_read_too() {
    let body = r#"{"model":"m","choices":[{"message":{"content":"ok"},"finish_reason":"length"}]}"#;
    let reply = whole(body.as_bytes()).unwrap();
    assert_eq!((reply.text.as_str(), reply.finish), ("ok", Finish::Length));
    assert_eq!(whole(b"{\"choices\":[]}"), Err(ModelError::Cut));
    assert_eq!(whole(b"<html>").unwrap_err().class(), "malformed");
}
