//! Sessions of browsers: a cookie that says until when it is good, sealed. Nothing is kept of them here.
//!
//! The cookie's name is of the key, so that processes with other tokens on the same machine leave each other's cookies alone:
//! browsers tell hosts apart by their names, not by their ports.

use axum::http::HeaderMap;
use axum::http::header::COOKIE;
use floodgate_schemas::{Chance, Timestamp};
use ring::hmac;

use super::token::Token;

/// How long one lasts, in seconds.
pub(crate) const LASTS: i64 = 12 * 3600;

/// Cookies of the right name that are looked at.
const COOKIES_MAX: usize = 4;

pub(crate) struct Sessions {
    key: hmac::Key,
    name: String,
}

impl Sessions {
    pub(crate) fn new(token: &Token, chance: &dyn Chance) -> Self {
        let key = token.session_key(chance);
        let tag = hmac::sign(&key, b"name");
        let name = format!("floodgate-session-{}", hex::encode(tag.as_ref().get(..4).unwrap_or_default()));
        Self { key, name }
    }

    /// A cookie for whoever has shown the token.
    pub(crate) fn begin(&self, now: Timestamp) -> String {
        let until = (seconds(now) + LASTS).to_string();
        let seal = hex::encode(hmac::sign(&self.key, until.as_bytes()));
        self.cookie(&format!("{until}.{seal}"), LASTS)
    }

    /// What takes it away.
    pub(crate) fn end(&self) -> String {
        self.cookie("", 0)
    }

    // not `Secure`: without TLS browsers would not keep it
    fn cookie(&self, text: &str, seconds: i64) -> String {
        format!("{}={text}; HttpOnly; SameSite=Strict; Path=/; Max-Age={seconds}", self.name)
    }

    /// Whether a request comes with one that is still good.
    pub(crate) fn is_in(&self, headers: &HeaderMap, now: Timestamp) -> bool {
        let texts = headers.get_all(COOKIE).iter().filter_map(|cookies| cookies.to_str().ok());
        let pairs =
            texts.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let ours = pairs.filter(|(name, _)| *name == self.name).map(|(_, text)| text);
        ours.take(COOKIES_MAX).any(|text| self.is_good(text, now))
    }

    fn is_good(&self, text: &str, now: Timestamp) -> bool {
        let Some((until, seal)) = text.split_once('.') else { return false };
        let mut tag = [0; 32];
        let is_sealed = hex::decode_to_slice(seal, &mut tag).is_ok()
            && hmac::verify(&self.key, until.as_bytes(), &tag).is_ok();
        is_sealed && until.parse::<i64>().is_ok_and(|until| seconds(now) < until)
    }
}

fn seconds(at: Timestamp) -> i64 {
    at.as_micros().div_euclid(1_000_000)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use floodgate_schemas::examples::{Counted, at};

    use super::*;

    fn sessions(token: &str, chance: &Counted) -> Sessions {
        Sessions::new(&token.parse().unwrap(), chance)
    }

    fn with(cookies: &str) -> HeaderMap {
        HeaderMap::from_iter([(COOKIE, cookies.parse().unwrap())])
    }

    fn pair(sessions: &Sessions) -> String {
        sessions.begin(at(0)).split(';').next().unwrap().to_owned()
    }

    #[test]
    fn a_session_lasts_for_half_a_day() {
        let sessions = sessions("0123456789abcdef", &Counted::default());
        let cookie = sessions.begin(at(0));
        assert!(cookie.ends_with("; HttpOnly; SameSite=Strict; Path=/; Max-Age=43200"), "{cookie}");
        let headers = with(&format!("other=1; {}; more=2", pair(&sessions)));
        let second = 1_000_000;
        assert!(sessions.is_in(&headers, at(0)) && sessions.is_in(&headers, at((LASTS - 1) * second)));
        assert!(!sessions.is_in(&headers, at(LASTS * second)));
        assert!(!sessions.is_in(&HeaderMap::new(), at(0)));
        assert!(!sessions.is_in(&with(sessions.end().split(';').next().unwrap()), at(0)));
    }

    #[test]
    fn a_seal_is_of_this_time_and_this_token() {
        let chance = Counted::default();
        let sessions_here = sessions("0123456789abcdef", &chance);
        let good = pair(&sessions_here);
        let (name, text) = good.split_once('=').unwrap();
        let (until, seal) = text.split_once('.').unwrap();
        let longer = format!("{name}={}.{seal}", until.parse::<i64>().unwrap() + 1);
        let others = pair(&sessions("0123456789abcdeF", &chance)).split_once('=').unwrap().1.to_owned();
        for wrong in [
            longer,
            format!("{name}={others}"),
            format!("{name}={until}"),
            format!("{name}={until}."),
            format!("{good}00"),
        ] {
            assert!(!sessions_here.is_in(&with(&wrong), at(0)), "{wrong}");
        }
        let fifth = format!("{}{good}", format!("{name}=x; ").repeat(4));
        assert!(!sessions_here.is_in(&with(&fifth), at(0)), "no more than four are looked at");
    }

    /// The token itself makes sessions that every process with it knows; its digest does not.
    #[test]
    fn who_knows_a_digest_makes_no_sessions() {
        let chance = Counted::default();
        let plain = "0123456789abcdef";
        let hashed = "sha256:9f9f5111f7b27a781f1f1ddde5ebc2dd2b796bfc7365c9c28b548e564176929f";
        assert!(sessions(plain, &chance).is_in(&with(&pair(&sessions(plain, &chance))), at(0)));
        let [one, other] = [(); 2].map(|()| sessions(hashed, &chance));
        assert!(one.is_in(&with(&pair(&one)), at(0)));
        assert!(
            one.name != other.name && !other.is_in(&with(&pair(&one).replace(&one.name, &other.name)), at(0))
        );
    }
}
