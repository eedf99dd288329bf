//! A hundred thousand different clients in a room for as many, and for a hundredth of them: what the heap holds more than before
//! the first of them came. This is one test, as the allocator counts for all of a process.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, ensure};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderValue};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use floodgate_observe::Metrics;
use floodgate_producer::{Admission, AuthConfig, RateLimitConfig, fuzzing};
use floodgate_schemas::SystemClock;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::json;

const CLIENTS: u64 = 100_000;
/// Of those whose tokens have to be signed and verified first, which is what takes time.
const SUBJECTS: u64 = 10_000;
const SAMPLED_EVERY: u64 = 1000;
const ISSUER: &str = "https://issuer.example";
/// What the room itself takes, and what caches have not yet thrown away of those that were forgotten.
const BASE_BYTES: u64 = 2_000_000;
/// What a client takes by its address, and by a subject of 128 characters of four bytes; a token of one that was verified.
const ADDRESS_BYTES: u64 = 400;
const SUBJECT_BYTES: u64 = ADDRESS_BYTES + 550;
const TOKEN_BYTES: u64 = 500 + 550;

#[test]
fn a_hundred_thousand_clients_take_no_more_memory_than_configured() -> Result<()> {
    let issuer = Issuer::new()?;
    for room in [CLIENTS / 100, CLIENTS] {
        let address = |number| Ok(address(number));
        report("addresses", (CLIENTS, room), &Admitting::new(&auth("", 0)?, room)?, address, ADDRESS_BYTES)?;
    }
    for room in [SUBJECTS / 100, SUBJECTS] {
        let admitting = Admitting::new(&issuer.auth(0)?, room)?;
        report("subjects", (SUBJECTS, room), &admitting, |number| issuer.subject(number), SUBJECT_BYTES)?;
    }
    let admitting = Admitting::new(&issuer.auth(SUBJECTS)?, 1)?;
    let what = "tokens that were verified";
    report(what, (SUBJECTS, SUBJECTS), &admitting, |number| issuer.subject(number), TOKEN_BYTES)
}

/// Who comes: a request's head, and where from.
type Comes = (HeaderMap, IpAddr);

/// So many come, and there is room for some of them.
fn report(
    what: &str,
    (come, room): (u64, u64),
    admitting: &Admitting,
    comes: impl Fn(u64) -> Result<Comes>,
    each_bytes: u64,
) -> Result<()> {
    // what is made once
    admitting.admit(comes(come)?)?;
    let (before, mut most) = (heap_bytes(), 0);
    for number in 0..come {
        admitting.admit(comes(number)?)?;
        if number % SAMPLED_EVERY == 0 || number + 1 == come {
            most = most.max(heap_bytes().saturating_sub(before));
        }
    }
    let cap_bytes = BASE_BYTES + room * each_bytes;
    let told = format!("{come} {what}, room for {room}");
    println!("{told:<48} {:>5} KiB of {} KiB allowed", most / 1024, cap_bytes / 1024);
    ensure!(most <= cap_bytes, "{told}: {most} bytes, more than {cap_bytes}");
    Ok(())
}

/// What the allocator has given out.
fn heap_bytes() -> u64 {
    // SAFETY: it takes nothing, and reads the allocator's own counts under its own locks.
    let counts = unsafe { libc::mallinfo2() };
    (counts.uordblks + counts.hblkhd) as u64
}

struct Admitting {
    admission: Admission,
    runtime: tokio::runtime::Runtime,
}

impl Admitting {
    /// Nobody is silent for so long that it is forgotten.
    fn new(auth: &AuthConfig, clients_max: u64) -> Result<Self> {
        let limit = RateLimitConfig {
            client_events_per_s: 1,
            client_burst_events: 1_000_000,
            total_events_per_s: 0,
            total_burst_events: 0,
            refusal_delay_ms: 0,
            clients_max,
            trusted_proxies: Vec::new(),
        };
        let (metrics, clock) = (Metrics::new()?, Arc::new(SystemClock));
        let admission = Admission::open(auth, &limit, &metrics.http, clock);
        let admission = admission.map_err(|problems| anyhow::anyhow!("{problems:?}"))?;
        Ok(Self { admission, runtime: tokio::runtime::Builder::new_current_thread().enable_all().build()? })
    }

    fn admit(&self, (headers, peer): Comes) -> Result<()> {
        let admitted = self.runtime.block_on(fuzzing::admit(&self.admission, &headers, peer));
        admitted.map_err(|problem| anyhow::anyhow!("a client is told {problem}"))
    }
}

/// Tokens of this issuer, whose keys are in a file of this name; nobody is asked who they are where the name is empty.
fn auth(jwks_file: &str, verified_max: u64) -> Result<AuthConfig> {
    Ok(serde_json::from_value(json!({
        "mode": if jwks_file.is_empty() { "off" } else { "jwt" },
        "bind_user": false,
        "keys": [],
        "jwt": {
            "jwks_file": jwks_file, "jwks_url": "", "issuer": ISSUER, "audience": "floodgate", "algorithms": ["EdDSA"],
            "leeway_s": 60, "refresh_ms": 300_000, "timeout_ms": 3000, "verified_max": verified_max,
        },
    }))?)
}

/// Each in a network of its own.
fn address(number: u64) -> Comes {
    let [_, a, b, c] = (number as u32).to_be_bytes().map(u16::from);
    (HeaderMap::new(), Ipv6Addr::new(0x2001, 0xdb8, a, b << 8 | c, 0, 0, 0, 1).into())
}

/// Who signs tokens.
struct Issuer {
    key: Ed25519KeyPair,
    jwks_file: PathBuf,
}

impl Issuer {
    fn new() -> Result<Self> {
        let bytes = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
        let bytes = bytes.map_err(|_| anyhow::anyhow!("no key could be made"))?;
        let key = Ed25519KeyPair::from_pkcs8(bytes.as_ref()).map_err(|error| anyhow::anyhow!("{error}"))?;
        let x = BASE64_URL_SAFE_NO_PAD.encode(key.public_key());
        let keys =
            json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": "1", "x": x }] });
        let jwks_file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients_memory.jwks.json");
        std::fs::write(&jwks_file, keys.to_string())?;
        Ok(Self { key, jwks_file })
    }

    fn auth(&self, verified_max: u64) -> Result<AuthConfig> {
        auth(&self.jwks_file.to_string_lossy(), verified_max)
    }

    /// One with a name as long as any.
    fn subject(&self, number: u64) -> Result<Comes> {
        let name: String = format!("{number:0128}").chars().map(wide).collect();
        let claims = json!({
            "iss": ISSUER, "aud": "floodgate", "sub": name, "exp": 4_000_000_000_u64, "scope": "like:write",
        });
        let header = json!({ "alg": "EdDSA", "kid": "1" });
        let parts = [header, claims].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part.to_string()));
        let signed = parts.join(".");
        let signature = BASE64_URL_SAFE_NO_PAD.encode(self.key.sign(signed.as_bytes()));
        let token = HeaderValue::try_from(format!("Bearer {signed}.{signature}"))?;
        Ok((HeaderMap::from_iter([(AUTHORIZATION, token)]), Ipv6Addr::LOCALHOST.into()))
    }
}

/// A digit that takes four bytes.
fn wide(digit: char) -> char {
    digit.to_digit(10).and_then(|digit| char::from_u32(0x1D7CE + digit)).unwrap_or(digit)
}
