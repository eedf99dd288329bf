//! Requests that two readers may take for different ones, and how many requests we take each for.

/// What is sent on one connection, and the answers that it gets: as many as there were requests. Behind each stands another
/// request, after which the connection closes.
pub struct Case {
    pub name: &'static str,
    pub bytes: Vec<u8>,
    pub answers: &'static [u16],
}

/// The request behind each case. It is answered where the case left no doubt where it begins.
pub const NEXT: &str = "GET /next HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

/// What must never be taken for a request: it stands where only one of two readers sees one.
const HIDDEN: &str = "PUT /api/v6/characters/hidden/likes/l HTTP/1.1\r\nhost: x\r\n\r\n";

/// One request, and then the next.
const ONE: &[u16] = &[202, 404];
/// One request, and the connection closes behind it.
const ONE_AND_CLOSED: &[u16] = &[202];
/// Refused, and the connection closes.
const REFUSED: &[u16] = &[400];
/// Refused for what it announces, and the connection closes.
const TOO_LARGE: &[u16] = &[413];
/// So much that the library itself refuses it.
const TOO_LARGE_TO_COUNT: &[u16] = &[431];
/// No request at all: the connection closes without a word.
const NOTHING: &[u16] = &[];

const LINE: &str = "PUT /api/v6/characters/t/likes/l HTTP/1.1\r\n";
const TYPE: &str = "content-type: application/json\r\n";

/// A like with these fields, and what stands behind its head.
fn like(fields: &str, rest: &str) -> Vec<u8> {
    format!("{LINE}host: x\r\n{TYPE}{fields}\r\n{rest}").into_bytes()
}

/// One whose body is `{}`, by length.
fn sized(fields: &str) -> Vec<u8> {
    like(fields, "{}")
}

/// One whose body is in chunks.
fn chunked(chunks: &str) -> Vec<u8> {
    like("transfer-encoding: chunked\r\n", chunks)
}

/// Whole heads, without a body.
fn head(head: &str) -> Vec<u8> {
    head.as_bytes().to_vec()
}

pub fn corpus() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut case = |name, bytes, answers| cases.push(Case { name, bytes, answers });
    lengths(&mut case);
    codings(&mut case);
    chunks(&mut case);
    lines(&mut case);
    hosts(&mut case);
    upgrades(&mut case);
    cases
}

type Add<'a> = &'a mut dyn FnMut(&'static str, Vec<u8>, &'static [u16]);

fn lengths(case: Add<'_>) {
    case("a plain one", sized("content-length: 2\r\n"), ONE);
    case("none", like("", ""), ONE);
    case("the same length twice", sized("content-length: 2\r\ncontent-length: 2\r\n"), ONE);
    case("two lengths", sized("content-length: 2\r\ncontent-length: 3\r\n"), REFUSED);
    case("two lengths, the first none", sized("content-length: 0\r\ncontent-length: 2\r\n"), REFUSED);
    case("lengths in a list", sized("content-length: 2, 2\r\n"), REFUSED);
    case("a length with a plus", sized("content-length: +2\r\n"), REFUSED);
    case("a negative length", sized("content-length: -2\r\n"), REFUSED);
    case("a hexadecimal length", sized("content-length: 0x2\r\n"), REFUSED);
    case("a length with a fraction", sized("content-length: 2.0\r\n"), REFUSED);
    case("a length with a blank in it", sized("content-length: 2 2\r\n"), REFUSED);
    case("an empty length", sized("content-length: \r\n"), REFUSED);
    case("a length with blanks around it", sized("content-length: \t 2 \t\r\n"), ONE);
    case("a length with zeroes before it", sized("content-length: 0002\r\n"), ONE);
    case("a huge length", sized("content-length: 9223372036854775807\r\n"), TOO_LARGE);
    case("the largest length", sized("content-length: 18446744073709551615\r\n"), TOO_LARGE_TO_COUNT);
    case("a length beyond all", sized("content-length: 99999999999999999999\r\n"), REFUSED);
    case("a blank before the colon", sized("content-length : 2\r\n"), REFUSED);
    case(
        "another request as a body",
        like(&format!("content-length: {}\r\n", HIDDEN.len()), HIDDEN),
        REFUSED_BODY,
    );
}

/// A body that is no JSON is refused as a body, and the connection goes on behind it.
const REFUSED_BODY: &[u16] = &[400, 404];

fn codings(case: Add<'_>) {
    let whole = "2\r\n{}\r\n0\r\n\r\n";
    let both = format!("{whole}{HIDDEN}");
    let length = format!("content-length: {}\r\n", both.len());
    let coding = "transfer-encoding: chunked\r\n";
    // the coding counts, and whoever counted the length is not asked to go on (RFC 9112, section 6.3)
    case("a length and chunks", like(&format!("{length}{coding}"), &both), ONE_AND_CLOSED);
    case("chunks and a length", like(&format!("{coding}{length}"), &both), ONE_AND_CLOSED);
    case(
        "a length shorter than its chunks",
        like(&format!("content-length: 4\r\n{coding}"), &both),
        ONE_AND_CLOSED,
    );
    case("a length, and chunks that are none", sized(&format!("content-length: 2\r\n{coding}")), REFUSED);
    case("chunks", chunked(whole), ONE);
    case("chunks in capitals", like("Transfer-Encoding: CHUNKED\r\n", whole), ONE);
    case("chunks twice", like(&format!("{coding}{coding}"), whole), REFUSED);
    for (name, value) in [
        ("a coding that is none", "xchunked"),
        ("no coding", "identity"),
        ("chunks, and then none", "chunked, identity"),
        ("none, and then chunks", "identity, chunked"),
        ("chunks of chunks", "chunked, chunked"),
        ("compressed chunks", "gzip, chunked"),
        ("quoted chunks", "\"chunked\""),
        ("chunks with a parameter", "chunked;q=1"),
        ("chunks in a list", ",chunked"),
        ("chunks behind a vertical tab", "\u{b}chunked"),
        ("chunks before one", "chunked\u{b}"),
        ("an empty coding", ""),
    ] {
        let fields = format!("transfer-encoding: {value}\r\ncontent-length: 2\r\n");
        case(name, like(&fields, whole), REFUSED);
    }
    case(
        "a blank before the coding's colon",
        like("transfer-encoding : chunked\r\ncontent-length: 2\r\n", whole),
        REFUSED,
    );
    case("a coding folded", like("transfer-encoding:\r\n chunked\r\n", whole), REFUSED);
    case("a coding in a folded line", like("x: y\r\n transfer-encoding: chunked\r\n", whole), REFUSED);
    case("a coding of another name", sized("transfer_encoding: chunked\r\ncontent-length: 2\r\n"), ONE);
    let old = format!("PUT /api/v6/characters/t/likes/l HTTP/1.0\r\nhost: x\r\n{TYPE}{coding}\r\n{whole}");
    case("chunks of HTTP/1.0", head(&old), REFUSED);
}

fn chunks(case: Add<'_>) {
    case("an extension", chunked("2;name=value\r\n{}\r\n0\r\n\r\n"), ONE);
    case("a quoted extension", chunked("2;name=\"va;lue\"\r\n{}\r\n0\r\n\r\n"), ONE);
    case("an extension with a bare line feed", chunked("2;x\n{}\r\n0\r\n\r\n"), REFUSED);
    case("a size that ends with a bare line feed", chunked("2\n{}\r\n0\r\n\r\n"), REFUSED);
    case("a size with a plus", chunked("+2\r\n{}\r\n0\r\n\r\n"), REFUSED);
    case("a negative size", chunked("-2\r\n{}\r\n0\r\n\r\n"), REFUSED);
    case("a size with a prefix", chunked("0x2\r\n{}\r\n0\r\n\r\n"), REFUSED);
    case("a size that is no number", chunked("2g\r\n{}\r\n0\r\n\r\n"), REFUSED);
    case("no size", chunked("\r\n{}\r\n0\r\n\r\n"), REFUSED);
    case("a size beyond all", chunked("10000000000000002\r\n{}\r\n0\r\n\r\n"), REFUSED);
    case("a size that is too small", chunked("1\r\n{}\r\n0\r\n\r\n"), REFUSED);
    case("a chunk without its end", chunked("2\r\n{}0\r\n\r\n"), REFUSED);
    case("a chunk that ends with a bare line feed", chunked("2\r\n{}\n0\r\n\r\n"), REFUSED);
    case("trailers", chunked("2\r\n{}\r\n0\r\nx-after: y\r\ncontent-length: 9\r\n\r\n"), ONE_AND_CLOSED);
    let hides = format!("2\r\n{{}}\r\n0\r\nx-after: y\n\n{HIDDEN}");
    case("trailers that end with bare line feeds", chunked(&hides), ONE_AND_CLOSED);
    case("trailers that are none", chunked("2\r\n{}\r\n0\r\nno field\r\n\r\n"), REFUSED);
}

fn lines(case: Add<'_>) {
    // a bare line feed may end a line of a head (RFC 9112, section 2.2): not all readers let it
    case("bare line feeds", head("PUT /api/v6/characters/t/likes/l HTTP/1.1\nhost: x\n\n"), REFUSED);
    case("a bare line feed", head(&format!("{LINE}host: x\nx: y\r\n\r\n")), REFUSED);
    case("an empty line that is a bare line feed", head(&format!("{LINE}host: x\r\n\n")), REFUSED);
    case("a bare line feed before it", [b"\n".to_vec(), like("", "")].concat(), REFUSED);
    // what stands behind it is not looked at
    let bare = "PUT /api/v6/characters/hidden/likes/l HTTP/1.1\r\nhost: x\n\r\n";
    case("bare line feeds in one piece with another", like("", bare), ONE_AND_CLOSED);
    case(
        "bare line feeds behind a body",
        like("content-length: 2\r\n", &format!("{{}}{bare}")),
        ONE_AND_CLOSED,
    );
    case("a body with lines", like("content-length: 4\r\n", "{\n}\n"), ONE);
    case("a bare carriage return in a value", like("x: y\rcontent-length: 9\r\n", ""), REFUSED);
    case("a bare carriage return before a line's end", like("x: y\r\r\n", ""), REFUSED);
    case("a folded line", like("x: y\r\n\tz: w\r\n", ""), REFUSED);
    case("a blank before the first field", head(&format!("{LINE} host: x\r\n\r\n")), REFUSED);
    case("NUL in a value", like("x: a\0b\r\n", ""), REFUSED);
    case("NUL in a name", like("x\0: a\r\n", ""), REFUSED);
    case(
        "NUL in the target",
        head("PUT /api/v6/characters/t\0/likes/l HTTP/1.1\r\nhost: x\r\n\r\n"),
        REFUSED,
    );
    case("a line without a colon", like("no field\r\n", ""), REFUSED);
    case("a field without a name", like(": x\r\n", ""), REFUSED);
    case(
        "a blank in the target",
        head("PUT /api/v6/characters/t /likes/l HTTP/1.1\r\nhost: x\r\n\r\n"),
        REFUSED,
    );
    case("two blanks", head("PUT  /api/v6/characters/t/likes/l  HTTP/1.1\r\nhost: x\r\n\r\n"), REFUSED);
    case(
        "a tab for a blank",
        head("PUT\t/api/v6/characters/t/likes/l\tHTTP/1.1\r\nhost: x\r\n\r\n"),
        REFUSED,
    );
    case(
        "a version that there is not",
        head("PUT /api/v6/characters/t/likes/l HTTP/1.2\r\nhost: x\r\n\r\n"),
        REFUSED,
    );
    case("no version", head("PUT /api/v6/characters/t/likes/l\r\nhost: x\r\n\r\n"), REFUSED);
    case("empty lines before it", [b"\r\n\r\n".to_vec(), like("", "")].concat(), ONE);
}

fn hosts(case: Add<'_>) {
    case("no host", head(&format!("{LINE}\r\n")), REFUSED);
    case("two hosts", like("host: y\r\n", ""), REFUSED);
    case("the same host twice", like("host: x\r\n", ""), REFUSED);
    // the target counts (RFC 9112, section 3.2.2)
    let absolute = "PUT http://other/api/v6/characters/t/likes/l HTTP/1.1\r\n";
    case("an absolute target and another host", head(&format!("{absolute}host: x\r\n\r\n")), ONE);
    case("an absolute target and no host", head(&format!("{absolute}\r\n")), REFUSED);
}

fn upgrades(case: Add<'_>) {
    let h2c = "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n";
    case("an upgrade to HTTP/2", like(h2c, ""), ONE);
    case("an upgrade with a body", sized(&format!("{h2c}content-length: 2\r\n")), ONE);
    case("an upgrade to a web socket", like("connection: upgrade\r\nupgrade: websocket\r\n", ""), ONE);
    case("HTTP/2's preface with other words", head("PRI * HTTP/1.1\r\nhost: x\r\n\r\n"), NOTHING);
    case(
        "HTTP/2's preface and a request",
        [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), like("", "")].concat(),
        NOTHING,
    );
}
