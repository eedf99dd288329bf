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
        let message = format!("{}.{}", encoded(header.to_string()), encoded(claims.to_string()));
        let signature = match header["alg"].as_str() {
            Some("ES256") => {
                self.curve.sign(&SystemRandom::new(), message.as_bytes()).unwrap().as_ref().to_vec()
            }
            _ => self.edwards.sign(message.as_bytes()).as_ref().to_vec(),
        };
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
    let mut twice = claims().to_string();
    twice.insert_str(1, "\"sub\":\"bob\",");
    let twice = {
        let message = format!("{}.{}", parts[0], encoded(twice));
        let signature = issuer.curve.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", encoded(signature))
    };
    let refused = [
        ("no algorithm", unsigned("none")),
        ("no algorithm, in another case", unsigned("None")),
        ("no algorithm and no signature", format!("{}.{}.", encoded("{\"alg\":\"none\"}"), parts[1])),
        ("a signature left out", format!("{}.{}.", parts[0], parts[1])),
        ("two parts", format!("{}.{}", parts[0], parts[1])),
        ("four parts", format!("{good}.{}", parts[2])),
        ("one part", parts[1].to_owned()),
        ("five parts, as an encrypted token has", "a.b.c.d.e".to_owned()),
        ("dots", "...".to_owned()),
        ("padding", format!("{good}=")),
        ("another alphabet", good.replace(['-', '_'], "+") + "+/"),
        ("a header that is no JSON", raw("{", &claims().to_string(), "x")),
        ("a header that is a list", raw("[]", &claims().to_string(), "x")),
        ("claims that are no JSON", issuer.sign(&header(), &json!("text"))),
        ("claims that are a list", issuer.sign(&header(), &json!([claims()]))),
        ("a claim that comes twice", twice),
        ("a header that was changed", flipped(0)),
        ("claims that were changed", flipped(1)),
        ("a signature that was changed", flipped(2)),
        ("another's signature", other.sign(&header(), &claims())),
        ("another's key, named as ours", other.sign(&json!({"alg": "EdDSA", "kid": "edwards"}), &claims())),
        ("a secret that the set holds", by_secret(b"0123456789abcdef0123456789abcdef", "secret")),
        ("our public key as a secret", by_secret(issuer.curve.public_key().as_ref(), "curve")),
        ("our public key's x as a secret", by_secret(issuer.edwards.public_key().as_ref(), "edwards")),
        ("an algorithm that is configured, and a key of another", headed(json!({"alg": "RS256"}))),
        ("an algorithm of another key", headed(json!({"alg": "EdDSA"}))),
        ("an algorithm that is not configured", headed(json!({"alg": "ES384"}))),
        ("an algorithm of no name", headed(json!({"alg": "XS256"}))),
        ("no algorithm at all", headed(json!({"alg": null}))),
        ("a key that is not known", headed(json!({"kid": "other"}))),
        ("a key for something else", headed(json!({"kid": "encrypts"}))),
        ("a key id that is no text", headed(json!({"kid": 7}))),
        (
            "a key that it brings along",
            other.sign(&with(header(), json!({"jwk": other.curve_key()})), &claims()),
        ),
        (
            "a place of keys that it brings along",
            other.sign(&with(header(), json!({"jku": "https://evil.example/jwks"})), &claims()),
        ),
        ("something that must be understood", headed(json!({"crit": ["exp"], "exp": 1}))),
        ("expired", claimed(json!({"exp": now() - 31}))),
        ("expired long ago", claimed(json!({"exp": -1}))),
        ("no time of expiry", claimed(json!({"exp": null}))),
        ("a time of expiry that is text", claimed(json!({"exp": (now() + 600).to_string()}))),
        ("not valid yet", claimed(json!({"nbf": now() + 31}))),
        ("not valid from a text on", claimed(json!({"nbf": "tomorrow"}))),
        ("another issuer", claimed(json!({"iss": "https://evil.example"}))),
        ("an issuer that ours begins with", claimed(json!({"iss": "https://issuer"}))),
        ("no issuer", claimed(json!({"iss": null}))),
        ("another audience", claimed(json!({"aud": "shop"}))),
        ("several other audiences", claimed(json!({"aud": ["shop", "floodgates"]}))),
        ("no audience", claimed(json!({"aud": null}))),
        ("an audience of none", claimed(json!({"aud": []}))),
        ("nobody", claimed(json!({"sub": null}))),
        ("nobody by name", claimed(json!({"sub": ""}))),
        ("a long name", claimed(json!({"sub": "x".repeat(129)}))),
        ("a number for a name", claimed(json!({"sub": 7}))),
        ("a huge one", claimed(json!({"more": "x".repeat(8192)}))),
    ];
    assert!(refused.len() >= 40);
    for (what, token) in refused {
        let (status, detail) = told(&world, &token).await;
        assert_eq!(status, 401, "{what}: {detail}");
        assert!(!detail.is_empty(), "{what}");
    }
    assert_eq!(world.buffer.take().len(), 0);
    assert_eq!(told(&world, &good).await.0, 202);
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

#[test]
fn what_is_wrong_with_the_configuration_is_told() {
    let problems = |change: fn(&mut AuthConfig)| {
        let mut config = auth(AuthMode::Jwt);
        config.jwt.jwks_url = "https://issuer.example/jwks".to_owned();
        change(&mut config);
        config.problems()
    };
    assert_eq!(problems(|_| {}), Vec::<String>::new());
    for (change, word) in [
        ((|auth| auth.jwt.jwks_file = "x".to_owned()) as fn(&mut AuthConfig), "jwks_file"),
        (|auth| auth.jwt.jwks_url.clear(), "jwks_url"),
        (|auth| auth.jwt.issuer.clear(), "issuer"),
        (|auth| auth.jwt.audience.clear(), "audience"),
        (|auth| auth.jwt.algorithms.clear(), "algorithms"),
        (|auth| auth.jwt.algorithms.push(Algorithm::HS256), "HS256"),
        (|auth| auth.jwt.refresh_ms = 1, "refresh_ms"),
        (|auth| auth.jwt.timeout_ms = 0, "timeout_ms"),
        (|auth| *auth = self::auth(AuthMode::Keys), "floodgate key new"),
        (|auth| *auth = AuthConfig { bind_user: true, ..self::auth(AuthMode::Off) }, "bind_user"),
    ] {
        let told = problems(change);
        assert!(told.len() == 1 && told[0].contains(word), "{word}: {told:?}");
    }
    let secret =
        JwtConfig { jwks_url: "https://me:secret@issuer.example".to_owned(), ..auth(AuthMode::Jwt).jwt };
    assert!(Tokens::open(&secret).err().unwrap().contains("jwks_url must not hold"));
    let missing = JwtConfig { jwks_file: "/nowhere/jwks.json".to_owned(), ..auth(AuthMode::Jwt).jwt };
    let config = AuthConfig { jwt: missing, ..auth(AuthMode::Jwt) };
    let metrics = Metrics::new().unwrap().http;
    let opened = Admission::open(&config, &unlimited(), &metrics, Arc::new(HandClock::new(at(0))));
    assert!(opened.err().unwrap()[0].contains("auth.jwt.jwks_file: /nowhere/jwks.json"));
}

/// Whoever sets up who may come in, and forgets the switch, is told: everybody would be let in.
#[test]
fn what_no_mode_looks_at_is_told_by_its_name() {
    let key = || with_keys(&[("game", "key-1", &[Scope::Read])], false).keys;
    let set = |auth: &mut AuthConfig, name: &str| match name {
        "auth.keys" => auth.keys = key(),
        "auth.jwt.jwks_file" => auth.jwt.jwks_file = "jwks.json".to_owned(),
        "auth.jwt.jwks_url" => auth.jwt.jwks_url = "https://issuer.example/jwks".to_owned(),
        "auth.jwt.issuer" => auth.jwt.issuer = "https://issuer.example".to_owned(),
        _ => auth.jwt.audience = "floodgate".to_owned(),
    };
    assert_eq!(auth(AuthMode::Off).problems(), Vec::<String>::new());
    for (name, used_by) in [
        ("auth.keys", AuthMode::Keys),
        ("auth.jwt.jwks_file", AuthMode::Jwt),
        ("auth.jwt.jwks_url", AuthMode::Jwt),
        ("auth.jwt.issuer", AuthMode::Jwt),
        ("auth.jwt.audience", AuthMode::Jwt),
    ] {
        for mode in [AuthMode::Off, AuthMode::Keys, AuthMode::Jwt] {
            let mut auth = auth(mode);
            set(&mut auth, name);
            let (told, useless) = (auth.problems(), format!("{name} does nothing without auth.mode = "));
            let is_told = told.iter().any(|problem| problem.starts_with(&useless));
            assert_eq!(is_told, mode != used_by, "{name} with {mode:?}: {told:?}");
        }
    }
}

#[test]
fn keys_that_others_can_put_there_come_in_the_clear() {
    for (jwks_url, is_clear) in [
        ("http://issuer.example/jwks", true),
        ("HTTP://10.0.0.7:8080/jwks", true),
        ("http://[fd00::7]/jwks", true),
        ("http://localhost.example/jwks", true),
        ("https://issuer.example/jwks", false),
        ("http://127.0.0.1:8080/jwks", false),
        ("http://[::1]/jwks", false),
        ("http://[::ffff:127.0.0.1]/jwks", false),
        ("http://localhost/jwks", false),
        ("", false),
    ] {
        let jwt = JwtConfig { jwks_url: jwks_url.to_owned(), ..auth(AuthMode::Jwt).jwt };
        assert_eq!(jwt.comes_in_the_clear(), is_clear, "{jwks_url}");
    }
}
