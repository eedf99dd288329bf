//! Being told how far a check is.

/// Is told how far a check is.
pub trait Watch: Send + Sync {
    /// A stretch of work begins: this many offsets, 0 where that is not known.
    fn begins(&self, what: &str, offsets: u64);

    /// So many of them are done.
    fn goes_on(&self, offsets: u64);
}
