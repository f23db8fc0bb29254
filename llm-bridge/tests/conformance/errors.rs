//! Which class each documented error has. The mocks know the errors, this table what they mean; an
//! error without a line here fails the test.

use std::time::Duration;

use llm_bridge::mocks::brand::Brand;
use llm_bridge::mocks::scenario::Scenario;
use llm_bridge::provider::{ErrorKind, ModelError, ProviderKind};

use crate::subject::{Subject, question};

type Classes = &'static [(&'static str, &'static str)];

const OPENAI: Classes = &[
    ("context_length_exceeded", "prompt_too_long"),
    ("invalid_value", "bad_request"),
    ("content_policy_violation", "refused"),
    ("invalid_api_key", "auth"),
    ("unsupported_country_region_territory", "auth"),
    ("model_not_found", "bad_request"),
    ("rate_limit_exceeded", "rate_limited"),
    ("insufficient_quota", "quota"),
    ("server_error", "unavailable"),
    ("overloaded", "unavailable"),
    ("slow_down", "unavailable"),
];

const DASHSCOPE: Classes = &[
    ("invalid_parameter_error", "bad_request"),
    ("invalid_parameter_error.length", "prompt_too_long"),
    ("data_inspection_failed", "refused"),
    ("Arrearage", "quota"),
    ("invalid_api_key", "auth"),
    ("access_denied", "auth"),
    ("AllocationQuota.FreeTierOnly", "quota"),
    ("model_not_found", "bad_request"),
    ("limit_requests", "rate_limited"),
    // Unlike OpenAI's: tokens a minute.
    ("insufficient_quota", "rate_limited"),
    ("internal_server_error", "unavailable"),
];

const DASHSCOPE_NATIVE: Classes = &[
    ("InvalidParameter", "bad_request"),
    ("InvalidParameter.length", "prompt_too_long"),
    ("DataInspectionFailed", "refused"),
    ("BadRequest.EmptyInput", "bad_request"),
    ("BadRequest.EmptyModel", "bad_request"),
    ("Arrearage", "quota"),
    ("InvalidApiKey", "auth"),
    ("AccessDenied", "auth"),
    ("AccessDenied.Unpurchased", "quota"),
    ("ModelNotFound", "bad_request"),
    ("RequestTimeOut", "unavailable"),
    ("Throttling", "rate_limited"),
    ("Throttling.RateQuota", "rate_limited"),
    ("Throttling.AllocationQuota", "rate_limited"),
    ("PostpaidBillOverdue", "quota"),
    ("InternalError", "unavailable"),
    ("SystemError", "unavailable"),
];

const QIANFAN: Classes = &[
    ("malformed_json", "bad_request"),
    ("invalid_model", "bad_request"),
    ("invalid_messages", "bad_request"),
    ("characters_too_long", "prompt_too_long"),
    ("tokens_too_long", "prompt_too_long"),
    ("invalid_argument", "bad_request"),
    ("invalid_iam_token", "auth"),
    ("access_denied", "auth"),
    ("rpm_rate_limit_exceeded", "rate_limited"),
    ("tpm_rate_limit_exceeded", "rate_limited"),
    ("internal_error", "unavailable"),
    ("336100", "unavailable"),
    ("17", "quota"),
];

const ARK: Classes = &[
    ("MissingParameter", "bad_request"),
    ("InvalidParameter", "bad_request"),
    ("InvalidParameter.length", "prompt_too_long"),
    ("InvalidEndpoint.ClosedEndpoint", "bad_request"),
    ("SensitiveContentDetected", "refused"),
    ("InputTextSensitiveContentDetected", "refused"),
    ("AuthenticationError", "auth"),
    ("AccountOverdueError", "quota"),
    ("AccessDenied", "auth"),
    ("InvalidEndpointOrModel.NotFound", "bad_request"),
    ("ModelNotOpen", "bad_request"),
    ("RateLimitExceeded.EndpointRPMExceeded", "rate_limited"),
    ("RateLimitExceeded.EndpointTPMExceeded", "rate_limited"),
    ("ServerOverloaded", "unavailable"),
    ("QuotaExceeded", "quota"),
    ("SetLimitExceeded", "quota"),
    ("RequestBurstTooFast", "rate_limited"),
    ("InternalServiceError", "unavailable"),
];

const COZE: Classes = &[
    ("4000", "bad_request"),
    ("4013", "rate_limited"),
    ("4016", "rate_limited"),
    ("4028", "quota"),
    ("4100", "auth"),
    ("4101", "auth"),
    ("700012006", "auth"),
    ("4200", "bad_request"),
    ("5000", "unavailable"),
    ("content", "refused"),
];

const COMPATIBLE: Classes = &[
    ("too long", "prompt_too_long"),
    ("bad request", "bad_request"),
    ("no key", "auth"),
    ("no model", "bad_request"),
    ("internal", "unavailable"),
    ("loading", "unavailable"),
];

const fn classes(brand: Brand) -> Classes {
    match brand {
        Brand::Openai => OPENAI,
        Brand::Dashscope => DASHSCOPE,
        Brand::DashscopeNative => DASHSCOPE_NATIVE,
        Brand::Qianfan => QIANFAN,
        Brand::Ark => ARK,
        Brand::Coze => COZE,
        Brand::Compatible => COMPATIBLE,
    }
}

/// What is to be done about a class.
fn kind_of(class: &str) -> ErrorKind {
    match class {
        "auth" => ErrorKind::Auth,
        "quota" => ErrorKind::Quota,
        "refused" => ErrorKind::ContentRefused,
        "rate_limited" | "unavailable" => ErrorKind::Retryable,
        _ => ErrorKind::BadRequest,
    }
}

pub(crate) async fn every_documented_error_has_its_class(kind: ProviderKind, brand: Brand) {
    let subject = Subject::new(kind, brand).await;
    let listed: Vec<&str> = classes(brand).iter().map(|(name, _)| *name).collect();
    let documented: Vec<&str> = brand.errors().iter().map(|error| error.name).collect();
    assert_eq!(listed, documented);
    for (name, class) in classes(brand) {
        for is_streamed in [false, true] {
            let scenario = Scenario::error(name);
            let error = subject
                .ask(scenario, &question(is_streamed))
                .await
                .unwrap_err();
            assert_eq!(
                error.class(),
                *class,
                "{name}, streamed {is_streamed}: {error:?}"
            );
            assert_eq!(error.kind(), kind_of(class), "{name}");
        }
    }
}

pub(crate) async fn an_error_in_the_middle_of_a_stream_has_the_same_class(
    kind: ProviderKind,
    brand: Brand,
) {
    let subject = Subject::new(kind, brand).await;
    for (name, class) in classes(brand) {
        let scenario = Scenario {
            error_in_stream: Some((*name).into()),
            ..Scenario::say("一二三四五六七八九十一二三四五六七八九十")
        };
        let error = subject.ask(scenario, &question(true)).await.unwrap_err();
        if brand == Brand::Openai
            && [
                "unsupported_country_region_territory",
                "model_not_found",
                "invalid_value",
            ]
            .contains(name)
        {
            // A stream has no status, and these codes are not told by themselves; they do not come
            // in the middle of an answer either.
            assert_eq!(error.class(), "unavailable");
            continue;
        }
        if [
            "slow_down",
            "access_denied",
            "AccessDenied",
            "internal_error",
        ]
        .contains(name)
        {
            // Of the class of their status, which a stream does not always have.
            assert!(
                [*class, "unavailable"].contains(&error.class()),
                "{name}: {error:?}"
            );
            continue;
        }
        assert_eq!(error.class(), *class, "{name}: {error:?}");
    }
}

/// The name of an error that limits the rate.
fn limit(brand: Brand) -> Option<&'static str> {
    let limited = classes(brand)
        .iter()
        .find(|(_, class)| *class == "rate_limited");
    limited.map(|(name, _)| *name)
}

pub(crate) async fn a_wait_is_heard_before_and_in_the_middle_of_a_stream(
    kind: ProviderKind,
    brand: Brand,
) {
    let Some(name) = limit(brand) else {
        // A server of one's own has no limits.
        return;
    };
    let subject = Subject::new(kind, brand).await;
    let asked = Duration::from_secs(7);
    for in_stream in [false, true] {
        let name = Some(name.to_owned());
        let scenario = Scenario {
            retry_after_s: Some(asked.as_secs()),
            error: name.clone().filter(|_| !in_stream),
            error_in_stream: name.filter(|_| in_stream),
            ..Scenario::say("一二三四五六七八九十")
        };
        let error = subject.ask(scenario, &question(true)).await.unwrap_err();
        let ModelError::RateLimited { retry_after } = error else {
            panic!("{error}");
        };
        let is_in_words = kind == ProviderKind::Openai && in_stream;
        let expected = if is_in_words {
            Duration::from_millis(20)
        } else {
            asked
        };
        assert_eq!(retry_after, Some(expected), "in stream: {in_stream}");
    }
}
