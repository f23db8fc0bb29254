//! What every provider's client does.

use llm_bridge::mocks::brand::Brand;
use llm_bridge::mocks::scenario::{Cut, End, Scenario};
use llm_bridge::provider::chat::{Finish, Message, Role, Sampling, Tool};
use llm_bridge::provider::{
    ChatRequest, FormAbility, ModelError, ProviderKind, ToolAbility, structured,
};
use serde_json::{Value, json};

use crate::subject::{Ear, KEY, Subject, WORDS, question};

pub(crate) async fn a_whole_answer_is_read(kind: ProviderKind, brand: Brand) {
    let subject = Subject::new(kind, brand).await;
    let reply = subject
        .ask(Scenario::say(WORDS), &question(false))
        .await
        .unwrap();
    assert_eq!(reply.text, WORDS);
    assert_eq!(reply.finish, Finish::Stop);
    let usage = reply.usage.unwrap();
    assert!(
        usage.prompt_tokens > 0 && usage.completion_tokens > 0,
        "{usage:?}"
    );
    let seen = subject.mock.take_seen();
    assert!(
        seen.iter()
            .all(|seen| seen.authorization == format!("Bearer {KEY}"))
    );
    let first = seen[0].body.to_string();
    assert!(
        first.contains("You are a planner.") && first.contains("去哪里？"),
        "{first}"
    );
    assert!(first.contains(brand.model()), "{first}");
}

pub(crate) async fn a_streamed_answer_is_heard_as_it_comes(kind: ProviderKind, brand: Brand) {
    let subject = Subject::new(kind, brand).await;
    let scenario = Scenario {
        piece_delay_ms: 2,
        ..Scenario::say(WORDS)
    };
    assert!(subject.mock.push(scenario));
    let mut ear = Ear::default();
    let reply = subject
        .service
        .attempt(&question(true), &mut ear)
        .await
        .unwrap();
    assert_eq!(reply.text, WORDS);
    assert_eq!(ear.words, WORDS);
    assert!(ear.pieces > 1, "heard at once");
    let usage = reply.usage.unwrap();
    assert!(
        usage.prompt_tokens > 0 && usage.completion_tokens > 0,
        "{usage:?}"
    );
}

pub(crate) async fn an_answer_is_the_same_wherever_the_stream_is_cut(
    kind: ProviderKind,
    brand: Brand,
) {
    let subject = Subject::new(kind, brand).await;
    for cut in Cut::ALL {
        for (ascii, crlf) in [(false, false), (true, false), (false, true), (true, true)] {
            let scenario = Scenario {
                cut,
                ascii,
                crlf,
                ..Scenario::say(WORDS)
            };
            let reply = subject.ask(scenario, &question(true)).await;
            assert_eq!(
                reply.unwrap().text,
                WORDS,
                "{cut:?}, ascii {ascii}, crlf {crlf}"
            );
        }
    }
}

pub(crate) async fn a_stream_that_breaks_anywhere_is_cut(kind: ProviderKind, brand: Brand) {
    let subject = Subject::new(kind, brand).await;
    for cut in Cut::ALL {
        let scenario = Scenario {
            cut,
            breaks: true,
            // So that every class of cuts has a place before the middle.
            ascii: cut == Cut::InString,
            ..Scenario::say(WORDS)
        };
        let reply = subject.ask(scenario, &question(true)).await;
        assert_eq!(reply, Err(ModelError::Cut), "{cut:?}");
    }
}

pub(crate) async fn an_answer_that_stops_for_length_says_so(kind: ProviderKind, brand: Brand) {
    if kind == ProviderKind::Coze {
        // A bot's bound is the bot's, and no event tells of it.
        return;
    }
    let subject = Subject::new(kind, brand).await;
    for is_streamed in [false, true] {
        let scenario = Scenario {
            end: End::Length,
            ..Scenario::say(WORDS)
        };
        let reply = subject.ask(scenario, &question(is_streamed)).await.unwrap();
        assert_eq!(reply.finish, Finish::Length);
        assert!(
            !reply.text.is_empty() && WORDS.starts_with(&reply.text),
            "{}",
            reply.text
        );
    }
}

pub(crate) async fn refusals_and_filters_are_told_from_answers(kind: ProviderKind, brand: Brand) {
    let subject = Subject::new(kind, brand).await;
    let says_refusal = [ProviderKind::Openai, ProviderKind::Compatible].contains(&kind);
    for is_streamed in [false, true] {
        let end = |end| Scenario {
            end,
            ..Scenario::default()
        };
        let refused = subject.ask(end(End::Refusal), &question(is_streamed)).await;
        if says_refusal {
            assert_eq!(
                refused,
                Err(ModelError::Refused("I can't help with that.".into()))
            );
        } else {
            // Others have no field for it: what the model says are its words.
            assert_eq!(refused.unwrap().text, "I can't help with that.");
        }
        let filtered = subject
            .ask(end(End::Filtered), &question(is_streamed))
            .await;
        assert_eq!(
            filtered.unwrap_err().class(),
            "refused",
            "streamed: {is_streamed}"
        );
    }
}

pub(crate) async fn a_slow_first_token_is_waited_for_and_not_for_ever(
    kind: ProviderKind,
    brand: Brand,
) {
    let slow = Scenario {
        first_delay_ms: 400,
        ..Scenario::default()
    };
    let patient = Subject::new(kind, brand).await;
    assert!(patient.ask(slow.clone(), &question(true)).await.is_ok());
    let hasty = |config: &mut llm_bridge::config::ModelConfig| config.first_token_timeout_ms = 50;
    let hasty = Subject::with(kind, brand, KEY, hasty).await;
    let late = Err(ModelError::Timeout("the answer did not begin"));
    assert_eq!(hasty.ask(slow, &question(true)).await, late);
    let short = |config: &mut llm_bridge::config::ModelConfig| config.total_timeout_ms = 60;
    let short = Subject::with(kind, brand, KEY, short).await;
    let dripping = Scenario {
        piece_delay_ms: 30,
        cut: Cut::EveryByte,
        ..Scenario::say(WORDS)
    };
    let late = Err(ModelError::Timeout("the answer did not end"));
    assert_eq!(short.ask(dripping, &question(true)).await, late);
}

pub(crate) async fn a_stream_without_usage_is_an_answer(kind: ProviderKind, brand: Brand) {
    let subject = Subject::new(kind, brand).await;
    let scenario = Scenario {
        without_usage: true,
        ..Scenario::say(WORDS)
    };
    let reply = subject.ask(scenario, &question(true)).await.unwrap();
    assert_eq!(reply.text, WORDS);
    assert_eq!(reply.cost().completion_tokens, 0);
}

pub(crate) async fn tools_are_called_and_their_results_go_back(kind: ProviderKind, brand: Brand) {
    let subject = Subject::new(kind, brand).await;
    let tool = Tool {
        name: "get_zone".into(),
        description: "Says what is in a zone.".into(),
        parameters: json!({ "type": "object", "properties": { "where": { "type": "string" } } }),
    };
    for is_streamed in [false, true] {
        let mut request = ChatRequest {
            tools: vec![tool.clone()],
            ..question(is_streamed)
        };
        let calls = Scenario {
            end: End::ToolCalls,
            cut: Cut::EveryByte,
            ..Scenario::default()
        };
        let reply = subject.ask(calls, &request).await.unwrap();
        assert_eq!(reply.finish, Finish::ToolCalls);
        let call = &reply.tool_calls[0];
        assert_eq!(call.name, "get_zone");
        assert!(!call.id.is_empty());
        let arguments: Value = serde_json::from_str(&call.arguments).unwrap();
        assert_eq!(arguments, json!({ "where": "A区 \"1\"", "count": 2 }));
        let said = Message {
            tool_calls: reply.tool_calls.clone(),
            ..Message::new(Role::Assistant, "")
        };
        request.messages.push(said);
        request.messages.push(Message::result(call, "两个箱子"));
        request.continues = reply.continues.clone();
        let by_bot = subject.service.abilities().tools == ToolAbility::Bot;
        assert_eq!(request.continues.is_some(), by_bot);
        drop(subject.mock.take_seen());
        let reply = subject
            .ask(Scenario::say("去 B区"), &request)
            .await
            .unwrap();
        assert_eq!(
            (reply.text.as_str(), reply.finish),
            ("去 B区", Finish::Stop)
        );
        let seen = subject.mock.take_seen()[0].body.to_string();
        assert!(
            seen.contains(&call.id) && seen.contains("两个箱子"),
            "{seen}"
        );
    }
}

pub(crate) async fn thoughts_are_no_words(kind: ProviderKind, brand: Brand) {
    let subject = Subject::new(kind, brand).await;
    for is_streamed in [false, true] {
        let scenario = Scenario {
            thinks: true,
            ..Scenario::say(WORDS)
        };
        let reply = subject.ask(scenario, &question(is_streamed)).await.unwrap();
        assert_eq!(reply.text, WORDS);
    }
}

pub(crate) async fn embeddings_are_in_order_over_several_requests(
    kind: ProviderKind,
    brand: Brand,
) {
    let subject = Subject::new(kind, brand).await;
    let at_once = subject.service.abilities().embeddings_max;
    let texts: Vec<String> = (0..at_once.min(70) + 2)
        .map(|n| format!("箱子 {n}"))
        .collect();
    let embedded = subject.service.embed(&texts).await;
    if at_once == 0 {
        assert_eq!(embedded, Err(ModelError::Unsupported("embeddings")));
        return;
    }
    let embedded = embedded.unwrap();
    assert_eq!(embedded.vectors.len(), texts.len());
    assert!(embedded.tokens > 0);
    let requests = subject.mock.take_seen().len();
    assert_eq!(requests, texts.len().div_ceil(at_once));
    // Each is the point of its own text.
    let alone = subject
        .service
        .embed(&texts[texts.len() - 1..])
        .await
        .unwrap();
    assert_eq!(alone.vectors[0], embedded.vectors[texts.len() - 1]);
    assert_ne!(embedded.vectors[0], embedded.vectors[1]);
}

pub(crate) async fn json_is_got_by_schema_or_by_mending(kind: ProviderKind, brand: Brand) {
    let schema = json!({
        "type": "object",
        "properties": { "robots": { "type": "integer" } },
        "required": ["robots"],
    });
    let subject = Subject::new(kind, brand).await;
    for first in ["Sure! Here it is.", "{\"robots\": \"two\"}"] {
        let good = Scenario::say("```json\n{\"robots\": 2}\n```");
        assert!(subject.mock.push(Scenario::say(first)) && subject.mock.push(good));
        let asked = structured::ask(&subject.service, question(true), "count", &schema, 1).await;
        let asked = asked.unwrap();
        assert_eq!(asked.value, json!({ "robots": 2 }));
        assert_eq!(asked.replies.len(), 2);
        let seen = subject.mock.take_seen();
        let format = |body: &Value| {
            let native = &body["parameters"]["response_format"];
            let own = if native.is_null() {
                &body["response_format"]
            } else {
                native
            };
            own["type"].as_str().unwrap_or_default().to_owned()
        };
        let expected = match subject.service.form() {
            FormAbility::Schema => "json_schema",
            FormAbility::Json => "json_object",
            FormAbility::Prompt => "",
        };
        assert_eq!(format(&seen[0].body), expected);
        let says_schema = seen[0].body.to_string().matches("required").count();
        assert_eq!(
            says_schema, 1,
            "the schema is sent once, in one form or the other"
        );
        assert!(
            seen[1].body.to_string().contains("not as asked"),
            "{:?}",
            seen[1].body
        );
    }
    let bad = || Scenario::say("no");
    assert!(subject.mock.push(bad()) && subject.mock.push(bad()));
    let asked = structured::ask(&subject.service, question(true), "count", &schema, 1).await;
    assert_eq!(asked.unwrap_err().class(), "malformed");
    // JSON without a schema is not refused by anybody, whatever the words are.
    let request = ChatRequest {
        form: llm_bridge::provider::Form::Json,
        ..question(false)
    };
    assert!(subject.ask(Scenario::say("{}"), &request).await.is_ok());
}

pub(crate) async fn a_bound_of_tokens_is_sent_where_it_is_taken(kind: ProviderKind, brand: Brand) {
    let subject = Subject::new(kind, brand).await;
    let request = ChatRequest {
        sampling: Sampling {
            temperature: Some(0.2),
            top_p: Some(0.9),
            tokens_max: Some(3),
            seed: Some(7),
        },
        ..question(true)
    };
    let reply = subject.ask(Scenario::say(WORDS), &request).await.unwrap();
    let is_bounded = subject.service.abilities().sampling;
    let expected = if is_bounded {
        Finish::Length
    } else {
        Finish::Stop
    };
    assert_eq!(reply.finish, expected);
}

pub(crate) async fn a_wrong_key_is_told_and_never_shown(kind: ProviderKind, brand: Brand) {
    let wrong = "sk-wrong-987654321";
    let subject = Subject::with(kind, brand, wrong, |_| {}).await;
    for is_streamed in [false, true] {
        let error = subject
            .service
            .ask(&question(is_streamed))
            .await
            .unwrap_err();
        assert_eq!(error.class(), "auth", "{error}");
        assert!(!error.to_string().contains(wrong));
    }
    let shown = format!("{:?} {:?}", subject.service, question(false));
    assert!(!shown.contains(wrong), "{shown}");
}
