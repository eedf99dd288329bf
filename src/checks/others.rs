//! What only some configurations have, and the configuration itself.

use floodgate_buffer::Strategy;
use floodgate_observe::{Metrics, logs};
use floodgate_producer::{Admission, TlsConfig};
use floodgate_registry::RegistryError;
use floodgate_schemas::{EventType, Timestamp};

use super::check::Check;
use crate::roles::{clock, open_strategy};
use crate::settings::{Settings, told};
use crate::{clear, owners, registry, traces};

pub(super) fn configuration(settings: &Settings) -> Check {
    let mut check = Check::of("configuration", "");
    for warning in &settings.warnings {
        check.told(warning, "let nobody but its owner write to it");
    }
    for warning in &settings.idle {
        check.told(warning, "take it out, or set what it needs");
    }
    if let Ok(strategy) = open_strategy(settings) {
        let warnings = clear::warnings(settings, &*strategy);
        warnings.into_iter().for_each(|warning| check.told(warning, "or keep others off the way"));
        if let Ok(store) = floodgate_store::open(&settings.store) {
            let warnings = owners::warnings(settings, &*strategy, &*store);
            warnings.into_iter().for_each(|warning| check.told(warning, "or keep others out of its folder"));
        }
    }
    let mut from: Vec<_> = settings.origins.values().collect();
    from.sort();
    from.dedup();
    match from.is_empty() {
        true => check.well("nothing but defaults"),
        false => {
            check.well(format!("from {} (`floodgate config --origins` tells of each value)", listed(&from)))
        }
    }
    check
}

/// The first of them, and how many there are.
fn listed(names: &[&String]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<_> = names.iter().take(SHOWN).map(|name| name.escape_debug().to_string()).collect();
    match names.len() {
        all if all > SHOWN => format!("{} and {} more", shown.join(", "), all - SHOWN),
        _ => shown.join(", "),
    }
}

pub(super) fn log(settings: &Settings) -> Check {
    let mut check = Check::of("log", "");
    match logs::check(&settings.log) {
        Ok(()) => check.well(format!("level {}", settings.log.level)),
        Err(error) => check.wrong(error, "set log.level to info, or to what is to be read"),
    }
    check
}

/// `None` without TLS for clients.
pub(super) fn certificates(files: &TlsConfig, now: Timestamp) -> Option<Check> {
    if !files.is_on() {
        return None;
    }
    let mut check = Check::of("certificate", files.cert_file.display().to_string());
    match files.check() {
        Err(error) => {
            check.wrong(error, "let http.tls name a certificate and its key, in PEM, that this user may read")
        }
        Ok(None) => check.well("expires at an unknown time"),
        Ok(Some(validity)) => match validity.trouble(now) {
            Some(trouble) => check.away(trouble, "put one in its place that is good now, and send SIGHUP"),
            None => check.well(format!("expires {}", validity.until)),
        },
    }
    Some(check)
}

/// Whoever signs clients' tokens, or their keys; `None` where clients do not say who they are.
pub(super) async fn issuer(settings: &Settings) -> Option<Check> {
    const MEND: &str = "mend [auth]";
    let mut check = Check::of("clients' keys", settings.auth.jwt.place());
    let metrics = match Metrics::new() {
        Ok(metrics) => metrics,
        Err(error) => {
            check.away(error, MEND);
            return Some(check);
        }
    };
    let admission = Admission::open(&settings.auth, &settings.rate_limit, &metrics.http, clock());
    let admission = match admission {
        Ok(admission) => admission,
        Err(problems) => {
            check.wrong(told(&problems), MEND);
            return Some(check);
        }
    };
    match admission.ask_issuer().await? {
        Ok(keys) => check.well(format!("{keys} of use")),
        Err(why) => check.away(
            why,
            "look whether auth.jwt names where the issuer's keys are served, and whether it can be reached",
        ),
    }
    Some(check)
}

/// `None` where there is no registry.
pub(super) async fn registry(settings: &Settings) -> Option<Check> {
    if !settings.schema_registry.is_on() {
        return None;
    }
    let mut check = Check::of("schema registry", settings.schema_registry.url.clone());
    let opened = async {
        let strategy = open_strategy(settings).ok()?;
        let store = floodgate_store::open(&settings.store).ok()?;
        let metrics = Metrics::new().ok()?;
        Some((registry::open(settings, &*strategy, &store, &metrics.schema_registry), strategy))
    };
    match opened.await {
        // which has a check of its own
        None => check.told("not looked at, as events or the database cannot be opened", "mend those first"),
        Some((Ok(Some(registry)), strategy)) => match versions(&registry, &*strategy).await {
            Ok(missing) if missing.is_empty() => check.well("has versions of every subject"),
            Ok(missing) if settings.schema_registry.register => {
                check.well(format!("an ingress will register {}", missing.join(", ")));
            }
            Ok(missing) => check.away(format!("has no {}", missing.join(", ")), "floodgate schema register"),
            Err(why) => check.away(why, "start it, or mend [schema_registry]"),
        },
        Some((Ok(None), _)) => {}
        Some((Err(exit), _)) => check.wrong(exit.reason(), "mend [schema_registry]"),
    }
    Some(check)
}

/// Subjects that have none.
async fn versions(
    registry: &floodgate_registry::Registry,
    strategy: &dyn Strategy,
) -> Result<Vec<String>, RegistryError> {
    let mut missing = Vec::new();
    for of in EventType::ALL {
        let subject = registry::subject_of(strategy, of);
        if registry.versions(&subject).await?.is_empty() {
            missing.push(subject);
        }
    }
    Ok(missing)
}

/// `None` where nothing is traced.
pub(super) async fn traces(settings: &Settings) -> Option<Check> {
    if settings.otel.endpoint.is_empty() {
        return None;
    }
    let mut check = Check::of("traces", settings.otel.endpoint.clone());
    match traces::ask(settings).await {
        Ok(()) => check.well("is taken"),
        Err(why) => {
            check.away(why, "look whether an OTLP/HTTP receiver is there, and takes what otel.headers says")
        }
    }
    Some(check)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use floodgate_testkit::{Certificates, ScratchDir};

    use super::*;
    use crate::checks::check::Weight;

    #[test]
    fn a_certificate_is_told_with_its_end() {
        let folder = ScratchDir::new("checks").unwrap();
        let made = Certificates::make(folder.path()).unwrap();
        let files = TlsConfig { cert_file: made.certificate, key_file: made.key };
        let now = clock().now();
        let looked = |days: i64| {
            let later = now.as_micros() + days * 86_400_000_000;
            let check = certificates(&files, Timestamp::from_micros(later).unwrap()).unwrap();
            (check.weight(), check.findings[0].why.clone())
        };
        let (weight, why) = looked(1);
        assert!(weight == Weight::Well && why.starts_with("expires 2"), "{why}");
        let (weight, why) = looked(3);
        assert!(weight == Weight::Away && why.starts_with("expired 2"), "{why}");
        let (weight, why) = looked(-1);
        assert!(weight == Weight::Away && why.starts_with("is not good before 2"), "{why}");
        assert!(certificates(&TlsConfig::default(), now).is_none());
    }
}
