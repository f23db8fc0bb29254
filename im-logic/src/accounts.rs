//! Accounts by name, and what robots declare that they are able to do.

use std::collections::HashMap;
use std::sync::Arc;

use prost::Message as _;
use protocol::kind::method;
use protocol::limits::{FIND_ACCOUNTS_MAX, FRAME_BYTES_MAX, FRAME_HEADER_BYTES};
use protocol::wire::internal::{AccountList, LookUpAccounts, SetCapabilities};
use protocol::wire::{Account, AccountsFound, Announce, Announced, CapabilityCard, FindAccounts};
use protocol::{ErrorCode, Refusal};
use service_kit::rpc;

use crate::directory::{ACCOUNTS_PER_QUESTION_MAX, Directory, Profile};
use crate::events;
use crate::permission::{self, Action};
use crate::store::{Caller, Deadline, Store, To};

/// Finds accounts, and keeps capability cards.
#[derive(Debug)]
pub struct Accounts {
    fleet: String,
    directory: Arc<Directory>,
    store: Store,
}

impl Accounts {
    /// Of one fleet.
    #[must_use]
    pub const fn new(fleet: String, directory: Arc<Directory>, store: Store) -> Self {
        Self {
            fleet,
            directory,
            store,
        }
    }

    /// The accounts of these names. What there is not is left out.
    pub async fn find(
        &self,
        caller: Caller,
        request: FindAccounts,
    ) -> Result<AccountsFound, Refusal> {
        if request.names.len() > FIND_ACCOUNTS_MAX {
            return Err(too_many_names());
        }
        let mut found = AccountsFound::default();
        for names in request.names.chunks(ACCOUNTS_PER_QUESTION_MAX) {
            let accounts = self.look_up(names, caller.deadline).await?;
            found.accounts.extend(accounts);
        }
        if FRAME_HEADER_BYTES + found.encoded_len() > FRAME_BYTES_MAX {
            return Err(too_many_names());
        }
        Ok(found)
    }

    /// The accounts of all these names, in this order.
    ///
    /// # Errors
    /// *No such account*, with the name of one that there is not.
    pub async fn named(
        &self,
        names: &[String],
        deadline: Deadline,
    ) -> Result<Vec<Profile>, Refusal> {
        let mut found: HashMap<String, Profile> = HashMap::with_capacity(names.len());
        for names in names.chunks(ACCOUNTS_PER_QUESTION_MAX) {
            for account in &self.look_up(names, deadline).await? {
                found.insert(account.name.clone(), Profile::from(account));
            }
        }
        let one = |name: &String| {
            let profile = found.get(name).cloned();
            profile.ok_or_else(|| {
                let why = format!("there is no account {name:?}");
                Refusal::new(ErrorCode::NoSuchAccount, why)
            })
        };
        names.iter().map(one).collect()
    }

    /// At most [`ACCOUNTS_PER_QUESTION_MAX`] of them. What there is not is left out.
    pub(crate) async fn look_up(
        &self,
        names: &[String],
        deadline: Deadline,
    ) -> Result<Vec<Account>, Refusal> {
        let question = LookUpAccounts {
            fleet: self.fleet.clone(),
            names: names.to_vec(),
            account_ids: Vec::new(),
        };
        let (to, method) = (To::Any(&[]), method::LOOK_UP_ACCOUNTS);
        let answer: AccountList = self.store.ask(to, method, &question, deadline).await?;
        self.directory.remember(&answer.accounts);
        Ok(answer.accounts)
    }

    /// A robot declares what it is able to do.
    pub async fn announce(&self, caller: Caller, request: Announce) -> Result<Announced, Refusal> {
        let card = request.capabilities.unwrap_or_default();
        check(&card)?;
        let robot = self.directory.one(caller.account, caller.deadline).await?;
        permission::check(Action::DeclareCapabilities, robot.kind, None)?;
        let actions = card.actions.len();
        let set = SetCapabilities {
            account_id: caller.account.0,
            capabilities: Some(card),
        };
        self.store
            .pass(
                To::Any(&caller.account.0.to_be_bytes()),
                method::SET_CAPABILITIES,
                rpc::encode(&set),
                caller.deadline,
            )
            .await?;
        events::announced(caller, actions);
        Ok(Announced {})
    }
}

/// What a planner reads must be readable: schemas are JSON objects.
pub(crate) fn check(card: &CapabilityCard) -> Result<(), Refusal> {
    protocol::card::check(card)?;
    for action in &card.actions {
        let (name, schema) = (&action.name, &action.arguments_schema_json);
        if schema.is_empty() && !action.parameters.is_empty() {
            continue;
        }
        serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(schema).map_err(
            |error| {
                Refusal::bad_request(format!(
                    "capabilities: arguments_schema_json of `{name}` is not a JSON object: {error}"
                ))
            },
        )?;
    }
    Ok(())
}

fn too_many_names() -> Refusal {
    Refusal::new(
        ErrorCode::LimitReached,
        format!(
            "names: ask for fewer; at most {FIND_ACCOUNTS_MAX}, and their capabilities fit in one \
             frame"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::limits::{CAPABILITY_CARD_BYTES_MAX, CARD_NAME_CHARS_MAX};
    use protocol::wire::ActionSpec;

    fn card(actions: &[(&str, &str)]) -> CapabilityCard {
        let actions = actions.iter().map(|(name, schema)| ActionSpec {
            name: (*name).into(),
            description: "抬起一个箱子".into(),
            arguments_schema_json: (*schema).into(),
            ..ActionSpec::default()
        });
        CapabilityCard {
            model: "forklift-2t".into(),
            actions: actions.collect(),
            ..CapabilityCard::default()
        }
    }

    fn code(card: &CapabilityCard) -> Option<ErrorCode> {
        check(card).err().map(|refusal| refusal.code)
    }

    #[test]
    fn a_card_is_what_a_planner_can_read() {
        let schema = r#"{"type":"object","properties":{"箱子":{"type":"string"}}}"#;
        assert_eq!(code(&card(&[])), None);
        assert_eq!(
            code(&card(&[
                ("lift", schema),
                ("抬起", "{}"),
                ("a.b_c-1", "{}")
            ])),
            None
        );
    }

    #[test]
    fn other_cards_are_refused() {
        let long = "x".repeat(CARD_NAME_CHARS_MAX + 1);
        let deep = "[".repeat(20_000);
        for bad in [
            &[("", "{}")][..],
            &[("two words", "{}")],
            &[(&long, "{}")],
            &[("lift", "{}"), ("lift", "{}")],
            &[("lift", "")],
            &[("lift", "[]")],
            &[("lift", "{")],
            &[("lift", &deep)],
        ] {
            assert_eq!(code(&card(bad)), Some(ErrorCode::BadRequest), "{bad:.40?}");
        }
        let mut large = card(&[("lift", "{}")]);
        large.model = "x".repeat(CAPABILITY_CARD_BYTES_MAX);
        assert_eq!(code(&large), Some(ErrorCode::LimitReached));
    }
}
