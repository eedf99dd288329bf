//! Who asks: lines of which those behind `F` are `X-Forwarded-For` and those behind `A` are `Authorization`, as a client of a proxy
//! or of nobody sends them.

use std::net::IpAddr;

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use floodgate_producer::fuzzing::{bearer, client};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

pub fn run(bytes: &[u8]) {
    let (mut headers, mut forwarded, mut authorizations) = (HeaderMap::new(), Vec::new(), Vec::new());
    for line in bytes.split(|byte| *byte == b'\n') {
        let Some((kind, value)) = line.split_first() else { continue };
        let Ok(header) = HeaderValue::from_bytes(value.trim_ascii()) else { continue };
        match kind {
            b'F' => {
                forwarded.push(value);
                headers.append(FORWARDED_FOR, header);
            }
            b'A' => {
                authorizations.push(value);
                headers.append(AUTHORIZATION, header);
            }
            _ => {}
        }
    }
    let [proxy, other]: [IpAddr; 2] = [[10, 0, 0, 1].into(), [203, 0, 113, 9].into()];
    let trusted = ["10.0.0.0/8", "fd00::/8"].map(|net| net.parse().expect("is a net"));
    assert_eq!(client(&trusted, other, &headers), other, "nobody believes it");
    let found = client(&trusted, proxy, &headers);
    if found != proxy {
        let told = |line: &&[u8]| {
            let text = String::from_utf8_lossy(line).into_owned();
            text.split(',').any(|part| mentions(part.trim(), found))
        };
        assert!(forwarded.iter().any(told), "{found} was never said");
    }
    if let Some(token) = bearer(&headers) {
        assert_eq!(authorizations.len(), 1);
        assert!(!token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()));
        assert!(authorizations[0].trim_ascii().ends_with(token.as_bytes()));
    }
}

/// Whether the text is an address, perhaps in brackets, perhaps with a port.
fn mentions(text: &str, address: IpAddr) -> bool {
    let bare = text.trim_start_matches('[');
    (0..=bare.len())
        .filter_map(|end| bare.get(..end))
        .any(|part| part.parse::<IpAddr>().is_ok_and(|found| found.to_canonical() == address))
}
