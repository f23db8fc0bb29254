//! `ByteDance`'s Coze, chat version 3 (coze-py and its recorded answers): errors with status 200,
//! events in pairs of lines, answers that have to be asked for again, tools of the bot.

use serde_json::{Value, json};

use super::completions::CREATED;
use crate::mock::prompt::Message;
use crate::mocks::brand::{BrandForm, Documented, Incoming, Refusal, Wanted, documented};
use crate::mocks::scenario::End;
use crate::mocks::talk::{Asked, Said};

const CONVERSATION: &str = "7381473525342978089";

const ERRORS: [Documented; 10] = [
    documented("4000", 200, "", "Request parameter error"),
    documented(
        "4013",
        200,
        "",
        "The number of requests has exceeded the limit",
    ),
    documented(
        "4016",
        200,
        "",
        "There is a chat in progress in the conversation",
    ),
    documented(
        "4028",
        200,
        "",
        "Your free quota of the month has been used up",
    ),
    documented("4100", 200, "", "authentication is invalid"),
    documented(
        "4101",
        200,
        "",
        "The token you entered is incorrect. Please check and try again.",
    ),
    documented("700012006", 401, "", "access token invalid"),
    documented("4200", 200, "", "Requested resource bot_id does not exist"),
    documented("5000", 200, "", "Internal Server Error"),
    documented(
        "content",
        200,
        "",
        "The content is sensitive, please try another question",
    ),
];

pub(in crate::mocks) struct Coze;

impl BrandForm for Coze {
    fn errors(&self) -> &'static [Documented] {
        &ERRORS
    }

    fn error(&self, its: &Documented) -> Refusal {
        (its.status, body(code(its), its.message))
    }

    fn stream_error(&self, its: &Documented) -> Vec<String> {
        let mut chat = chat(0, "", "failed");
        chat["last_error"] = json!({ "code": code(its), "msg": its.message });
        vec![
            event("conversation.chat.failed", &chat),
            event("done", &"[DONE]".into()),
        ]
    }

    fn wrong_key(&self, incoming: &Incoming) -> Refusal {
        self.error(if incoming.path == "/v3/chat" {
            &ERRORS[5]
        } else {
            &ERRORS[6]
        })
    }

    fn read(&self, incoming: &Incoming) -> Result<Wanted, Refusal> {
        match (incoming.path.as_str(), incoming.is_post) {
            ("/v3/chat", true) => chat_request(&incoming.body).map(Wanted::Chat),
            ("/v3/chat/submit_tool_outputs", true) => {
                kept_id(incoming)?;
                outputs(&incoming.body).map(Wanted::Chat)
            }
            ("/v3/chat/retrieve", _) => Ok(Wanted::Kept {
                id: kept_id(incoming)?,
                messages: false,
            }),
            ("/v3/chat/message/list", false) => Ok(Wanted::Kept {
                id: kept_id(incoming)?,
                messages: true,
            }),
            _ => Err((404, body(4000, "The requested API endpoint does not exist"))),
        }
    }

    fn whole(&self, asked: &Asked, _said: &Said, id: u64) -> Value {
        json!({ "code": 0, "msg": "", "data": chat(id, &asked.model, "in_progress") })
    }

    fn kept(&self, asked: &Asked, said: &Said, id: u64, messages: bool) -> Value {
        let data = if messages {
            let verbose = json!({ "msg_type": "generate_answer_finish", "data": "" });
            json!([
                message(id, &asked.model, "verbose", &verbose.to_string()),
                message(id, &asked.model, "answer", &said.words),
                message(id, &asked.model, "follow_up", "还有别的吗？"),
            ])
        } else {
            ended(asked, said, id)
        };
        json!({ "code": 0, "msg": "", "data": data })
    }

    fn events(&self, asked: &Asked, said: &Said, id: u64, usage: bool) -> Vec<String> {
        let bot = asked.model.as_str();
        let mut events = vec![
            event("conversation.chat.created", &chat(id, bot, "created")),
            event(
                "conversation.chat.in_progress",
                &chat(id, bot, "in_progress"),
            ),
        ];
        if said.thinks {
            let mut thought = message(id, bot, "answer", "");
            thought["reasoning_content"] = "先想一想。".into();
            events.push(event("conversation.message.delta", &thought));
        }
        let words = said.pieces().into_iter();
        events.extend(words.map(|piece| {
            event(
                "conversation.message.delta",
                &message(id, bot, "answer", &piece),
            )
        }));
        let mut chat = ended(asked, said, id);
        if !usage {
            chat["usage"] = Value::Null;
        }
        let last = match said.end {
            End::ToolCalls => "conversation.chat.requires_action",
            End::Filtered => "conversation.chat.failed",
            End::Stop | End::Length | End::Refusal => {
                // The whole text again, and what the user might ask next.
                for (kind, content) in [
                    ("answer", said.words.as_str()),
                    ("follow_up", "还有别的吗？"),
                ] {
                    events.push(event(
                        "conversation.message.completed",
                        &message(id, bot, kind, content),
                    ));
                }
                "conversation.chat.completed"
            }
        };
        events.push(event(last, &chat));
        events.push(event("done", &"[DONE]".into()));
        events
    }

    fn embeddings(&self, _model: &str, _texts: &[String], _id: u64) -> Value {
        Value::Null
    }
}

fn code(its: &Documented) -> i64 {
    // A chat that failed over its content has no code of its own.
    its.name.parse().unwrap_or(0).max(if its.name == "content" {
        720_701_002
    } else {
        0
    })
}

fn body(code: i64, message: &str) -> Value {
    json!({ "code": code, "msg": message, "detail": { "logid": "20250106172024B5F607030EFFAD653960" } })
}

fn chat_request(request: &Value) -> Result<Asked, Refusal> {
    let bad = |what: &str| (200, body(4000, &format!("Request parameter error: {what}")));
    let bot = request["bot_id"]
        .as_str()
        .filter(|id| !id.is_empty())
        .ok_or_else(|| bad("bot_id"))?;
    request["user_id"]
        .as_str()
        .filter(|id| !id.is_empty())
        .ok_or_else(|| bad("user_id"))?;
    let list = request["additional_messages"]
        .as_array()
        .ok_or_else(|| bad("additional_messages"))?;
    let mut messages = Vec::new();
    for its in list {
        let role = its["role"]
            .as_str()
            .filter(|role| ["user", "assistant"].contains(role));
        let content = its["content"]
            .as_str()
            .filter(|_| its["content_type"] == "text");
        let (Some(role), Some(content)) = (role, content) else {
            return Err(bad("additional_messages"));
        };
        messages.push(Message {
            role: role.into(),
            content: content.into(),
        });
    }
    let is_streamed = request["stream"] == true;
    if !is_streamed && request["auto_save_history"] == false {
        return Err(bad("auto_save_history must be true when stream is false"));
    }
    Ok(Asked {
        model: bot.into(),
        messages,
        // What the bot has been given.
        tool: Some("get_zone".into()),
        is_streamed,
        include_usage: true,
        tokens_max: None,
    })
}

fn outputs(request: &Value) -> Result<Asked, Refusal> {
    let list = request["tool_outputs"]
        .as_array()
        .filter(|list| !list.is_empty());
    let outputs: Option<Vec<Message>> = list.and_then(|list| {
        let outputs = list.iter().map(|its| {
            its["tool_call_id"].as_str()?;
            let content = its["output"].as_str()?.into();
            Some(Message {
                role: "tool".into(),
                content,
            })
        });
        outputs.collect()
    });
    let Some(messages) = outputs else {
        return Err((200, body(4000, "Request parameter error: tool_outputs")));
    };
    Ok(Asked {
        model: "7379462189365198898".into(),
        messages,
        is_streamed: request["stream"] == true,
        include_usage: true,
        ..Asked::default()
    })
}

fn kept_id(incoming: &Incoming) -> Result<u64, Refusal> {
    let value = |name: &str| {
        let pairs = incoming
            .query
            .split('&')
            .filter_map(|pair| pair.split_once('='));
        pairs
            .into_iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    };
    value("conversation_id")
        .filter(|id| *id == CONVERSATION)
        .and_then(|_| value("chat_id")?.parse().ok())
        .ok_or_else(|| {
            let message = "Request parameter error: conversation_id, chat_id";
            (200, body(4000, message))
        })
}

fn chat(id: u64, bot: &str, status: &str) -> Value {
    json!({
        "id": id.to_string(),
        "conversation_id": CONVERSATION,
        "bot_id": bot,
        "created_at": CREATED,
        "last_error": { "code": 0, "msg": "" },
        "status": status,
        "usage": { "token_count": 0, "output_count": 0, "input_count": 0 },
        "section_id": CONVERSATION,
    })
}

/// The chat at its end.
fn ended(asked: &Asked, said: &Said, id: u64) -> Value {
    let status = match said.end {
        End::ToolCalls => "requires_action",
        End::Filtered => "failed",
        End::Stop | End::Length | End::Refusal => "completed",
    };
    let mut chat = chat(id, &asked.model, status);
    chat["usage"] = json!({
        "token_count": said.prompt_tokens + said.completion_tokens,
        "output_count": said.completion_tokens,
        "input_count": said.prompt_tokens,
    });
    if said.end == End::Filtered {
        let error = &ERRORS[9];
        chat["last_error"] = json!({ "code": code(error), "msg": error.message });
    }
    if let Some((tool, arguments)) = &said.call {
        chat["required_action"] = json!({
            "type": "submit_tool_outputs",
            "submit_tool_outputs": { "tool_calls": [{
                "id": format!("call_{id}"),
                "type": "function",
                "function": { "name": tool, "arguments": arguments },
            }] },
        });
    }
    chat
}

fn message(id: u64, bot: &str, kind: &str, content: &str) -> Value {
    json!({
        "id": format!("73{id}"),
        "conversation_id": CONVERSATION,
        "bot_id": bot,
        "role": "assistant",
        "type": kind,
        "content": content,
        "content_type": "text",
        "chat_id": id.to_string(),
    })
}

fn event(name: &str, data: &Value) -> String {
    format!("event:{name}\ndata:{data}\n\n")
}
