//! What a message says, as JSON: the kinds that scripts speak have a form of their own, all others
//! travel as they are on the wire.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use protocol::content::{self, Content as Said};
use protocol::media::{from_hex, to_hex};
use protocol::wire::{self, EntryKind};
use protocol::{ErrorCode, Refusal};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Content {
    /// Words.
    Text {
        /// The words.
        text: String,
    },
    /// Structured bytes of the application's own.
    Data {
        /// Names their form.
        schema: String,
        /// The bytes, in base64.
        payload: String,
    },
    /// What a person asks of the swarm.
    Instruction {
        /// The words.
        text: String,
    },
    /// A media that was uploaded, or is kept elsewhere.
    Media {
        /// What refers to it.
        reference: String,
        /// What it is: `image/png`.
        media_type: String,
        /// How long it is.
        bytes: u64,
        /// Its SHA-256, in hexadecimal.
        sha256: String,
        /// As its file was called.
        #[serde(default)]
        name: String,
        /// What its sender says of it.
        #[serde(default)]
        caption: String,
    },
    /// Takes an entry of the same sender back.
    Recall {
        /// Which.
        target_sequence: u64,
    },
    /// Any other content, as it travels in the protocol.
    Encoded {
        /// The name of its kind there, without `ENTRY_KIND_`.
        entry_kind: String,
        /// An encoded `Content`, in base64.
        content: String,
    },
    /// Who joined and who left. Written by the server only.
    Membership {
        /// One for each account.
        changes: Vec<MemberChange>,
    },
    /// Takes up the number of an entry that has expired or that the reader may not see.
    Placeholder {},
    /// An entry whose sender has recalled it.
    Recalled {},
}

/// One account joined or left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(super) struct MemberChange {
    /// Which.
    account_id: String,
    /// Its name.
    name: String,
    /// It joined; else it left.
    joined: bool,
}

impl Content {
    /// The kind, and the bytes of `Send.content`.
    pub(super) fn to_wire(&self) -> Result<(EntryKind, Bytes), Refusal> {
        let said = match self {
            Self::Text { text } => content::text(text),
            Self::Data { schema, payload } => Said::Data(wire::Data {
                schema: schema.clone(),
                payload: bytes_of("content.payload", payload)?,
            }),
            Self::Instruction { text } => {
                Said::Instruction(wire::Instruction { text: text.clone() })
            }
            Self::Media {
                reference,
                media_type,
                bytes,
                sha256,
                name,
                caption,
            } => Said::Media(wire::Media {
                reference: reference.clone(),
                media_type: media_type.clone(),
                bytes: *bytes,
                sha256: from_hex(sha256)
                    .ok_or_else(|| Refusal::bad_request("content.sha256: not hexadecimal"))?
                    .into(),
                name: name.clone(),
                caption: caption.clone(),
            }),
            Self::Recall { target_sequence } => Said::Recall(wire::Recall {
                target_sequence: *target_sequence,
            }),
            Self::Encoded { content, .. } => {
                let encoded = bytes_of("content.content", content)?;
                // The logic looks into it again; here only its kind is of interest.
                let kind = content::kind_of(&content::decode(&encoded)?);
                return Ok((kind, encoded));
            }
            Self::Membership { .. } | Self::Placeholder {} | Self::Recalled {} => {
                let why = "content.kind: only the server writes it";
                return Err(Refusal::new(ErrorCode::Forbidden, why));
            }
        };
        Ok((content::kind_of(&said), content::encode(said)))
    }

    /// Of an entry of this kind.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a kind that has no form of its own travels encoded"
    )]
    pub(super) fn from_wire(kind: i32, encoded: &Bytes) -> Self {
        if kind == EntryKind::Placeholder as i32 {
            return Self::Placeholder {};
        }
        if kind == EntryKind::Recalled as i32 {
            return Self::Recalled {};
        }
        let as_it_is = || Self::Encoded {
            entry_kind: kind_name(kind),
            content: STANDARD.encode(encoded),
        };
        let Ok(said) = content::decode(encoded) else {
            return as_it_is();
        };
        match said {
            Said::Text(text) => Self::Text { text: text.text },
            Said::Data(data) => Self::Data {
                schema: data.schema,
                payload: STANDARD.encode(data.payload),
            },
            Said::Instruction(instruction) => Self::Instruction {
                text: instruction.text,
            },
            Said::Media(media) => Self::Media {
                reference: media.reference,
                media_type: media.media_type,
                bytes: media.bytes,
                sha256: to_hex(&media.sha256),
                name: media.name,
                caption: media.caption,
            },
            Said::Recall(recall) => Self::Recall {
                target_sequence: recall.target_sequence,
            },
            Said::Membership(change) => Self::Membership {
                changes: change.changes.into_iter().map(Into::into).collect(),
            },
            _ => as_it_is(),
        }
    }
}

impl From<wire::MemberChange> for MemberChange {
    fn from(change: wire::MemberChange) -> Self {
        Self {
            account_id: change.account_id.to_string(),
            name: change.name,
            joined: change.joined,
        }
    }
}

fn bytes_of(field: &'static str, text: &str) -> Result<Bytes, Refusal> {
    let decoded = STANDARD.decode(text);
    decoded
        .map(Bytes::from)
        .map_err(|_| Refusal::bad_request(format!("{field}: not base64")))
}

fn kind_name(kind: i32) -> String {
    EntryKind::try_from(kind).map_or_else(
        |_| kind.to_string(),
        |kind| {
            let name = kind.as_str_name();
            name.trim_start_matches("ENTRY_KIND_").to_owned()
        },
    )
}
