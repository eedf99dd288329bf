//! What a member is called by its cluster.

use rdkafka::client::{Client, ClientContext};
use rdkafka_sys as sys;

use super::raw::text_of;

/// The id by which the cluster's tools know this member; empty before it has joined.
pub(in crate::kafka) fn member_id<C: ClientContext>(client: &Client<C>) -> String {
    // SAFETY: the client is valid; the text is ours, and is released once.
    unsafe {
        let id = sys::rd_kafka_memberid(client.native_ptr());
        let text = text_of(id);
        if !id.is_null() {
            sys::rd_kafka_mem_free(client.native_ptr(), id.cast());
        }
        text
    }
}
