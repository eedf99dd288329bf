//! The `[schema_registry]` section.

use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

/// `[schema_registry]`. Its defaults, and what each means to operators, stand in the compiled-in configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryConfig {
    /// Where it is, several separated by commas; empty: there is none.
    pub url: String,
    /// Who asks (HTTP Basic); empty: nobody in particular.
    pub username: String,
    /// With which password.
    pub password: SecretString,
    /// Whether our schemas are registered, or only looked up.
    pub register: bool,
    /// How long one of its addresses has for an answer, in milliseconds.
    pub timeout_ms: u64,
    /// How often it is asked whether our ids are still those of our schemas, in milliseconds.
    pub check_ms: u64,
}

impl RegistryConfig {
    /// Whether there is one.
    pub fn is_on(&self) -> bool {
        !self.url.is_empty()
    }

    /// What is wrong with it.
    pub fn problems(&self) -> Vec<String> {
        let mut problems: Vec<String> =
            self.urls().err().map(|why| format!("schema_registry.url {why}")).into_iter().collect();
        if self.username.is_empty() && !self.password.expose_secret().is_empty() {
            problems.push("schema_registry.password needs schema_registry.username".to_owned());
        }
        if !(1..=60_000).contains(&self.timeout_ms) {
            problems.push("schema_registry.timeout_ms must be between 1 and 60000".to_owned());
        }
        if !(100..=86_400_000).contains(&self.check_ms) {
            problems.push("schema_registry.check_ms must be between 100 and 86400000, a day".to_owned());
        }
        problems
    }

    /// Its addresses, in the order in which they are asked, without a slash at their ends.
    ///
    /// # Errors
    /// What is wrong with one of them.
    pub(crate) fn urls(&self) -> Result<Vec<Url>, String> {
        let urls = self.url.split(',').map(str::trim).filter(|url| !url.is_empty());
        urls.map(|text| {
            let as_in = "such as http://127.0.0.1:8081";
            let mut url = Url::parse(text).map_err(|error| format!("is no URL {as_in}: {error}"))?;
            if !["http", "https"].contains(&url.scheme()) || url.host_str().is_none_or(str::is_empty) {
                return Err(format!("must be an HTTP URL {as_in}"));
            }
            if !url.username().is_empty() || url.password().is_some() {
                return Err(
                    "holds a name or a password, which have their own keys (schema_registry.username)"
                        .to_owned(),
                );
            }
            if url.query().is_some() || url.fragment().is_some() {
                return Err("must end with its path".to_owned());
            }
            let path = url.path().trim_end_matches('/').to_owned();
            url.set_path(&path);
            Ok(url)
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> RegistryConfig {
        RegistryConfig {
            url: url.to_owned(),
            username: String::new(),
            password: SecretString::default(),
            register: true,
            timeout_ms: 3000,
            check_ms: 60_000,
        }
    }

    #[test]
    fn urls_are_looked_at() {
        let urls = |url: &str| {
            let urls = config(url).urls()?;
            Ok::<_, String>(
                urls.iter().map(|url| url.as_str().trim_end_matches('/').to_owned()).collect::<Vec<_>>(),
            )
        };
        assert_eq!(
            urls("http://a:1/apis/ccompat/v7/ , https://b"),
            Ok(vec!["http://a:1/apis/ccompat/v7".to_owned(), "https://b".to_owned()])
        );
        for (url, told) in [
            ("registry:8081", "HTTP URL"),
            ("nothing", "no URL"),
            ("http://ann:secret@a", "schema_registry.username"),
            ("http://a/?x=1", "its path"),
        ] {
            let why = urls(url).unwrap_err();
            assert!(why.contains(told) && !why.contains("secret"), "{url}: {why}");
        }
        assert!(!config("").is_on() && config("").problems().is_empty());
        let wrong = RegistryConfig { password: "p".into(), timeout_ms: 0, check_ms: 1, ..config("ftp://a") };
        assert_eq!(wrong.problems().len(), 4, "{:?}", wrong.problems());
    }
}
