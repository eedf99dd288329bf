//! Reads one partition ahead of those who look its events up, on a thread of its own.

use std::ops::Range;

use floodgate_buffer::{Chunk, Decoded, Log, Offset, PartitionReader, Piece};
use floodgate_schemas::{Codecs, Event};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::error::VerifyError;

/// Records that are read, and looked up, at a time.
pub(crate) const CHUNK_EVENTS: usize = 5000;
/// Chunks that wait to be looked up.
pub(crate) const CHUNKS_AHEAD: usize = 2;

/// What [`Piece`] is, decoded. They come in order and without a gap.
pub(crate) enum DecodedPiece<E> {
    Records(Chunk, Decoded<E>),
    Gone(Offset),
    Damaged(Range<Offset>, String),
}

impl<E: Event> DecodedPiece<E> {
    fn of(piece: Piece, codecs: &Codecs) -> Self {
        match piece {
            Piece::Records(chunk) => {
                Handle::current().block_on(codecs.prepare(chunk.batch.values()));
                let decoded = Decoded::of(&chunk.batch, codecs);
                Self::Records(chunk, decoded)
            }
            Piece::Gone(left) => Self::Gone(left),
            Piece::Damaged(range, reason) => Self::Damaged(range, reason),
        }
    }
}

/// Reads all that the reader has, until it ends, fails, or nobody listens any more. Blocks.
pub(crate) fn read<E: Event>(
    log: &mut dyn Log,
    mut reader: PartitionReader,
    codecs: &Codecs,
    pieces: &mpsc::Sender<Result<DecodedPiece<E>, VerifyError>>,
) {
    while let Some(piece) = reader.next(log).transpose() {
        let piece = piece.map(|piece| DecodedPiece::of(piece, codecs)).map_err(VerifyError::from);
        let goes_on = piece.is_ok();
        if pieces.blocking_send(piece).is_err() || !goes_on {
            return;
        }
    }
}
