//! What compressed bodies are written in: gzip (RFC 1952) and zstd (RFC 8878).
//!
//! Both are read to the end of the body: members of gzip and frames of zstd may follow each other, and what is neither is an
//! error. A decoder is handed what has come so far, and gives what it can make of it.

use std::collections::VecDeque;
use std::io::{self, BufRead, ErrorKind, Read};

use bytes::{Buf, Bytes};
use flate2::bufread::MultiGzDecoder;
use serde_json::{Value, json};
use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer};

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    Gzip,
    Zstd,
}

impl Coding {
    /// What clients may send, as a header tells it.
    pub(crate) const ALL: &str = "gzip, zstd";

    /// What is taken, in capitals or not: `x-gzip` is gzip's name of old, and `identity` is none.
    const NAMES: [(&str, Option<Self>); 4] = [
        ("gzip", Some(Self::Gzip)),
        ("x-gzip", Some(Self::Gzip)),
        ("zstd", Some(Self::Zstd)),
        ("identity", None),
    ];

    /// What one is called.
    pub(crate) fn schema() -> Value {
        json!({ "type": "string", "enum": Self::NAMES.map(|(name, _)| name) })
    }

    /// The coding of this name, or that it is none.
    pub(crate) fn named(name: &str) -> Option<Option<Self>> {
        Self::NAMES.iter().find(|(known, _)| name.eq_ignore_ascii_case(known)).map(|(_, coding)| *coding)
    }

    /// What this is in problems.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd with a window of at most 8 MiB",
        }
    }
}

/// What has come of a body and was not read yet.
#[derive(Default)]
pub(crate) struct Pieces {
    pub(crate) waiting: VecDeque<Bytes>,
    /// Nothing more comes.
    pub(crate) is_whole: bool,
}

impl Pieces {
    /// In bytes.
    pub(crate) fn len(&self) -> usize {
        self.waiting.iter().map(Bytes::len).sum()
    }
}

/// [`ErrorKind::WouldBlock`] while there may be more.
impl BufRead for Pieces {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self.waiting.front() {
            Some(piece) => Ok(piece),
            None if self.is_whole => Ok(&[]),
            None => Err(ErrorKind::WouldBlock.into()),
        }
    }

    fn consume(&mut self, bytes: usize) {
        if let Some(piece) = self.waiting.front_mut() {
            piece.advance(bytes);
        }
        self.waiting.pop_front_if(|piece| piece.is_empty());
    }
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?.read(into)?;
        self.consume(bytes);
        Ok(bytes)
    }
}

/// Reads a body of one coding.
pub(crate) enum Decoder {
    Gzip(Box<MultiGzDecoder<Pieces>>),
    Zstd(Frames),
}

/// What a decoder of gzip takes: 32 KiB that are looked back on, its tables, and a field of the header of 64 KiB that is made
/// before it has come. What else it keeps of a header is no more than has come.
const GZIP_BYTES: usize = 128 << 10;

impl Decoder {
    /// # Errors
    /// When there is no memory for it.
    pub(crate) fn new(coding: Coding) -> io::Result<Self> {
        Ok(match coding {
            Coding::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(Pieces::default()))),
            Coding::Zstd => Self::Zstd(Frames::new()?),
        })
    }

    pub(crate) fn pieces(&mut self) -> &mut Pieces {
        match self {
            Self::Gzip(members) => members.get_mut(),
            Self::Zstd(frames) => &mut frames.pieces,
        }
    }

    /// The memory that it takes itself.
    pub(crate) fn memory_bytes(&self) -> usize {
        match self {
            Self::Gzip(_) => GZIP_BYTES,
            Self::Zstd(frames) => frames.context.sizeof(),
        }
    }
}

/// [`ErrorKind::WouldBlock`] when there is nothing to read before more comes, [`ErrorKind::UnexpectedEof`] when the body ends in
/// the middle.
impl Read for Decoder {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(members) => members.read(into),
            Self::Zstd(frames) => frames.read(into),
        }
    }
}

/// Frames of zstd, one after another.
pub(crate) struct Frames {
    pieces: Pieces,
    context: DCtx<'static>,
    /// The next byte begins one.
    is_between: bool,
}

/// 8 MiB, which all decoders have to take and no sender may exceed over HTTP (RFC 9659). A frame says itself how much memory
/// it wants.
const WINDOW_LOG_MAX: u32 = 23;

impl Frames {
    fn new() -> io::Result<Self> {
        let mut context = DCtx::try_create().ok_or(ErrorKind::OutOfMemory)?;
        context.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX)).map_err(zstd_error)?;
        Ok(Self { pieces: Pieces::default(), context, is_between: true })
    }
}

/// Whether this byte begins a frame, or one that is passed over. The library also reads what was written before the format was
/// settled, and of that no window is too large for it.
const fn begins_a_frame(byte: u8) -> bool {
    matches!(byte, 0x28 | 0x50..=0x5f)
}

fn zstd_error(code: usize) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, zstd_safe::get_error_name(code))
}

impl Read for Frames {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let input = self.pieces.fill_buf()?;
            let is_over = input.is_empty();
            match input.first() {
                None if self.is_between => return Ok(0),
                Some(byte) if self.is_between && !begins_a_frame(*byte) => {
                    return Err(io::Error::new(ErrorKind::InvalidData, "what follows is no frame"));
                }
                _ => {}
            }
            let (mut from, mut to) = (InBuffer::around(input), OutBuffer::around(&mut *into));
            let awaited = self.context.decompress_stream(&mut to, &mut from).map_err(zstd_error)?;
            let (consumed, written) = (from.pos(), to.pos());
            self.pieces.consume(consumed);
            self.is_between = awaited == 0;
            match written {
                0 if is_over && !self.is_between => return Err(ErrorKind::UnexpectedEof.into()),
                0 => {}
                written => return Ok(written),
            }
        }
    }
}
