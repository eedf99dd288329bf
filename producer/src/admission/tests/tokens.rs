//! Tokens: which are believed, and forty that are not.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use serde_json::Value;

use super::*;

/// Ten o'clock, in seconds.
fn now() -> i64 {
    at(0).as_micros() / 1_000_000
}

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// Whoever signs tokens.
struct Issuer {
    curve: EcdsaKeyPair,
    edwards: Ed25519KeyPair,
    file: std::path::PathBuf,
}

impl Issuer {
    fn new(name: &str) -> Self {
        let random = SystemRandom::new();
        let curve = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let edwards = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        let file = std::env::temp_dir().join(format!("floodgate-jwks-{}-{name}.json", std::process::id()));
        let issuer = Self {
            curve: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, curve.as_ref(), &random)
                .unwrap(),
            edwards: Ed25519KeyPair::from_pkcs8(edwards.as_ref()).unwrap(),
            file,
        };
        std::fs::write(&issuer.file, issuer.set().to_string()).unwrap();
        issuer
    }

    fn curve_key(&self) -> Value {
        let point = &self.curve.public_key().as_ref()[1..];
        json!({"kty": "EC", "crv": "P-256", "kid": "curve", "alg": "ES256", "use": "sig",
            "x": encoded(&point[..32]), "y": encoded(&point[32..])})
    }

    fn edwards_key(&self) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "kid": "edwards", "x": encoded(self.edwards.public_key())})
    }

    /// Among keys that are of no use here.
    fn set(&self) -> Value {
        json!({"keys": [
            {"kty": "oct", "kid": "secret", "k": encoded("0123456789abcdef0123456789abcdef")},
            {"kty": "EC", "crv": "P-521", "kid": "long", "x": "AA", "y": "AA"},
            {"kty": "new", "kid": "newer"},
            {"kty": "EC", "crv": "P-256", "kid": "encrypts", "use": "enc", "x": "AA", "y": "AA"},
            self.curve_key(), self.edwards_key(),
        ]})
    }

    fn auth(&self) -> AuthConfig {
        let base = auth(AuthMode::Jwt);
        let jwt = JwtConfig { jwks_file: self.file.display().to_string(), ..base.jwt.clone() };
        AuthConfig { jwt, ..base }
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        match header["alg"].as_str() {
            Some("ES256") => self.sign_text(&header.to_string(), &claims.to_string()),
            _ => {
                let message = format!("{}.{}", encoded(header.to_string()), encoded(claims.to_string()));
                format!("{message}.{}", encoded(self.edwards.sign(message.as_bytes())))
            }
        }
    }

    /// Signs whatever it is, by the key of the curve.
    fn sign_text(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", encoded(header), encoded(claims));
        let signature = self.curve.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", encoded(signature))
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

fn header() -> Value {
    json!({"alg": "ES256", "typ": "JWT", "kid": "curve"})
}

fn claims() -> Value {
    json!({"iss": "https://issuer.example", "aud": "floodgate", "sub": "ann", "exp": now() + 600,
        "scope": "like:write read unknown:scope"})
}

/// The same with these in place of others; null takes one out.
fn with(mut of: Value, changes: Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            of.as_object_mut().unwrap().remove(name);
        } else {
            of[name] = value.clone();
        }
    }
    of
}

async fn told(world: &World, token: &str) -> (u16, String) {
    let answer = ask(world, "PUT", LIKE, token, json!(null)).await;
    (answer.told().0, answer.body["detail"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn what_the_issuer_signed_is_believed() {
    let issuer = Issuer::new("believed");
    let (world, clock) = world(&AuthConfig { bind_user: true, ..issuer.auth() }, &unlimited());
    for (header, claims) in [
        (header(), claims()),
        (with(header(), json!({"kid": null})), claims()),
        (json!({"alg": "EdDSA", "kid": "edwards"}), claims()),
        (json!({"alg": "EdDSA"}), claims()),
        (header(), with(claims(), json!({"aud": ["other", "floodgate"]}))),
        (header(), with(claims(), json!({"scope": null, "scp": ["like:write"]}))),
        (header(), with(claims(), json!({"scope": ["like:write"]}))),
        (
            header(),
            with(claims(), json!({"nbf": now() - 5, "iat": now() + 5, "jti": "1", "more": {"a": []}})),
        ),
        (header(), with(claims(), json!({"exp": now() as f64 + 0.5}))),
        (header(), with(claims(), json!({"nbf": now() + 29}))),
        (header(), with(claims(), json!({"exp": now() - 29}))),
        (with(header(), json!({"typ": "at+jwt"})), claims()),
        (with(header(), json!({"typ": "application/AT+JWT"})), claims()),
        (with(header(), json!({"typ": "jwt"})), claims()),
        (with(header(), json!({"typ": null})), claims()),
    ] {
        let token = issuer.sign(&header, &claims);
        for again in [false, true] {
            assert_eq!(told(&world, &token).await.0, 202, "{header} {claims} {again}");
        }
    }
    // it is not remembered for longer than it is good
    let token = issuer.sign(&header(), &claims());
    assert_eq!(told(&world, &token).await.0, 202);
    clock.set(at(631_000_000));
    assert_eq!(told(&world, &token).await, (401, "the token has expired".to_owned()));
    // one of another is not this caller's to write for
    clock.set(at(0));
    let of_bob = issuer.sign(&header(), &with(claims(), json!({"sub": "bob"})));
    assert_eq!(told(&world, &of_bob).await.0, 403);
    let no_scope = issuer.sign(&header(), &with(claims(), json!({"scope": "read"})));
    assert_eq!(told(&world, &no_scope).await.0, 403);
}

#[tokio::test(start_paused = true)]
async fn nothing_else_is() {
    let issuer = Issuer::new("else");
    let other = Issuer::new("other");
    let (world, _) = world(&issuer.auth(), &unlimited());
    let good = issuer.sign(&header(), &claims());
    let parts: Vec<&str> = good.split('.').collect();
    let claimed = |changes: Value| issuer.sign(&header(), &with(claims(), changes));
    let headed = |changes: Value| issuer.sign(&with(header(), changes), &claims());
    let raw = |header: &str, claims: &str, signature: &str| {
        format!("{}.{}.{}", encoded(header), encoded(claims), encoded(signature))
    };
    let unsigned = |alg: &str| raw(&json!({"alg": alg}).to_string(), &claims().to_string(), "");
    let by_secret = |secret: &[u8], kid: &str| {
        let message = format!(
            "{}.{}",
            encoded(json!({"alg": "HS256", "kid": kid}).to_string()),
            encoded(claims().to_string())
        );
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        format!("{message}.{}", encoded(hmac::sign(&key, message.as_bytes())))
    };
    let flipped = |part: usize| {
        let mut parts: Vec<String> = parts.iter().map(|part| (*part).to_owned()).collect();
        let at = parts[part].len() / 2;
        let other = if parts[part].as_bytes()[at] == b'A' { "B" } else { "A" };
        parts[part].replace_range(at..=at, other);
        parts.join(".")
    };
    let twice = |of: Value, first: &str| of.to_string().replacen('{', &format!("{{{first},"), 1);
    let headed_twice = |first: &str| issuer.sign_text(&twice(header(), first), &claims().to_string());
    const NONE: &str = "no token that is taken here";
    const UNREAD: &str = "cannot be read";
    const SIGNATURE: &str = "signature is not right";
    const ALGORITHM: &str = "an algorithm that is not taken";
    const KEY: &str = "a key that is not known";
    const MORE: &str = "more of it must be understood";
    const LACKS: &str = "lacks one of exp, iss, aud and sub";
    const NOBODY: &str = "names nobody";
    const KIND: &str = "of another kind (typ)";
    let refused = [
        ("no algorithm", NONE, unsigned("none")),
        ("no algorithm, in another case", NONE, unsigned("None")),
        ("no algorithm and no signature", NONE, format!("{}.{}.", encoded("{\"alg\":\"none\"}"), parts[1])),
        ("a signature left out", SIGNATURE, format!("{}.{}.", parts[0], parts[1])),
        ("two parts", NONE, format!("{}.{}", parts[0], parts[1])),
        ("four parts", NONE, format!("{good}.{}", parts[2])),
        ("one part", NONE, parts[1].to_owned()),
        ("five parts, as an encrypted token has", NONE, "a.b.c.d.e".to_owned()),
        ("dots", NONE, "...".to_owned()),
        ("padding", UNREAD, format!("{good}=")),
        ("another alphabet", UNREAD, good.replace(['-', '_'], "+") + "+/"),
        ("a header that is no JSON", NONE, issuer.sign_text("{", &claims().to_string())),
        ("a header that is a list", NONE, issuer.sign_text("[]", &claims().to_string())),
        ("an algorithm that comes twice", NONE, headed_twice("\"alg\":\"none\"")),
        ("an algorithm that comes twice, the same", NONE, headed_twice("\"alg\":\"ES256\"")),
        ("a key id that comes twice", NONE, headed_twice("\"kid\":\"other\"")),
        ("claims that are no JSON", UNREAD, issuer.sign_text(&header().to_string(), "{\"sub\":")),
        ("claims that are a text", UNREAD, issuer.sign(&header(), &json!("text"))),
        ("claims that are a list", UNREAD, issuer.sign(&header(), &json!([claims()]))),
        (
            "a claim that comes twice",
            UNREAD,
            issuer.sign_text(&header().to_string(), &twice(claims(), "\"sub\":\"bob\"")),
        ),
        ("a header that was changed", NONE, flipped(0)),
        ("claims that were changed", SIGNATURE, flipped(1)),
        ("a signature that was changed", SIGNATURE, flipped(2)),
        ("another's signature", SIGNATURE, other.sign(&header(), &claims())),
        (
            "another's key, named as ours",
            SIGNATURE,
            other.sign(&json!({"alg": "EdDSA", "kid": "edwards"}), &claims()),
        ),
        ("a secret that the set holds", ALGORITHM, by_secret(b"0123456789abcdef0123456789abcdef", "secret")),
        ("our public key as a secret", ALGORITHM, by_secret(issuer.curve.public_key().as_ref(), "curve")),
        (
            "our public key's x as a secret",
            ALGORITHM,
            by_secret(issuer.edwards.public_key().as_ref(), "edwards"),
        ),
        ("an algorithm that is configured, and a key of another", KEY, headed(json!({"alg": "RS256"}))),
        ("an algorithm of another key", KEY, headed(json!({"alg": "EdDSA"}))),
        ("an algorithm that is not configured", ALGORITHM, headed(json!({"alg": "ES384"}))),
        ("an algorithm of no name", NONE, headed(json!({"alg": "XS256"}))),
        ("no algorithm at all", NONE, headed(json!({"alg": null}))),
        ("a key that is not known", KEY, headed(json!({"kid": "other"}))),
        ("a key for something else", KEY, headed(json!({"kid": "encrypts"}))),
        ("a key id that is no text", NONE, headed(json!({"kid": 7}))),
        (
            "a key that it brings along",
            SIGNATURE,
            other.sign(&with(header(), json!({"jwk": other.curve_key()})), &claims()),
        ),
        (
            "a place of keys that it brings along",
            SIGNATURE,
            other.sign(&with(header(), json!({"jku": "https://evil.example/jwks"})), &claims()),
        ),
        ("something that must be understood", MORE, headed(json!({"crit": ["exp"], "exp": 1}))),
        ("claims that are not encoded", MORE, headed(json!({"crit": ["b64"], "b64": false}))),
        ("claims that are not encoded, said by the way", MORE, headed(json!({"b64": false}))),
        ("a token of logging out", KIND, headed(json!({"typ": "logout+jwt"}))),
        ("a proof of a key", KIND, headed(json!({"typ": "dpop+jwt"}))),
        ("news of security", KIND, headed(json!({"typ": "application/secevent+jwt"}))),
        ("a kind of token without a name", KIND, headed(json!({"typ": ""}))),
        ("expired", "has expired", claimed(json!({"exp": now() - 31}))),
        ("expired long ago", "has expired", claimed(json!({"exp": 1}))),
        ("expired before there was time", LACKS, claimed(json!({"exp": -1}))),
        ("no time of expiry", LACKS, claimed(json!({"exp": null}))),
        ("a time of expiry that is text", UNREAD, claimed(json!({"exp": (now() + 600).to_string()}))),
        ("not valid yet", "not valid yet", claimed(json!({"nbf": now() + 31}))),
        ("not valid from a text on", UNREAD, claimed(json!({"nbf": "tomorrow"}))),
        ("another issuer", "of another issuer", claimed(json!({"iss": "https://evil.example"}))),
        ("an issuer that ours begins with", "of another issuer", claimed(json!({"iss": "https://issuer"}))),
        ("no issuer", LACKS, claimed(json!({"iss": null}))),
        ("another audience", "for another audience", claimed(json!({"aud": "shop"}))),
        ("several other audiences", "for another audience", claimed(json!({"aud": ["shop", "floodgates"]}))),
        ("no audience", LACKS, claimed(json!({"aud": null}))),
        ("an audience of none", "for another audience", claimed(json!({"aud": []}))),
        ("nobody", LACKS, claimed(json!({"sub": null}))),
        ("nobody by name", NOBODY, claimed(json!({"sub": ""}))),
        ("a long name", NOBODY, claimed(json!({"sub": "x".repeat(129)}))),
        ("a number for a name", UNREAD, claimed(json!({"sub": 7}))),
        ("a number for scopes", UNREAD, claimed(json!({"scope": 7}))),
        ("a huge one", "longer than 8192 bytes", claimed(json!({"more": "x".repeat(8192)}))),
    ];
    assert!(refused.len() >= 40);
    for (what, why, token) in refused {
        let (status, detail) = told(&world, &token).await;
        assert!(status == 401 && detail.contains(why), "{what}: {status}, {detail}");
    }
    assert_eq!(world.buffer.take().len(), 0);
    assert_eq!(told(&world, &good).await.0, 202);
}

/// Of very many keys some are left out, and the log says so, once for a set.
#[tokio::test]
async fn keys_that_are_not_kept_are_told() {
    let issuer = Issuer::new("many");
    let many = |count: usize| {
        let key = |number| with(issuer.edwards_key(), json!({"kid": format!("key-{number}")}));
        json!({"keys": (0..count).map(key).collect::<Vec<_>>()}).to_string()
    };
    for (count, last, is_told) in [(100, 99, false), (101, 99, true)] {
        std::fs::write(&issuer.file, many(count)).unwrap();
        let log = crate::testing::Log::start();
        let (world, _) = world(&issuer.auth(), &unlimited());
        assert_eq!(world.ingress.admission.ask_issuer().await, Some(Ok(100)));
        let told = log.lines("the token issuer has more keys than are kept");
        assert_eq!(told.len(), usize::from(is_told), "{told:?}");
        assert!(told.iter().all(|line| line.contains("left_out=1 ")), "{told:?}");
        let by =
            |number: usize| issuer.sign(&json!({"alg": "EdDSA", "kid": format!("key-{number}")}), &claims());
        assert_eq!(self::told(&world, &by(last)).await.0, 202);
        assert_eq!(self::told(&world, &by(last + 1)).await.0, 401);
    }
}

/// Keys that are gone are good no more, also for tokens that were believed before; and those that are new are looked for when
/// a token names one, but not for every such token.
#[tokio::test(start_paused = true)]
async fn keys_follow_the_issuer() {
    let issuer = Issuer::new("follow");
    let (world, _) = world(&issuer.auth(), &unlimited());
    let by = |alg: &str, kid: &str| issuer.sign(&json!({"alg": alg, "kid": kid}), &claims());
    let (old, new) = (by("ES256", "curve"), by("EdDSA", "next"));
    assert_eq!(told(&world, &old).await.0, 202);
    assert_eq!(told(&world, &new).await.0, 401);
    let next = with(issuer.edwards_key(), json!({"kid": "next"}));
    std::fs::write(&issuer.file, json!({"keys": [next]}).to_string()).unwrap();
    assert_eq!(told(&world, &new).await.0, 401, "somebody has just looked");
    tokio::time::advance(std::time::Duration::from_secs(6)).await;
    assert_eq!(told(&world, &new).await.0, 202);
    assert_eq!(told(&world, &old).await.0, 401);
    // an issuer that is away, or has nothing of use, changes nothing
    for text in ["", "{}", "{\"keys\":[]}", "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AA\"}]}"] {
        std::fs::write(&issuer.file, text).unwrap();
        tokio::time::advance(std::time::Duration::from_secs(6)).await;
        assert_eq!(told(&world, &by("ES256", "unknown")).await.0, 401);
        assert_eq!(told(&world, &new).await.0, 202, "{text}");
    }
    std::fs::remove_file(&issuer.file).unwrap();
    tokio::time::advance(std::time::Duration::from_secs(6)).await;
    assert_eq!(told(&world, &by("ES256", "unknown")).await.0, 401);
    assert_eq!(told(&world, &new).await.0, 202);
}

/// Whose address has used up its share with tokens that are none has no more verified for a while, once that is much; those that
/// were verified before are good all the same, whoever shares the address.
#[tokio::test(start_paused = true)]
async fn who_makes_tokens_up_has_few_verified() {
    let issuer = Issuer::new("strangers");
    let limit = RateLimitConfig { client_events_per_s: 1, client_burst_events: 3, ..unlimited() };
    let (world, _) = world(&issuer.auth(), &limit);
    let of = |subject: &str| issuer.sign(&header(), &with(claims(), json!({ "sub": subject })));
    let (ann, bob, cat) = (of("ann"), of("bob"), of("cat"));
    assert_eq!(told(&world, &ann).await.0, 202);
    let made_up = format!("{}x", of("dan"));
    let mut answers = Vec::new();
    for _ in 0..5 {
        answers.push(told(&world, &made_up).await.0);
    }
    assert_eq!(answers, [401, 401, 401, 429, 429]);
    assert_eq!(told(&world, &bob).await.0, 202, "one who shares the address is believed");
    for _ in 0..1000 {
        assert_eq!(told(&world, &made_up).await.0, 429);
    }
    assert_eq!(told(&world, &cat).await.0, 429, "nothing of this address is verified now");
    assert_eq!(told(&world, &ann).await.0, 202);
    tokio::time::advance(std::time::Duration::from_secs(1)).await;
    assert_eq!(told(&world, &cat).await.0, 202);
}
