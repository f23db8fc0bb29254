//! The verbs about credentials: operators let robots enrol, take certificates away, have passwords
//! made and change their own.

use std::sync::Arc;
use std::time::Duration;

use protocol::ConversationId;
use protocol::kind::client as kind;
use protocol::wire::change_credentials::Change;
use protocol::wire::credentials_changed::Result as Changed;
use protocol::wire::{self, AccountKind, Role};

use super::{Client, Inner};
use crate::error::Error;
use crate::message::Account;

/// Which robot may enrol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEnrolment {
    /// Which names: `*` stands for any part of one.
    pub name_pattern: String,
    /// What enrols: a robot, or a planner.
    pub kind: AccountKind,
    /// Groups that it joins.
    pub groups: Vec<ConversationId>,
    /// As what: a member or an observer.
    pub role: Role,
    /// How long the token is good; `None`: an hour.
    pub lifetime: Option<Duration>,
}

impl NewEnrolment {
    /// Of a robot of such a name, which joins no group, within an hour.
    #[must_use]
    pub fn of(name_pattern: impl Into<String>) -> Self {
        Self {
            name_pattern: name_pattern.into(),
            kind: AccountKind::Robot,
            groups: Vec::new(),
            role: Role::Member,
            lifetime: None,
        }
    }
}

/// A one-time token: told once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrolmentToken {
    /// What the robot presents.
    pub token: String,
    /// When it ends, in milliseconds since the Unix epoch.
    pub expires_at_ms: u64,
}

impl Client {
    pub(crate) const fn of(inner: Arc<Inner>) -> Self {
        Self { inner }
    }

    /// Makes a token with which one robot may enrol.
    pub async fn make_enrolment_token(&self, new: NewEnrolment) -> Result<EnrolmentToken, Error> {
        let lifetime_ms = new.lifetime.map_or(0, |lifetime| {
            u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX)
        });
        let make = wire::MakeEnrolmentToken {
            name_pattern: new.name_pattern,
            kind: new.kind.into(),
            groups: new.groups.iter().map(|group| group.to_bytes()).collect(),
            role: new.role.into(),
            lifetime_ms,
        };
        let changed = self.change(Change::MakeEnrolmentToken(make)).await?;
        let Changed::EnrolmentTokenMade(made) = changed else {
            return Err(another_answer());
        };
        Ok(EnrolmentToken {
            token: made.token,
            expires_at_ms: made.expires_at_ms,
        })
    }

    /// Takes every certificate of an account away: its sessions end, and it has to enrol again.
    /// Returns how many were good.
    pub async fn revoke_robot(&self, name: &str, reason: &str) -> Result<u32, Error> {
        let revoke = wire::RevokeRobot {
            name: name.to_owned(),
            reason: reason.to_owned(),
        };
        let changed = self.change(Change::RevokeRobot(revoke)).await?;
        let Changed::RobotRevoked(revoked) = changed else {
            return Err(another_answer());
        };
        Ok(revoked.certificates)
    }

    /// Changes one's own password. Other sessions that came of the one before end.
    pub async fn set_password(&self, present: &str, new: &str) -> Result<(), Error> {
        let set = wire::SetPassword {
            password: present.to_owned(),
            new_password: new.to_owned(),
            ..wire::SetPassword::default()
        };
        self.change(Change::SetPassword(set)).await.map(|_| ())
    }

    /// As an owner of the fleet: makes an operator, or gives one another password. Returns a secret
    /// that logs in once, with a new password.
    pub async fn make_operator(
        &self,
        name: &str,
        is_owner: bool,
    ) -> Result<(Account, String), Error> {
        let set = wire::SetPassword {
            name: name.to_owned(),
            owner: is_owner,
            ..wire::SetPassword::default()
        };
        self.secret(Change::SetPassword(set)).await
    }

    /// Makes the first owner of the fleet, once. Returns a secret that logs in once, with a new
    /// password.
    pub async fn initialise_fleet(&self, name: &str) -> Result<(Account, String), Error> {
        let initialise = wire::InitialiseFleet {
            name: name.to_owned(),
        };
        self.secret(Change::InitialiseFleet(initialise)).await
    }

    async fn secret(&self, change: Change) -> Result<(Account, String), Error> {
        let changed = self.change(change).await?;
        let (Changed::PasswordSet(set) | Changed::FleetInitialised(set)) = changed else {
            return Err(another_answer());
        };
        let account = Account::from_wire(set.account.unwrap_or_default());
        Ok((account, set.one_time_secret))
    }

    pub(crate) async fn change(&self, change: Change) -> Result<Changed, Error> {
        let request = wire::ChangeCredentials {
            change: Some(change),
        };
        let answer: wire::CredentialsChanged =
            self.request(kind::CHANGE_CREDENTIALS, &request).await?;
        answer.result.ok_or_else(another_answer)
    }
}

fn another_answer() -> Error {
    Error::Protocol("an answer to another question".into())
}
