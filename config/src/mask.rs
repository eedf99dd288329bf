//! What is shown in the place of secrets, and where there may be one by mistake.

use toml::Value;

/// Shown in the place of a secret.
pub const MASK: &str = "***";

/// What may be told of an address that was not understood: what it begins with, if that is a scheme.
pub fn masked(text: &str) -> String {
    match text.trim().split_once("://") {
        Some((scheme, _)) if is_scheme(scheme) => format!("{scheme}://{MASK}"),
        _ => MASK.to_owned(),
    }
}

/// A text that is no secret where it belongs, for people. One that has something of an address may have been put under the wrong
/// key, with its password.
pub fn shown(text: &str) -> &str {
    if text.contains("://") || text.contains('@') { MASK } else { text }
}

/// Puts [`masked`] in the place of all texts that are addresses with somebody's name in them, which may be a password. Those in which
/// a password is masked already are left.
pub fn hide(value: &mut Value) {
    match value {
        Value::String(text) if !text.contains(MASK) => {
            let is_login = text.split_once("://").is_some_and(|(_, rest)| rest.contains('@'));
            if is_login {
                *text = masked(text);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(hide),
        Value::Table(table) => table.iter_mut().for_each(|(_, value)| hide(value)),
        _ => {}
    }
}

/// Whether a secret is what is shown in its place: nobody has one like it, but whoever takes what was printed for what was meant.
pub fn is_mask(text: &str) -> bool {
    let within = [format!(":{MASK}@"), format!("://{MASK}"), format!("password={MASK}"), format!("?{MASK}")];
    text.trim() == MASK || within.iter().any(|masked| text.contains(masked))
}

/// Whether this may be what an address begins with.
pub fn is_scheme(text: &str) -> bool {
    (1..=20).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_address_its_scheme_is_told() {
        let shown = ["secret", "se:cret://x", "postgres://ann:secret"].map(masked);
        assert_eq!(shown, ["***", "***", "postgres://***"]);
    }

    #[test]
    fn what_stands_under_the_wrong_key_is_not_shown() {
        let told = ["kafak", "postgres://ann:secret@db", "ann:secret@db"].map(shown);
        assert_eq!(told, ["kafak", MASK, MASK]);
        let text = "name = 'postgres://ann:secret@db'\nurl = 'https://db/x'\nmasked = 'redis://:***@a,redis://:***@b'\n\
                    list = [['redis://secret@db', 'ann@corp']]\ncount = 1";
        let mut value = Value::Table(text.parse().unwrap());
        hide(&mut value);
        let hidden = "name = 'postgres://***'\nurl = 'https://db/x'\nmasked = 'redis://:***@a,redis://:***@b'\n\
                      list = [['redis://***', 'ann@corp']]\ncount = 1";
        assert_eq!(value, Value::Table(hidden.parse().unwrap()));
    }

    #[test]
    fn a_mask_is_told_from_a_secret() {
        for text in [
            MASK,
            " ***\n",
            "postgres://***",
            "postgres://ann:***@db/x",
            "redis://:secret@one,redis://:***@two",
            "postgres://ann@db/x?password=***&sslmode=require",
            "https://issuer/keys?***",
        ] {
            assert!(is_mask(text), "{text}");
        }
        for text in ["", "**", "****", "se***cret", "postgres://ann:se***cret@db/x", "https://a/***"] {
            assert!(!is_mask(text), "{text}");
        }
    }
}
