//! Signed URLs: whoever has one may do what it says, until it expires. The right to it was checked
//! when it was signed.
//!
//! Pure. All gateways have the same keys: the first signs, all verify, so that a key is brought in
//! behind the others, moved to the front, and taken out when what it signed has expired. Not here:
//! who gets one.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use protocol::media::{MediaId, from_hex};
use protocol::{AccountId, ErrorCode, Refusal};
use ring::hmac;
use serde::Deserialize;

/// The shortest secret, in bytes.
const SECRET_BYTES_MIN: usize = 16;

/// What a URL allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To send the bytes.
    Upload,
    /// To fetch them.
    Download,
}

/// The query of a signed URL.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Signed {
    /// For whom it was signed.
    pub(crate) account: u64,
    /// Until when it is good, in milliseconds since the Unix epoch.
    pub(crate) expires: u64,
    /// The name of the key.
    pub(crate) key: String,
    /// Over all of it.
    pub(crate) signature: String,
}

/// The keys.
pub(crate) struct Keys(Vec<(String, hmac::Key)>);

/// Never the secrets themselves.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(name, _)| name))
            .finish()
    }
}

impl Purpose {
    const fn path(self) -> &'static str {
        match self {
            Self::Upload => "/v1/uploads/",
            Self::Download => "/v1/media/",
        }
    }
}

impl Keys {
    /// A line for each: a name and a secret in hexadecimal. What begins with `#` says nothing.
    ///
    /// # Errors
    /// Which line makes no sense.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut keys: Vec<(String, hmac::Key)> = Vec::new();
        for (line, n) in text.lines().zip(1..) {
            let mut words = line.split_whitespace();
            let Some(name) = words.next().filter(|name| !name.starts_with('#')) else {
                continue;
            };
            let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
            let secret = words.next().and_then(from_hex);
            let secret = secret.filter(|secret| secret.len() >= SECRET_BYTES_MIN);
            let known = keys.iter().any(|(its, _)| its == name);
            match secret {
                Some(secret) if name.chars().all(is_plain) && !known && words.next().is_none() => {
                    keys.push((name.to_owned(), hmac::Key::new(hmac::HMAC_SHA256, &secret)));
                }
                _ => {
                    return Err(format!(
                        "line {n}: a name of letters, digits and -, once, and at least \
                         {SECRET_BYTES_MIN} bytes in hexadecimal"
                    ));
                }
            }
        }
        if keys.is_empty() {
            return Err("has no key".into());
        }
        Ok(Self(keys))
    }

    /// Path and query.
    pub(crate) fn sign(
        &self,
        purpose: Purpose,
        media: MediaId,
        account: AccountId,
        expires_ms: u64,
    ) -> String {
        let (name, key) = &self.0[0];
        let signed = words(purpose, media, account.0, expires_ms, name);
        let tag = hmac::sign(key, signed.as_bytes());
        let signature = URL_SAFE_NO_PAD.encode(tag);
        let path = purpose.path();
        let AccountId(account) = account;
        format!(
            "{path}{media}?account={account}&expires={expires_ms}&key={name}&signature={signature}"
        )
    }

    /// Whether we have signed it, and it has not expired.
    ///
    /// # Errors
    /// *Forbidden*, or *token expired*.
    pub(crate) fn verify(
        &self,
        purpose: Purpose,
        media: MediaId,
        url: &Signed,
        now_ms: u64,
    ) -> Result<AccountId, Refusal> {
        let forged = || Refusal::new(ErrorCode::Forbidden, "signature: not one of ours");
        let key = self.0.iter().find(|(name, _)| *name == url.key);
        let (name, key) = key.ok_or_else(forged)?;
        let tag = URL_SAFE_NO_PAD.decode(&url.signature);
        let signed = words(purpose, media, url.account, url.expires, name);
        let tag = tag.map_err(|_| forged())?;
        hmac::verify(key, signed.as_bytes(), &tag).map_err(|_| forged())?;
        if url.expires <= now_ms {
            let why = "the URL has expired: ask for a new one";
            return Err(Refusal::new(ErrorCode::TokenExpired, why));
        }
        Ok(AccountId(url.account))
    }
}

/// What is signed.
fn words(purpose: Purpose, media: MediaId, account: u64, expires_ms: u64, key: &str) -> String {
    let path = purpose.path();
    format!("{path}{media}\n{account}\n{expires_ms}\n{key}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::ClientMessageId;

    const OLD: &str = "k1 000102030405060708090a0b0c0d0e0f";
    const NEW: &str = "k2 101112131415161718191a1b1c1d1e1f";

    fn media(n: u8) -> MediaId {
        MediaId::of(AccountId(3), ClientMessageId::new(5, [n; 10]))
    }

    fn query(url: &str) -> Signed {
        let (_, query) = url.split_once('?').unwrap();
        let field = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(its, _)| *its == name).unwrap().1.to_owned()
        };
        Signed {
            account: field("account").parse().unwrap(),
            expires: field("expires").parse().unwrap(),
            key: field("key"),
            signature: field("signature"),
        }
    }

    #[test]
    fn what_was_signed_is_good_for_that_alone_and_not_for_ever() {
        let keys = Keys::parse(OLD).unwrap();
        let url = keys.sign(Purpose::Download, media(1), AccountId(3), 1000);
        assert!(
            url.starts_with(&format!("/v1/media/{}?", media(1))),
            "{url}"
        );
        let signed = query(&url);
        let verify = |purpose, media, signed: &Signed, now_ms| {
            let verified = keys.verify(purpose, media, signed, now_ms);
            verified.map_err(|refusal| refusal.code)
        };
        let down = Purpose::Download;
        assert_eq!(verify(down, media(1), &signed, 999), Ok(AccountId(3)));
        let expired = Err(ErrorCode::TokenExpired);
        assert_eq!(verify(down, media(1), &signed, 1000), expired);
        let forged = Err(ErrorCode::Forbidden);
        assert_eq!(verify(down, media(2), &signed, 999), forged);
        assert_eq!(verify(Purpose::Upload, media(1), &signed, 999), forged);
        let changes: [fn(&mut Signed); 4] = [
            |it| it.account = 4,
            |it| it.expires = 2000,
            |it| it.key = "k2".into(),
            |it| it.signature = "AAAA".into(),
        ];
        for change in changes {
            let mut changed = signed.clone();
            change(&mut changed);
            assert_eq!(verify(down, media(1), &changed, 999), forged, "{changed:?}");
        }
    }

    #[test]
    fn a_key_is_brought_in_and_taken_out_while_urls_are_about() {
        let sign = |keys: &str| {
            let keys = Keys::parse(keys).unwrap();
            query(&keys.sign(Purpose::Upload, media(1), AccountId(3), 1000))
        };
        let is_good = |keys: &str, url: &Signed| {
            let keys = Keys::parse(keys).unwrap();
            keys.verify(Purpose::Upload, media(1), url, 5).is_ok()
        };
        let (old_first, new_first) = (format!("{OLD}\n{NEW}"), format!("{NEW}\n{OLD}"));
        assert_eq!(sign(&old_first).key, "k1");
        assert_eq!(sign(&new_first).key, "k2");
        assert!(is_good(&old_first, &sign(&new_first)));
        assert!(is_good(&new_first, &sign(OLD)));
        assert!(!is_good(NEW, &sign(OLD)));
    }

    #[test]
    fn keys_that_make_no_sense_are_named_by_their_line() {
        let with_comment = format!("# of 2026\n\n{OLD}\n");
        assert!(Keys::parse(&with_comment).is_ok());
        for wrong in [
            "",
            "# none",
            "k1",
            "k1 00",
            "k&1 000102030405060708090a0b0c0d0e0f",
        ] {
            assert!(Keys::parse(wrong).is_err(), "{wrong}");
        }
        let twice = Keys::parse(&format!("{OLD}\n{OLD}")).unwrap_err();
        assert!(twice.starts_with("line 2"), "{twice}");
        assert_eq!(format!("{:?}", Keys::parse(OLD).unwrap()), r#"["k1"]"#);
    }
}
