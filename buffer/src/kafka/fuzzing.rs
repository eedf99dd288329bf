//! Checksums of records, for those who try all kinds of them.

use super::checksum;
use crate::{Header, Record};

/// The header of a record's checksum: its name and value.
pub fn checksum(record: &Record<'_>) -> (&'static [u8], [u8; 8]) {
    (checksum::NAME.as_bytes(), checksum::of(record))
}

/// Takes the checksum out of a record's headers. `Err` says what is wrong with the record.
pub fn take_checksum(
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: &mut Vec<Header<'_>>,
) -> Result<(), String> {
    checksum::take(key, value, headers)
}
