//! Hashes of passwords: Argon2id, off the threads that everybody waits for, a few at once.
//!
//! A hash takes the memory and the time that the configuration says, so that only so many are made
//! at once and only so many wait. Not here: whose password it is.

use std::sync::Arc;

use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version};
use protocol::{ErrorCode, Refusal};
use tokio::sync::Semaphore;

use crate::config::PasswordsConfig;

/// Logins that wait for their turn. One more is RATE_LIMITED.
const WAITING_MAX: usize = 64;

/// How long one who found no place waits before it tries again, in milliseconds.
const BUSY_RETRY_AFTER_MS: u32 = 1000;

/// The shortest password, in characters.
pub const PASSWORD_CHARS_MIN: usize = 12;

/// The longest, in bytes.
pub const PASSWORD_BYTES_MAX: usize = 256;

/// What nobody's password hashes to, so that a name which is not there takes as long as one that is.
const NOBODYS_PASSWORD: &str = "of nobody";

/// Makes hashes and holds passwords against them.
#[derive(Debug)]
pub struct Passwords {
    params: Params,
    at_work: Arc<Semaphore>,
    places: Arc<Semaphore>,
    nobodys: tokio::sync::OnceCell<String>,
}

impl Passwords {
    /// As configured.
    ///
    /// # Errors
    /// When Argon2 does not know such parameters.
    pub fn new(config: &PasswordsConfig) -> Result<Self, argon2::Error> {
        Ok(Self {
            params: Params::new(config.memory_kib, config.iterations, config.lanes, None)?,
            at_work: Arc::new(Semaphore::new(config.hashes_at_once.max(1))),
            places: Arc::new(Semaphore::new(WAITING_MAX)),
            nobodys: tokio::sync::OnceCell::new(),
        })
    }

    /// The hash of a new password, with a salt of its own.
    ///
    /// # Errors
    /// *Rate limited*, or *internal*.
    pub async fn hash(&self, password: &str) -> Result<String, Refusal> {
        let (argon2, password) = (self.argon2(), password.to_owned());
        self.work(move || {
            let hash = argon2.hash_password(password.as_bytes());
            hash.map(|hash| hash.to_string())
        })
        .await?
        .map_err(|error| Refusal::internal(format!("no hash: {error}")))
    }

    /// Whether it is the password of this hash; of nobody's: it is not, and takes as long.
    ///
    /// # Errors
    /// *Rate limited*.
    pub async fn is_good(&self, password: &str, hash: Option<&str>) -> Result<bool, Refusal> {
        let nobodys = match hash {
            Some(_) => String::new(),
            None => {
                let made = self.nobodys.get_or_try_init(|| self.hash(NOBODYS_PASSWORD));
                made.await?.clone()
            }
        };
        let is_somebodys = hash.is_some();
        let hash = hash.map_or(nobodys, str::to_owned);
        let (argon2, password) = (self.argon2(), password.to_owned());
        let is_it = self
            .work(move || {
                argon2
                    .verify_password(password.as_bytes(), &hash[..])
                    .is_ok()
            })
            .await?;
        Ok(is_it && is_somebodys)
    }

    fn argon2(&self) -> Argon2<'static> {
        Argon2::new(Algorithm::Argon2id, Version::V0x13, self.params.clone())
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let stopping = |_| Refusal::unavailable("the server is stopping");
        let Ok(_place) = self.places.try_acquire() else {
            let refusal = Refusal::new(ErrorCode::RateLimited, "too many logins at once");
            return Err(refusal.retry_after_ms(BUSY_RETRY_AFTER_MS));
        };
        let turn = Arc::clone(&self.at_work).acquire_owned().await;
        let turn = turn.map_err(|_| Refusal::unavailable("the server is stopping"))?;
        // The turn goes with the work: whoever gives up waiting frees nothing before it is done.
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        });
        done.await.map_err(stopping)
    }
}

/// Whether a person may choose this.
///
/// # Errors
/// *Bad request*, with what is wanted.
pub fn check_new(password: &str, name: &str) -> Result<(), Refusal> {
    if password.chars().count() < PASSWORD_CHARS_MIN {
        let why = format!("new_password: at least {PASSWORD_CHARS_MIN} characters");
        return Err(Refusal::bad_request(why));
    }
    if password.len() > PASSWORD_BYTES_MAX {
        let why = format!("new_password: at most {PASSWORD_BYTES_MAX} bytes");
        return Err(Refusal::bad_request(why));
    }
    if password.contains(name) {
        return Err(Refusal::bad_request(
            "new_password: not with the name in it",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passwords() -> Passwords {
        let config = PasswordsConfig {
            memory_kib: 64,
            iterations: 1,
            lanes: 1,
            hashes_at_once: 1,
        };
        Passwords::new(&config).unwrap()
    }

    #[tokio::test]
    async fn a_password_is_known_by_its_hash_and_no_other_is() {
        let passwords = passwords();
        let hash = passwords.hash("正确的密码一二三四五六七").await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{hash}");
        assert_ne!(
            hash,
            passwords.hash("正确的密码一二三四五六七").await.unwrap()
        );
        let is_good = |password, hash| passwords.is_good(password, hash);
        assert!(
            is_good("正确的密码一二三四五六七", Some(&hash))
                .await
                .unwrap()
        );
        assert!(!is_good("wrong", Some(&hash)).await.unwrap());
        assert!(!is_good(NOBODYS_PASSWORD, None).await.unwrap());
        assert!(!is_good("wrong", Some("damaged")).await.unwrap());
    }

    #[tokio::test]
    async fn only_so_many_wait() {
        let passwords = passwords();
        let _taken = passwords.places.acquire_many(64).await.unwrap();
        let refusal = passwords.hash("x").await.unwrap_err();
        assert_eq!(refusal.code, ErrorCode::RateLimited);
        assert_eq!(refusal.retry_after_ms, BUSY_RETRY_AFTER_MS);
    }

    #[test]
    fn a_password_is_long_and_not_the_name() {
        assert!(check_new("short", "ana").is_err());
        assert!(check_new("anastasia likes it", "anastasia").is_err());
        assert!(check_new(&"x".repeat(257), "ana").is_err());
        assert!(check_new("十二个字的密码就足够了吧", "ana").is_ok());
    }
}
