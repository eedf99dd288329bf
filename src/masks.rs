//! What is shown of the configuration in the place of secrets, and that nobody takes it for one.

use floodgate_config::mask::{self, MASK};
use floodgate_config::{find, leaves};
use floodgate_producer::AuthConfig;
use toml::{Table, Value};

use crate::layers::Layers;

/// Keys of sections that are secrets as a whole.
const SECRETS: [&str; 3] = ["otel.headers", "schema_registry.password", "admin.token"];

/// The configuration, for printing.
pub(crate) fn masked(mut table: Table, store: &floodgate_store::Config, auth: &AuthConfig) -> Table {
    for key in SECRETS {
        if let Some(Value::String(secret)) = find(&mut table, key)
            && !secret.is_empty()
        {
            *secret = MASK.to_owned();
        }
    }
    for (key, shown) in [("store.url", store.masked_url()), ("auth.jwt.jwks_url", auth.jwt.shown_url())] {
        if let Some(url) = find(&mut table, key) {
            *url = Value::String(shown);
        }
    }
    floodgate_buffer::mask(&mut table);
    // what stands where no secret belongs
    table.iter_mut().for_each(|(_, section)| mask::hide(section));
    table
}

/// Masks where secrets should be: somebody keeps what `floodgate config` printed, and the servers would be asked by a password that is
/// none.
pub(crate) fn problems(layers: &Layers) -> Vec<String> {
    let mut told = Vec::new();
    leaves(&layers.table, "", &mut |key, value| {
        if let Some(origin) = layers.origins.get(key)
            && value.as_str().is_some_and(mask::is_mask)
        {
            told.push(format!(
                "{origin}: `{key}` holds {MASK}, which is the mask of `floodgate config` and no secret: put the secret there"
            ));
        }
    });
    told
}
