//! Alibaba's `DashScope`, its own mode (dashscope-sdk-python; the page of status codes): the stream
//! is asked for by a header, events carry a status, errors lie flat.

use serde_json::{Value, json};

use super::completions::first_tool;
use crate::mock::prompt::Message;
use crate::mocks::brand::{BrandForm, Documented, Incoming, Refusal, Wanted, documented};
use crate::mocks::scenario::End;
use crate::mocks::talk::{self, Asked, Said};

const CHAT: &str = "/services/aigc/text-generation/generation";
const EMBEDDINGS: &str = "/services/embeddings/text-embedding/text-embedding";

/// Texts of one request for embeddings.
const EMBEDDINGS_MAX: usize = 10;

const ERRORS: [Documented; 17] = [
    documented(
        "InvalidParameter",
        400,
        "",
        "Required parameter(s) missing or invalid, please check the request parameters.",
    ),
    documented(
        "InvalidParameter.length",
        400,
        "",
        "Range of input length should be [1, 129024]",
    ),
    documented(
        "DataInspectionFailed",
        400,
        "",
        "Input or output data may contain inappropriate content.",
    ),
    documented(
        "BadRequest.EmptyInput",
        400,
        "",
        "Required input parameter missing from request.",
    ),
    documented(
        "BadRequest.EmptyModel",
        400,
        "",
        "Required parameter \"model\" missing from request.",
    ),
    documented(
        "Arrearage",
        400,
        "",
        "Access denied, please make sure your account is in good standing.",
    ),
    documented("InvalidApiKey", 401, "", "Invalid API-key provided."),
    documented("AccessDenied", 403, "", "Access denied."),
    documented(
        "AccessDenied.Unpurchased",
        403,
        "",
        "Access to model denied. Please make sure you are eligible for using the model.",
    ),
    documented("ModelNotFound", 404, "", "Model can not be found."),
    documented(
        "RequestTimeOut",
        408,
        "",
        "Request timed out, please try again later.",
    ),
    documented("Throttling", 429, "", "Requests throttling triggered."),
    documented(
        "Throttling.RateQuota",
        429,
        "",
        "Requests rate limit exceeded, please try again later.",
    ),
    documented(
        "Throttling.AllocationQuota",
        429,
        "",
        "Allocated quota exceeded, please increase your quota limit.",
    ),
    documented("PostpaidBillOverdue", 429, "", "The bill is overdue."),
    documented(
        "InternalError",
        500,
        "",
        "An internal error has occured, please try again later or contact service support.",
    ),
    documented(
        "SystemError",
        503,
        "",
        "An system error has occured, please try again later.",
    ),
];

pub(in crate::mocks) struct DashScopeNative;

impl BrandForm for DashScopeNative {
    fn errors(&self) -> &'static [Documented] {
        &ERRORS
    }

    fn error(&self, its: &Documented) -> Refusal {
        let code = its.name.strip_suffix(".length").unwrap_or(its.name);
        (its.status, body(code, its.message))
    }

    fn stream_error(&self, its: &Documented) -> Vec<String> {
        let (status, body) = self.error(its);
        vec![format!(
            "id:9\nevent:error\n:HTTP_STATUS/{status}\ndata:{body}\n\n"
        )]
    }

    fn wrong_key(&self, _incoming: &Incoming) -> Refusal {
        self.error(&ERRORS[6])
    }

    fn read(&self, incoming: &Incoming) -> Result<Wanted, Refusal> {
        let request = &incoming.body;
        let model = request["model"].as_str().unwrap_or_default().to_owned();
        if model.is_empty() {
            return Err(self.error(&ERRORS[4]));
        }
        match incoming.path.as_str() {
            CHAT => chat(incoming, model).map(Wanted::Chat),
            EMBEDDINGS => {
                let list = request["input"]["texts"].as_array();
                let texts: Option<Vec<String>> = list.and_then(|texts| {
                    texts
                        .iter()
                        .map(|text| text.as_str().map(str::to_owned))
                        .collect()
                });
                match texts {
                    Some(texts) if (1..=EMBEDDINGS_MAX).contains(&texts.len()) => {
                        Ok(Wanted::Embeddings { model, texts })
                    }
                    Some(_) => Err((400, body("InvalidParameter", "batch size is invalid"))),
                    None => Err(self.error(&ERRORS[3])),
                }
            }
            _ => Err((
                400,
                body("InvalidURL", "Invalid URL provided in your request."),
            )),
        }
    }

    fn whole(&self, _asked: &Asked, said: &Said, id: u64) -> Value {
        let mut message = json!({ "role": "assistant", "content": said.words });
        if said.thinks {
            message["reasoning_content"] = "先想一想。".into();
        }
        if let Some((tool, arguments)) = &said.call {
            message["tool_calls"] = json!([call(id, tool, arguments)]);
        }
        answer(said, id, &message, reason(said.end))
    }

    fn events(&self, _asked: &Asked, said: &Said, id: u64, usage: bool) -> Vec<String> {
        let mut messages = Vec::new();
        if said.thinks {
            messages.push(
                json!({ "role": "assistant", "content": "", "reasoning_content": "先想一想。" }),
            );
        }
        let words = said.pieces().into_iter();
        messages.extend(words.map(|piece| json!({ "role": "assistant", "content": piece })));
        if let Some((tool, _)) = &said.call {
            for (place, piece) in said.argument_pieces().iter().enumerate() {
                // The id and the name stand in the first alone; later ones have empty texts.
                let name = if place == 0 { tool.as_str() } else { "" };
                let mut call = call(id, name, piece);
                if place > 0 {
                    call["id"] = "".into();
                }
                messages.push(json!({ "role": "assistant", "content": "", "tool_calls": [call] }));
            }
        }
        messages.push(json!({ "role": "assistant", "content": "" }));
        let last = messages.len();
        let answers = messages.iter().enumerate().map(|(place, message)| {
            let place = place + 1;
            let reason = if place == last {
                reason(said.end)
            } else {
                "null"
            };
            let mut answer = answer(said, id, message, reason);
            if !usage {
                answer["usage"] = Value::Null;
            }
            format!("id:{place}\nevent:result\n:HTTP_STATUS/200\ndata:{answer}\n\n")
        });
        let mut events: Vec<String> = answers.collect();
        if said.end == End::Filtered {
            events.pop();
            events.extend(self.stream_error(&ERRORS[2]));
        }
        events
    }

    fn embeddings(&self, _model: &str, texts: &[String], id: u64) -> Value {
        let points = texts.iter().enumerate().map(
            |(index, text)| json!({ "text_index": index, "embedding": talk::embedding(text) }),
        );
        json!({
            "output": { "embeddings": points.collect::<Vec<_>>() },
            "usage": { "total_tokens": talk::count(texts) },
            "request_id": request_id(id),
        })
    }
}

fn chat(incoming: &Incoming, model: String) -> Result<Asked, Refusal> {
    let bad = |message: &str| (400, body("InvalidParameter", message));
    let (input, parameters) = (&incoming.body["input"], &incoming.body["parameters"]);
    let Some(list) = input["messages"].as_array().filter(|list| !list.is_empty()) else {
        return Err((400, body("BadRequest.EmptyInput", ERRORS[3].message)));
    };
    let messages: Option<Vec<Message>> = list
        .iter()
        .map(|message| {
            let role = message["role"].as_str()?;
            let is_known = ["system", "user", "assistant", "tool"].contains(&role);
            let content = talk::content(&message["content"])?;
            is_known.then(|| Message {
                role: role.into(),
                content,
            })
        })
        .collect();
    let messages = messages.ok_or_else(|| bad("messages are not of the form role, content"))?;
    if parameters["incremental_output"] != true && incoming.wants_stream {
        // Cumulative texts: the documents have them as the default, and nobody here wants them.
        return Err(bad("this mock streams increments only"));
    }
    let is_json = parameters["response_format"]["type"] == "json_object";
    if is_json
        && !messages
            .iter()
            .any(|its| its.content.to_lowercase().contains("json"))
    {
        return Err(bad("'messages' must contain the word 'json' in some form"));
    }
    if parameters["result_format"] != "message" {
        return Err(bad("this mock answers in the format message only"));
    }
    Ok(Asked {
        model,
        messages,
        tool: first_tool(&parameters["tools"]).map_err(|(_, message)| bad(&message))?,
        is_streamed: incoming.wants_stream,
        include_usage: true,
        tokens_max: parameters["max_tokens"].as_u64(),
    })
}

const fn reason(end: End) -> &'static str {
    match end {
        End::Stop | End::Refusal | End::Filtered => "stop",
        End::Length => "length",
        End::ToolCalls => "tool_calls",
    }
}

fn call(id: u64, name: &str, arguments: &str) -> Value {
    json!({
        "index": 0,
        "id": format!("call_{id}"),
        "type": "function",
        "function": { "name": name, "arguments": arguments },
    })
}

fn answer(said: &Said, id: u64, message: &Value, reason: &str) -> Value {
    if said.end == End::Filtered && reason == "stop" {
        // A body that is an error although its status is 200.
        return body(
            "DataInspectionFailed",
            "Output data may contain inappropriate content.",
        );
    }
    json!({
        "output": { "choices": [{ "finish_reason": reason, "message": message }] },
        "usage": {
            "input_tokens": said.prompt_tokens,
            "output_tokens": said.completion_tokens,
            "total_tokens": said.prompt_tokens + said.completion_tokens,
        },
        "request_id": request_id(id),
    })
}

fn body(code: &str, message: &str) -> Value {
    json!({ "code": code, "message": message, "request_id": request_id(0) })
}

fn request_id(id: u64) -> String {
    format!("902fee3b-f7f0-9a8c-96a1-{id:012}")
}
