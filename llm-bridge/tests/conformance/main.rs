//! One suite that every provider's client passes against that provider's mock. The mocks are made
//! from the providers' documents; none of this has met a live service.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod errors;
mod plans;
mod subject;
mod suite;

use llm_bridge::mocks::brand::Brand;
use llm_bridge::provider::ProviderKind;

/// The tests of one provider.
macro_rules! conforms {
    ($name:ident, $kind:ident) => {
        mod $name {
            use super::{Brand, ProviderKind, errors, plans, suite};

            conforms! { @tests $kind,
                suite::a_whole_answer_is_read,
                suite::a_streamed_answer_is_heard_as_it_comes,
                suite::an_answer_is_the_same_wherever_the_stream_is_cut,
                suite::a_stream_that_breaks_anywhere_is_cut,
                suite::an_answer_that_stops_for_length_says_so,
                suite::refusals_and_filters_are_told_from_answers,
                suite::a_slow_first_token_is_waited_for_and_not_for_ever,
                suite::a_stream_without_usage_is_an_answer,
                suite::tools_are_called_and_their_results_go_back,
                suite::thoughts_are_no_words,
                suite::embeddings_are_in_order_over_several_requests,
                suite::json_is_got_by_schema_or_by_mending,
                suite::a_bound_of_tokens_is_sent_where_it_is_taken,
                suite::a_wrong_key_is_told_and_never_shown,
                plans::a_plan_is_got_and_one_that_is_cut_off_is_mended,
                errors::every_documented_error_has_its_class,
                errors::an_error_in_the_middle_of_a_stream_has_the_same_class,
                errors::a_wait_is_heard_before_and_in_the_middle_of_a_stream,
            }
        }
    };
    (@tests $kind:ident, $($module:ident :: $test:ident,)*) => {
        $(
            #[tokio::test]
            async fn $test() {
                $module::$test(ProviderKind::$kind, Brand::$kind).await;
            }
        )*
    };
}

conforms!(openai, Openai);
conforms!(dashscope, Dashscope);
conforms!(dashscope_native, DashscopeNative);
conforms!(qianfan, Qianfan);
conforms!(ark, Ark);
conforms!(coze, Coze);
conforms!(compatible, Compatible);
