//! What is asked of the registry, and its answers sorted by what the caller can do.

use std::time::Duration;

use floodgate_observe::{RegistryMetrics, with_causes};
use floodgate_schemas::codec::with_references;
use reqwest::redirect::Policy;
use schema_registry_converter::async_impl::schema_registry::{
    SrSettings, get_all_versions, get_referenced_schema, get_schema_by_id, get_schema_by_subject_and_version,
    is_compatible_schema, perform_sr_call, post_schema,
};
use schema_registry_converter::error::SRCError;
use schema_registry_converter::schema_registry_common::{
    RawError, RegisteredSchema, SchemaType, SrCall, SuppliedSchema,
};
use secrecy::ExposeSecret;

use crate::config::RegistryConfig;

/// Why the registry did not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// It has no such schema or subject: it may be told of it later.
    #[error("{0}")]
    NotFound(String),
    /// It refuses, and will until somebody changes something: a schema that is not compatible, a password.
    #[error("{0}")]
    Refused(String),
    /// What it has is no Avro schema that could be looked at.
    #[error("{0}")]
    Unusable(String),
    /// It is away, slow, or in trouble: passes.
    #[error("{0}")]
    Unavailable(String),
}

/// The configuration allows no client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("schema_registry: {0}")]
pub struct OpenError(String);

/// A version of a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// From 1, within the subject.
    pub version: u32,
    /// What stands in front of values.
    pub id: u32,
    /// The schema's text.
    pub schema: String,
}

/// How many others a schema may refer to, by way of others included.
const REFERENCES_MAX: usize = 64;

/// Asks the registry. Every request ends within `timeout_ms` for each of its addresses.
#[derive(Debug)]
pub(crate) struct Client {
    /// By address: the library would take an answer that it does not like for none, and tell the last address' error.
    addresses: Vec<(String, SrSettings)>,
    metrics: RegistryMetrics,
}

impl Client {
    /// Touches no network.
    pub(crate) fn open(config: &RegistryConfig, metrics: RegistryMetrics) -> Result<Self, OpenError> {
        // another one may have been chosen, which is as good
        let _ = rustls::crypto::ring::default_provider().install_default();
        let open = |url: reqwest::Url| {
            let http = reqwest::Client::builder().redirect(Policy::none());
            // machines without certificates can do without TLS
            let http = if url.scheme() == "http" { http.tls_certs_only([]) } else { http };
            let place = url.as_str().trim_end_matches('/').to_owned();
            let mut builder = SrSettings::new_builder(place.clone());
            builder.set_timeout(Duration::from_millis(config.timeout_ms));
            if !config.username.is_empty() {
                builder.set_basic_authorization(&config.username, Some(config.password.expose_secret()));
            }
            let settings = builder.build_with(http).map_err(|error| OpenError(error.to_string()))?;
            Ok((place, settings))
        };
        let addresses =
            config.urls().map_err(OpenError)?.into_iter().map(open).collect::<Result<Vec<_>, _>>()?;
        match addresses.is_empty() {
            true => Err(OpenError("url is empty".to_owned())),
            false => Ok(Self { addresses, metrics }),
        }
    }

    /// The schema of a number.
    pub(crate) async fn schema(&self, id: u32) -> Result<String, RegistryError> {
        let found =
            self.ask("schema", |settings| async move { get_schema_by_id(id, &settings).await }).await?;
        match &found.schema_type {
            SchemaType::Avro => self.whole(found).await,
            other => Err(RegistryError::Unusable(format!("schema {id} is none of Avro's, but {other:?}"))),
        }
    }

    /// A schema with those it refers to, and those that they refer to.
    async fn whole(&self, schema: RegisteredSchema) -> Result<String, RegistryError> {
        let mut left = schema.references;
        let mut found: Vec<(String, String)> = Vec::new();
        while let Some(reference) = left.pop() {
            if found.iter().any(|(name, _)| *name == reference.name) {
                continue;
            }
            if found.len() >= REFERENCES_MAX {
                return Err(RegistryError::Unusable(format!(
                    "a schema that refers to more than {REFERENCES_MAX}"
                )));
            }
            let get = |settings: SrSettings| {
                let reference = reference.clone();
                async move { get_referenced_schema(&settings, &reference).await }
            };
            let other = self.ask("reference", get).await?;
            left.extend(other.references);
            found.push((reference.name, other.schema));
        }
        with_references(&schema.schema, &found).map_err(|error| {
            RegistryError::Unusable(format!("a schema that cannot be put together: {error}"))
        })
    }

    /// Makes a schema the subject's next version, unless it is one of them, and gives its number.
    pub(crate) async fn register(&self, subject: &str, schema: &str) -> Result<u32, RegistryError> {
        let post = |settings: SrSettings| async move {
            post_schema(&settings, subject.to_owned(), avro(schema)).await
        };
        self.ask("register", post).await.map(|registered| registered.id)
    }

    /// The number of a schema that is one of a subject's versions.
    pub(crate) async fn look_up(&self, subject: &str, schema: &str) -> Result<u32, RegistryError> {
        let body = serde_json::json!({ "schema": schema, "schemaType": "AVRO" }).to_string();
        let call = SrCall::PostForVersion(subject, &body);
        let find = |settings: SrSettings| async move { perform_sr_call(&settings, call).await };
        let found = self.ask("look-up", find).await?;
        found
            .id
            .ok_or_else(|| RegistryError::Unavailable("the schema registry answers without an id".to_owned()))
    }

    /// All versions of a subject, the first first; none where there is no such subject.
    pub(crate) async fn versions(&self, subject: &str) -> Result<Vec<Version>, RegistryError> {
        let list =
            |settings: SrSettings| async move { get_all_versions(&settings, subject.to_owned()).await };
        let mut numbers = match self.ask("versions", list).await {
            Err(RegistryError::NotFound(_)) => return Ok(Vec::new()),
            numbers => numbers?,
        };
        numbers.sort_unstable();
        let mut versions = Vec::with_capacity(numbers.len());
        for version in numbers {
            let get = |settings: SrSettings| async move {
                get_schema_by_subject_and_version(&settings, subject, Some(version)).await
            };
            let found = self.ask("version", get).await?;
            versions.push(Version { version, id: found.id, schema: self.whole(found).await? });
        }
        Ok(versions)
    }

    /// Whether the registry would take a schema as the subject's next version, by the rule that it has for it. It takes any as
    /// the first.
    pub(crate) async fn would_take(&self, subject: &str, schema: &str) -> Result<bool, RegistryError> {
        let asked = |settings: SrSettings| async move {
            is_compatible_schema(&settings, subject.to_owned(), avro(schema)).await
        };
        match self.ask("compatibility", asked).await {
            Err(RegistryError::NotFound(_)) => Ok(true),
            asked => asked,
        }
    }

    /// One address after the other, until one answers; what it says counts, whatever it is.
    async fn ask<T, F>(&self, call: &str, ask: impl Fn(SrSettings) -> F) -> Result<T, RegistryError>
    where
        F: Future<Output = Result<T, SRCError>>,
    {
        let mut unavailable = Vec::new();
        for (place, settings) in &self.addresses {
            let answer = ask(settings.clone()).await.map_err(|error| sorted(&error, place));
            let outcome = match &answer {
                Ok(_) => "ok",
                Err(RegistryError::NotFound(_)) => "not-found",
                Err(RegistryError::Refused(_) | RegistryError::Unusable(_)) => "refused",
                Err(RegistryError::Unavailable(_)) => "unavailable",
            };
            self.metrics.requests.with_label_values(&[call, outcome]).inc();
            match answer {
                Err(RegistryError::Unavailable(why)) => unavailable.push(why),
                answer => return answer,
            }
        }
        Err(RegistryError::Unavailable(unavailable.join("; ")))
    }
}

fn avro(schema: &str) -> SuppliedSchema {
    SuppliedSchema::new(None, SchemaType::Avro, schema.to_owned())
}

/// The library tells the status in its words only, and what the registry said as the error's source.
fn sorted(error: &SRCError, place: &str) -> RegistryError {
    let status =
        error.error.split_once(" status ").and_then(|(_, status)| status.get(..3)?.parse::<u16>().ok());
    let said = std::error::Error::source(error).and_then(|source| source.downcast_ref::<RawError>());
    let why = match (status, said) {
        (Some(status), Some(said)) if said.error_code != 0 => {
            let words: String = said.message.chars().filter(|c| !c.is_control()).take(300).collect();
            format!("the schema registry at {place} says {status}: {words}")
        }
        (Some(status), _) => format!("the schema registry at {place} says {status}"),
        (None, _) => {
            let cause = std::error::Error::source(error).map_or_else(|| error.error.clone(), with_causes);
            format!("the schema registry at {place}: {cause}")
        }
    };
    match status {
        Some(404) => RegistryError::NotFound(why),
        // what is asked for too often, or not in time, passes
        Some(status @ 400..=499) if ![408, 425, 429].contains(&status) => RegistryError::Refused(why),
        _ => RegistryError::Unavailable(why),
    }
}
