//! People: they log in with a password, and get tokens that are good for a short while.

use protocol::wire::internal::write_credentials::Write;
use protocol::wire::internal::{KeepPassword, LogIn, Password, ReadCredentials};
use protocol::wire::{Account, InitialiseFleet, LoggedIn, PasswordSet, RefreshToken, SetPassword};
use protocol::{ErrorCode, Refusal, SessionId};
use service_kit::clock;
use service_kit::token::{LoginClaims, TokenError, TokenSigner};

use super::{Credentials, passwords, pattern, person};
use crate::directory::Profile;
use crate::events;
use crate::store::{Caller, Deadline};

/// What a one-time secret is made of: no two of these look alike.
const SECRET_ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// Its length: 120 bits.
const SECRET_CHARS: usize = 24;

impl Credentials {
    /// A person with a password gets a token.
    ///
    /// # Errors
    /// *Unauthenticated*, whatever is wrong with name or password; *new password needed*.
    pub async fn log_in(&self, login: LogIn, deadline: Deadline) -> Result<LoggedIn, Refusal> {
        self.signer()?;
        let session = login.session_id;
        let login = login.login.unwrap_or_default();
        let known = self.password_of(&login.name, deadline).await?;
        let hash = known.as_ref().map(|known| &known.hash[..]);
        let is_good = self.keys.passwords.is_good(&login.password, hash).await?;
        let Some(mut known) = known.filter(|_| is_good) else {
            let refusal = Refusal::new(ErrorCode::Unauthenticated, "wrong name or password");
            events::not_authenticated(session, &refusal);
            return Err(refusal);
        };
        if known.one_time && login.new_password.is_empty() {
            let why = "the one-time secret is good: choose a password with it";
            return Err(Refusal::new(ErrorCode::NewPasswordNeeded, why));
        }
        if !login.new_password.is_empty() {
            let name = &login.name;
            known.generation = self
                .replace(name, &known, &login.new_password, SessionId(0), deadline)
                .await?;
        }
        let account = known.account.unwrap_or_default();
        self.around
            .directory
            .remember(std::slice::from_ref(&account));
        events::logged_in(session, &account);
        let now_ms = clock::unix_ms();
        self.token(account, known.generation, now_ms, now_ms)
    }

    pub(super) async fn refresh(
        &self,
        caller: Caller,
        profile: &Profile,
        refresh: RefreshToken,
    ) -> Result<LoggedIn, Refusal> {
        let now_ms = clock::unix_ms();
        let verified = self.keys.verifier.examine(&refresh.token, now_ms);
        let verified = verified.map_err(|error| match error {
            TokenError::Expired => Refusal::new(ErrorCode::TokenExpired, error.to_string()),
            TokenError::Malformed | TokenError::BadSignature => {
                Refusal::bad_request(format!("token: {error}"))
            }
        })?;
        let whose = format!("im://{}/operator/{}", self.tokens.fleet, profile.name);
        let Some(login) = verified
            .login
            .filter(|_| verified.subject.as_str() == whose)
        else {
            let why = "token: it is not of this account, or not of a login";
            return Err(Refusal::bad_request(why));
        };
        let known = self.password_of(&profile.name, caller.deadline).await?;
        let Some(known) = known.filter(|known| known.generation == login.generation) else {
            let why = "the password was changed; log in again";
            return Err(Refusal::new(ErrorCode::Revoked, why));
        };
        let account = known.account.unwrap_or_default();
        self.token(account, login.generation, login.at_ms, now_ms)
    }

    pub(super) async fn set_password(
        &self,
        caller: Caller,
        profile: &Profile,
        set: SetPassword,
    ) -> Result<PasswordSet, Refusal> {
        person(profile)?;
        let own = self.password_of(&profile.name, caller.deadline).await?;
        if set.name.is_empty() || *set.name == *profile.name {
            let hash = own.as_ref().map(|own| &own.hash[..]);
            let is_good = self.keys.passwords.is_good(&set.password, hash).await?;
            let Some(own) = own.filter(|_| is_good) else {
                let why = "password: it is not the present one";
                return Err(Refusal::new(ErrorCode::Forbidden, why));
            };
            self.replace(
                &profile.name,
                &own,
                &set.new_password,
                caller.session,
                caller.deadline,
            )
            .await?;
            return Ok(PasswordSet {
                account: own.account,
                one_time_secret: String::new(),
            });
        }
        if !own.is_some_and(|own| own.owner) {
            let why = "only an owner of the fleet has passwords made for others";
            return Err(Refusal::new(ErrorCode::Forbidden, why));
        }
        let keep = KeepPassword {
            owner: set.owner,
            ..self.one_time(&set.name)
        };
        self.make_secret(caller, keep).await
    }

    pub(super) async fn initialise(
        &self,
        caller: Caller,
        profile: &Profile,
        initialise: InitialiseFleet,
    ) -> Result<PasswordSet, Refusal> {
        person(profile)?;
        let keep = KeepPassword {
            owner: true,
            first_owner: true,
            ..self.one_time(&initialise.name)
        };
        self.make_secret(caller, keep).await
    }

    fn one_time(&self, name: &str) -> KeepPassword {
        KeepPassword {
            fleet: self.tokens.fleet.clone(),
            name: name.to_owned(),
            one_time: true,
            ..KeepPassword::default()
        }
    }

    async fn make_secret(
        &self,
        caller: Caller,
        keep: KeepPassword,
    ) -> Result<PasswordSet, Refusal> {
        self.signer()?;
        if !pattern::is_name(&keep.name) {
            return Err(Refusal::bad_request("name: not one of an account"));
        }
        let secret = one_time_secret();
        let keep = KeepPassword {
            hash: self.keys.passwords.hash(&secret).await?,
            proposed_account_id: self.around.snowflakes.next_id().await?,
            ..keep
        };
        let written = self
            .write(Write::KeepPassword(keep), caller.deadline)
            .await?;
        self.cut(&written, written.password_generation, caller.session);
        events::password_set(&written);
        Ok(PasswordSet {
            account: written.account,
            one_time_secret: secret,
        })
    }

    /// Another password of one's own; sessions by the one before end, but for this one. Returns its
    /// generation.
    async fn replace(
        &self,
        name: &str,
        known: &Password,
        new_password: &str,
        but: SessionId,
        deadline: Deadline,
    ) -> Result<u64, Refusal> {
        passwords::check_new(new_password, name)?;
        let keep = KeepPassword {
            fleet: self.tokens.fleet.clone(),
            name: name.to_owned(),
            hash: self.keys.passwords.hash(new_password).await?,
            owner: known.owner,
            instead_of: known.generation,
            ..KeepPassword::default()
        };
        let written = self.write(Write::KeepPassword(keep), deadline).await?;
        self.cut(&written, written.password_generation, but);
        events::password_set(&written);
        Ok(written.password_generation)
    }

    /// A token of a login that was made then.
    fn token(
        &self,
        account: Account,
        generation: u64,
        logged_in_at_ms: u64,
        now_ms: u64,
    ) -> Result<LoggedIn, Refusal> {
        let ends_at_ms = logged_in_at_ms + self.tokens.login_lifetime_ms;
        let expires_at_ms = ends_at_ms.min(now_ms + self.tokens.lifetime_ms) / 1000 * 1000;
        if expires_at_ms <= now_ms {
            let why = "the login has ended; log in again";
            return Err(Refusal::new(ErrorCode::TokenExpired, why));
        }
        let name = &account.name;
        let subject = format!("im://{}/operator/{name}", self.tokens.fleet);
        let login = LoginClaims {
            generation,
            at_ms: logged_in_at_ms,
        };
        let lifetime_ms = expires_at_ms - now_ms;
        let token = self
            .signer()?
            .sign_login(&subject, now_ms, lifetime_ms, login);
        Ok(LoggedIn {
            account: Some(account),
            token,
            expires_at_ms,
            refresh_at_ms: if expires_at_ms < ends_at_ms / 1000 * 1000 {
                now_ms + lifetime_ms * 2 / 3
            } else {
                0
            },
        })
    }

    async fn password_of(
        &self,
        name: &str,
        deadline: Deadline,
    ) -> Result<Option<Password>, Refusal> {
        if !pattern::is_name(name) {
            return Ok(None);
        }
        let question = ReadCredentials {
            fleet: self.tokens.fleet.clone(),
            name: name.to_owned(),
            ..ReadCredentials::default()
        };
        Ok(self.read(&question, deadline).await?.password)
    }

    fn signer(&self) -> Result<&TokenSigner, Refusal> {
        let nobody = || {
            let why = "nobody logs in with a password at this server";
            Refusal::new(ErrorCode::Forbidden, why)
        };
        self.keys.signer.as_ref().ok_or_else(nobody)
    }
}

fn one_time_secret() -> String {
    let random: [u8; SECRET_CHARS] = rand::random();
    let character = |byte: &u8| char::from(SECRET_ALPHABET[usize::from(*byte) % 32]);
    random.iter().map(character).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_long_and_never_the_same() {
        let (one, other) = (one_time_secret(), one_time_secret());
        assert_eq!(one.len(), SECRET_CHARS);
        assert!(passwords::check_new(&one, "ana").is_ok());
        assert_ne!(one, other);
    }
}
