//! What is wrong with `[auth]`, and what is told of it.

use super::*;

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
