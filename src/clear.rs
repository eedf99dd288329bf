//! Secrets that go to another machine in the clear. Where that is by choice it goes on; it is told, since it looks just like what is
//! secured.

use floodgate_buffer::Strategy;
use floodgate_config::address::{Address, Host};

use crate::settings::Settings;

/// What is sent, under which keys it stands, and where it goes.
fn sent(settings: &Settings) -> Vec<(&'static str, &'static str, &str)> {
    let registry = &settings.schema_registry;
    let login = (!registry.username.is_empty()).then(|| registry.url.split(','));
    let to_registry =
        login.into_iter().flatten().map(|url| ("schema_registry.password", "schema_registry.url", url));
    // which is masked here if it is there
    let headers = settings.table.get("otel").and_then(|otel| otel.get("headers"));
    let has_headers = headers.and_then(toml::Value::as_str).is_some_and(|headers| !headers.is_empty());
    let to_receiver =
        has_headers.then_some(("otel.headers", "otel.endpoint", settings.otel.endpoint.as_str()));
    to_registry.chain(to_receiver).collect()
}

/// What is worth a word.
pub(crate) fn warnings(settings: &Settings, strategy: &dyn Strategy) -> Vec<String> {
    let sent = sent(settings).into_iter().filter(|(.., url)| is_shown(url));
    let mut told: Vec<_> = sent
        .map(|(what, place, _)| {
            format!("{what} goes to another machine in the clear: use https:// in {place}")
        })
        .collect();
    told.dedup();
    told.extend(settings.store.in_the_clear());
    told.extend(strategy.warnings());
    told
}

/// Whether whoever is on the way reads what is sent there.
pub(crate) fn is_shown(url: &str) -> bool {
    let is_elsewhere = |address: Address| !address.hosts.iter().all(Host::is_this_machine);
    Address::read(url, &[]).is_ok_and(|address| address.scheme == "http" && is_elsewhere(address))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_in_the_clear_is_told() {
        let told = |layers: &[(&str, &str)]| {
            let layers =
                layers.iter().map(|(name, value)| (format!("FLOODGATE__{name}"), (*value).to_owned()));
            let settings = Settings::from_layers(None, layers).unwrap();
            sent(&settings)
                .into_iter()
                .filter(|(.., url)| is_shown(url))
                .map(|(what, ..)| what)
                .collect::<Vec<_>>()
        };
        let url = |url| ("SCHEMA_REGISTRY__URL", url);
        let login = [("SCHEMA_REGISTRY__USERNAME", "me"), ("SCHEMA_REGISTRY__PASSWORD", "secret")];
        assert_eq!(told(&[url("http://r:8081")]), [""; 0]);
        assert_eq!(told(&[&login[..], &[url("http://r:8081")]].concat()), ["schema_registry.password"]);
        for here in ["https://r:8081", "http://127.0.0.1:8081", "http://[::1]:8081,https://r"] {
            assert_eq!(told(&[&login[..], &[url(here)]].concat()), [""; 0], "{here}");
        }
        let headers = ("OTEL__HEADERS", "authorization=secret");
        assert_eq!(told(&[headers]), [""; 0]);
        if cfg!(feature = "otel") {
            assert_eq!(told(&[headers, ("OTEL__ENDPOINT", "http://c:4318")]), ["otel.headers"]);
        }
    }
}
