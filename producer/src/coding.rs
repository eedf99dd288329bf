//! What compressed bodies are written in: gzip (RFC 1952) and zstd (RFC 8878).
//!
//! Both are read to the end of the body: members of gzip and frames of zstd, its *parts*, may follow each other, and what is
//! neither is an error. A decoder is handed what has come so far, and gives what it can make of it. Each part is begun anew,
//! which is work even where nothing is in it: so they are counted, and told one by one. What blocks cost within a part is up to
//! the libraries.

use std::io::{self, BufRead, ErrorKind, Read};

use bytes::{Buf, BytesMut};
use flate2::bufread::GzDecoder;
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

    /// What its parts are.
    pub(crate) const fn parts(self) -> &'static str {
        match self {
            Self::Gzip => "members of gzip",
            Self::Zstd => "frames of zstd",
        }
    }
}

/// What has come of a body and was not read yet. However small the pieces are in which it came, it takes no more than it is.
#[derive(Default)]
pub(crate) struct Waiting {
    pub(crate) bytes: BytesMut,
    /// Nothing more comes.
    pub(crate) is_whole: bool,
}

/// [`ErrorKind::WouldBlock`] while there may be more.
impl BufRead for Waiting {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.bytes.is_empty() && !self.is_whole {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(&self.bytes)
    }

    fn consume(&mut self, bytes: usize) {
        self.bytes.advance(bytes);
    }
}

impl Read for Waiting {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?.read(into)?;
        self.consume(bytes);
        Ok(bytes)
    }
}

/// Reads a body of one coding.
pub(crate) struct Decoder {
    format: Format,
    /// Parts that have begun.
    parts: usize,
    /// The next byte begins one.
    is_between: bool,
}

enum Format {
    Gzip(Box<GzDecoder<Waiting>>),
    Zstd(Frame),
}

/// A frame of zstd.
struct Frame {
    waiting: Waiting,
    context: DCtx<'static>,
    /// All of it was read.
    is_over: bool,
}

/// Parts of one body. Who writes them one after another, as logs do that are appended to, has many events in each, and a body has ten
/// thousand; of parts with next to nothing in them it would have hundreds of thousands.
pub(crate) const PARTS_MAX: usize = 1000;

/// What a decoder of gzip takes: 32 KiB that are looked back on, its tables, and a field of the header of 64 KiB that is made
/// before it has come. What else it keeps of a header is no more than has come.
const GZIP_BYTES: usize = 128 << 10;

/// 8 MiB, which all decoders have to take and no sender may exceed over HTTP (RFC 9659). A frame says itself how much memory
/// it wants.
const WINDOW_LOG_MAX: u32 = 23;

impl Decoder {
    /// # Errors
    /// When there is no memory for it.
    pub(crate) fn new(coding: Coding) -> io::Result<Self> {
        let format = match coding {
            Coding::Gzip => Format::Gzip(Box::new(GzDecoder::new(Waiting::default()))),
            Coding::Zstd => Format::Zstd(Frame::new()?),
        };
        Ok(Self { format, parts: 0, is_between: true })
    }

    pub(crate) fn waiting(&mut self) -> &mut Waiting {
        match &mut self.format {
            Format::Gzip(member) => member.get_mut(),
            Format::Zstd(frame) => &mut frame.waiting,
        }
    }

    /// How many parts have begun.
    pub(crate) fn parts(&self) -> usize {
        self.parts
    }

    /// The memory that it takes itself.
    pub(crate) fn memory_bytes(&self) -> usize {
        match &self.format {
            Format::Gzip(_) => GZIP_BYTES,
            Format::Zstd(frame) => frame.context.sizeof(),
        }
    }

    /// How many bytes it has read: none at the end of a part. `None` at the end of the body.
    ///
    /// # Errors
    /// [`ErrorKind::WouldBlock`] when there is nothing to read before more comes, [`ErrorKind::UnexpectedEof`] when the body ends in
    /// the middle, [`ErrorKind::QuotaExceeded`] when it has too many parts.
    pub(crate) fn read(&mut self, into: &mut [u8]) -> io::Result<Option<usize>> {
        if self.is_between {
            if self.waiting().fill_buf()?.is_empty() {
                return Ok(None);
            }
            self.begin()?;
        }
        let read = match &mut self.format {
            Format::Gzip(member) => member.read(into)?,
            Format::Zstd(frame) => frame.read(into)?,
        };
        self.is_between = read == 0;
        Ok(Some(read))
    }

    /// The next byte begins a part.
    fn begin(&mut self) -> io::Result<()> {
        if self.parts == PARTS_MAX {
            return Err(ErrorKind::QuotaExceeded.into());
        }
        match &mut self.format {
            Format::Gzip(_) if self.parts == 0 => {}
            Format::Gzip(member) => {
                let waiting = std::mem::take(member.get_mut());
                member.reset(waiting);
            }
            Format::Zstd(frame) => frame.begin()?,
        }
        self.parts += 1;
        self.is_between = false;
        Ok(())
    }
}

impl Frame {
    fn new() -> io::Result<Self> {
        let mut context = DCtx::try_create().ok_or(ErrorKind::OutOfMemory)?;
        context.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX)).map_err(zstd_error)?;
        Ok(Self { waiting: Waiting::default(), context, is_over: true })
    }

    /// The next byte begins one, or one that is passed over. The library also reads what was written before the format was settled,
    /// and of that no window is too large for it.
    fn begin(&mut self) -> io::Result<()> {
        if !matches!(self.waiting.fill_buf()?.first(), Some(0x28 | 0x50..=0x5f)) {
            return Err(io::Error::new(ErrorKind::InvalidData, "what follows is no frame"));
        }
        self.is_over = false;
        Ok(())
    }

    /// How many bytes it has read: none at its end.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while !self.is_over {
            let input = self.waiting.fill_buf()?;
            let is_cut_off = input.is_empty();
            let (mut from, mut to) = (InBuffer::around(input), OutBuffer::around(&mut *into));
            let awaited = self.context.decompress_stream(&mut to, &mut from).map_err(zstd_error)?;
            let (consumed, written) = (from.pos(), to.pos());
            self.waiting.consume(consumed);
            self.is_over = awaited == 0;
            match written {
                0 if is_cut_off && !self.is_over => return Err(ErrorKind::UnexpectedEof.into()),
                0 => {}
                written => return Ok(written),
            }
        }
        Ok(0)
    }
}

fn zstd_error(code: usize) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, zstd_safe::get_error_name(code))
}
