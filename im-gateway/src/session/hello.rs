//! The first frame: a hello, or a request for a credential in its place.

use std::time::Duration;

use protocol::error::decode_body;
use protocol::kind::client;
use protocol::limits::PROTOCOL_VERSION;
use protocol::wire::{Feature, Hello};
use protocol::{ErrorCode, Frame, Refusal, estop};

use super::words::wrong_state;
use super::{Introduction, Next, Passed, Session, State};

impl Session {
    pub(super) fn hello(&mut self, frame: Frame) -> Next {
        let correlation = frame.correlation;
        let applies = matches!(frame.kind, client::ENROL | client::LOGIN);
        if frame.kind != client::HELLO && !applies {
            let refusal = wrong_state(format!("kind {} before Hello", frame.kind));
            return self.close(correlation, &refusal);
        }
        if correlation == 0 {
            return self.close(0, &wrong_state("Hello asks for an answer: correlation 0"));
        }
        if applies {
            self.state = State::Authenticating { correlation };
            return Next::Apply(Passed {
                kind: frame.kind,
                correlation,
                timeout: Duration::from_millis(self.rules.hello_timeout_ms.into()),
                body: frame.body,
            });
        }
        let hello: Hello = match decode_body(frame.body) {
            Ok(hello) => hello,
            Err(refusal) => return self.close(correlation, &refusal),
        };
        let latched = match estop::ids(&hello.latched_stop_ids) {
            Ok(latched) => latched,
            Err(refusal) => return self.close(correlation, &refusal),
        };
        if hello.min_version > PROTOCOL_VERSION || hello.max_version < PROTOCOL_VERSION {
            let refusal = Refusal::new(
                ErrorCode::UnsupportedVersion,
                format!(
                    "versions {} to {}, and only {PROTOCOL_VERSION} is spoken here",
                    hello.min_version, hello.max_version
                ),
            );
            return self.close(correlation, &refusal);
        }
        self.state = State::Authenticating { correlation };
        Next::Authenticate(Introduction {
            version: PROTOCOL_VERSION,
            zstd: hello.features().any(|feature| feature == Feature::Zstd),
            client_name: hello.client_name,
            token: hello.token,
            history_generation: hello.history_generation,
            heartbeat_interval_ms: self.rules.heartbeat_for(hello.heartbeat_interval_ms),
            latched,
        })
    }
}
