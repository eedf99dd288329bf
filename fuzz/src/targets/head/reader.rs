//! Reads requests of HTTP/1.1 as RFC 9112 has them, and doubts whatever two readers may understand in two ways.
//!
//! It takes what the RFC lets a server take: empty lines before a request, a bare line feed at the end of a line of a head, and
//! blanks around values.

/// What was sent.
#[derive(Debug)]
pub struct Seen {
    /// The requests that began, in their order.
    pub heads: Vec<Head>,
    /// Why it ends there.
    pub doubt: Doubt,
    /// Whether every head ends as the library sees it in pieces: with two equal line ends. It waits for them before it looks again at
    /// a head that came in part, also at one that is none; who never sends them is let go after his time. And whether no line behind the
    /// first head ends with a line feed alone: what came with that head is then not looked at, and what comes later is.
    pub is_plain: bool,
}

/// The head of a request.
#[derive(Debug)]
pub struct Head {
    /// Where it could be read.
    pub method: Vec<u8>,
    /// Whether its body is there.
    pub is_whole: bool,
}

/// Where what was sent is not, or not yet, a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// Nowhere.
    None,
    /// In a head.
    InHead,
    /// In a body, of which the head may be answered.
    InBody,
    /// It breaks off.
    Ends,
}

/// The end of a body, or why there is none.
type Body = Result<usize, Doubt>;

pub fn read(bytes: &[u8]) -> Seen {
    let mut seen = requests(bytes);
    let is_bare = |two: &[u8]| two[0] != b'\r' && two[1] == b'\n';
    seen.is_plain &= seen.heads.len() < 2 || !bytes.windows(2).any(is_bare);
    seen
}

fn requests(mut bytes: &[u8]) -> Seen {
    let mut seen = Seen { heads: Vec::new(), doubt: Doubt::None, is_plain: true };
    loop {
        while let Some(rest) = bytes.strip_prefix(b"\r\n").or_else(|| bytes.strip_prefix(b"\n")) {
            bytes = rest;
        }
        if bytes.is_empty() {
            return seen;
        }
        let mut head = Fields::default();
        let read = head.read(bytes).and_then(|framing| Ok((framing, head.framing()?)));
        let (length, framing) = match read {
            Ok(read) => read,
            Err(doubt) => {
                seen.heads.push(Head { method: head.method, is_whole: false });
                seen.doubt = doubt;
                seen.is_plain &= ends(bytes);
                return seen;
            }
        };
        let rest = &bytes[length..];
        seen.is_plain &= ends(&bytes[..length]);
        let body = match framing {
            Framing::Length(length) if length > rest.len() as u64 => Err(Doubt::Ends),
            Framing::Length(length) => Ok(length as usize),
            Framing::Chunked => chunked(rest),
        };
        seen.heads.push(Head { method: head.method, is_whole: body.is_ok() });
        match body {
            Ok(_) if head.closes => return seen,
            Ok(length) => bytes = &rest[length..],
            Err(doubt) => {
                seen.doubt = doubt;
                return seen;
            }
        }
    }
}

fn ends(head: &[u8]) -> bool {
    head.windows(4).any(|window| window == b"\r\n\r\n") || head.windows(2).any(|window| window == b"\n\n")
}

#[derive(Default)]
struct Fields {
    method: Vec<u8>,
    is_version_0: bool,
    hosts: usize,
    lengths: Vec<Vec<u8>>,
    codings: Vec<Vec<u8>>,
    closes: bool,
}

enum Framing {
    Length(u64),
    Chunked,
}

impl Fields {
    /// Reads a head, and says how long it is.
    fn read(&mut self, bytes: &[u8]) -> Result<usize, Doubt> {
        let (first, mut at) = line(bytes)?;
        self.request_line(first)?;
        let (mut keeps, mut closes) = (false, false);
        loop {
            let (field, length) = line(&bytes[at..])?;
            at += length;
            if field.is_empty() {
                self.closes = closes || self.is_version_0 && !keeps;
                return Ok(at);
            }
            let (name, value) = self::field(field)?;
            match &*name {
                b"host" => self.hosts += 1,
                b"content-length" => self.lengths.push(value.to_vec()),
                b"transfer-encoding" => self.codings.push(value.to_vec()),
                b"connection" => {
                    let says = |word: &[u8]| {
                        value
                            .split(|byte| *byte == b',')
                            .any(|said| said.trim_ascii().eq_ignore_ascii_case(word))
                    };
                    closes |= says(b"close");
                    keeps |= says(b"keep-alive");
                }
                _ => {}
            }
        }
    }

    fn request_line(&mut self, line: &[u8]) -> Result<(), Doubt> {
        let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        let [method, target, version] = *words else { return Err(Doubt::InHead) };
        let is_target = !target.is_empty() && target.iter().all(|byte| *byte > b' ' && *byte != 0x7f);
        if method.is_empty() || !method.iter().all(is_token) || !is_target {
            return Err(Doubt::InHead);
        }
        self.method = method.to_vec();
        self.is_version_0 = version == b"HTTP/1.0";
        if self.is_version_0 || version == b"HTTP/1.1" { Ok(()) } else { Err(Doubt::InHead) }
    }

    fn framing(&mut self) -> Result<Framing, Doubt> {
        if self.hosts > 1 || self.hosts == 0 && !self.is_version_0 {
            return Err(Doubt::InHead);
        }
        if let Some(coding) = self.codings.first() {
            if self.is_version_0 || self.codings.len() > 1 || !coding.eq_ignore_ascii_case(b"chunked") {
                return Err(Doubt::InHead);
            }
            // whoever counted the length is not asked to go on
            self.closes |= !self.lengths.is_empty();
            return Ok(Framing::Chunked);
        }
        let number = |said: &Vec<u8>| -> Result<u64, Doubt> {
            let is_number = !said.is_empty() && said.iter().all(u8::is_ascii_digit);
            let text = String::from_utf8_lossy(said);
            if is_number { text.parse().map_err(|_| Doubt::InHead) } else { Err(Doubt::InHead) }
        };
        let numbers = self.lengths.iter().map(number).collect::<Result<Vec<u64>, Doubt>>()?;
        match numbers.split_first() {
            None => Ok(Framing::Length(0)),
            Some((first, rest)) if rest.iter().all(|other| other == first) => Ok(Framing::Length(*first)),
            Some(_) => Err(Doubt::InHead),
        }
    }
}

/// The name of a field, in small letters, and its value.
fn field(line: &[u8]) -> Result<(Vec<u8>, &[u8]), Doubt> {
    let colon = line.iter().position(|byte| *byte == b':').ok_or(Doubt::InHead)?;
    let (name, value) = (line[..colon].to_ascii_lowercase(), line[colon + 1..].trim_ascii());
    let is_text = |byte: &u8| *byte == b'\t' || *byte >= b' ' && *byte != 0x7f;
    if name.is_empty() || !name.iter().all(is_token) || !value.iter().all(is_text) {
        return Err(Doubt::InHead);
    }
    Ok((name, value))
}

fn is_token(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte)
}

/// A line without its end, and its length with it.
fn line(bytes: &[u8]) -> Result<(&[u8], usize), Doubt> {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return Err(Doubt::Ends) };
    let line = bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]);
    if line.contains(&b'\r') { Err(Doubt::InHead) } else { Ok((line, end + 1)) }
}

/// A body in chunks, where every line ends with both.
fn chunked(bytes: &[u8]) -> Body {
    let mut at = 0;
    let whole_line = |at: usize| -> Result<(&[u8], usize), Doubt> {
        let rest = bytes.get(at..).unwrap_or_default();
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else { return Err(Doubt::Ends) };
        let line = rest[..end].strip_suffix(b"\r").ok_or(Doubt::InBody)?;
        if line.contains(&b'\r') { Err(Doubt::InBody) } else { Ok((line, at + end + 1)) }
    };
    loop {
        let (line, after) = whole_line(at)?;
        let size = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii_end();
        let digits = String::from_utf8_lossy(size);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Doubt::InBody);
        }
        let size = u64::from_str_radix(&digits, 16).map_err(|_| Doubt::InBody)?;
        if size == 0 {
            at = after;
            break;
        }
        let end = (after as u64).checked_add(size).ok_or(Doubt::InBody)?;
        if end.saturating_add(2) > bytes.len() as u64 {
            return Err(Doubt::Ends);
        }
        let end = end as usize;
        if bytes[end..end + 2] != *b"\r\n" {
            return Err(Doubt::InBody);
        }
        at = end + 2;
    }
    loop {
        let (line, after) = whole_line(at)?;
        at = after;
        if line.is_empty() {
            return Ok(at);
        }
        field(line).map_err(|_| Doubt::InBody)?;
    }
}
