//! The topics on the cluster: [`create()`] makes those that are missing, [`describe()`] looks at all of them, and [`promises`]
//! says what is wrong with what it finds.

mod create;
mod describe;
mod promises;

use rdkafka::admin::AdminClient;

use super::cause::Asking;
use super::client::ClientSettings;
use crate::TopicsError;

pub(super) use create::create;
pub(super) use describe::{describe, is_compacted};

fn connect(settings: &ClientSettings) -> Result<AdminClient<Asking>, TopicsError> {
    let (config, context) = settings.asking();
    config.create_with_context(context).map_err(|error| TopicsError(format!("no Kafka client: {error}")))
}
