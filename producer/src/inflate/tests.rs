//! Compressed bodies in any pieces, broken ones, and ones that become too much.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use flate2::write::GzEncoder;
use futures_util::{StreamExt, stream};
use proptest::prelude::*;
use zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer};

use super::*;

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

/// A frame that does not say how large it is, so that it is read through a window.
fn zstd(plain: &[u8], window_log: u32) -> Vec<u8> {
    let mut context = CCtx::try_create().unwrap();
    context.set_parameter(CParameter::ChecksumFlag(true)).unwrap();
    context.set_parameter(CParameter::WindowLog(window_log)).unwrap();
    let mut frame = vec![0; zstd_safe::compress_bound(plain.len()) + 100];
    let mut out = OutBuffer::around(&mut frame[..]);
    let mut input = InBuffer::around(plain);
    while input.pos() < plain.len() {
        context.compress_stream(&mut out, &mut input).unwrap();
    }
    while context.end_stream(&mut out).unwrap() > 0 {}
    let written = out.pos();
    frame.truncate(written);
    frame
}

fn compress(coding: Coding, plain: &[u8]) -> Vec<u8> {
    match coding {
        Coding::Gzip => gzip(plain),
        Coding::Zstd => zstd(plain, 20),
    }
}

const BOTH: [Coding; 2] = [Coding::Gzip, Coding::Zstd];

fn pieces(bytes: &[u8], size: usize) -> Body {
    let pieces: Vec<_> = bytes.chunks(size).map(|piece| Ok::<_, Never>(piece.to_vec())).collect();
    Body::from_stream(stream::iter(pieces))
}

type Never = std::convert::Infallible;

struct World {
    bodies: Arc<Bodies>,
    heavy: Heavy,
    runtime: tokio::runtime::Runtime,
}

impl World {
    fn new(bodies_max_bytes: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let heavy = Heavy::new(Duration::from_secs(600));
        Self { bodies: Bodies::new(bodies_max_bytes), heavy, runtime }
    }

    fn collect(&self, body: Body, coding: Coding, max_bytes: usize) -> Result<Bytes, Problem> {
        let inflater = Inflater {
            bodies: &self.bodies,
            holder: &Arc::default(),
            heavy: &self.heavy,
            max_bytes,
            inflated_bytes: &AtomicUsize::new(0),
        };
        let collected = self.runtime.block_on(async {
            inflater.collect(body, coding, Instant::now() + Duration::from_secs(600)).await
        });
        collected.map(|collected| collected.expect("in time"))
    }

    fn refused(&self, body: impl Into<Body>, coding: Coding, max_bytes: usize) -> (&'static str, String) {
        let problem = self.collect(body.into(), coding, max_bytes).unwrap_err();
        assert_eq!(self.bodies.held_bytes(), 0, "{problem:?}");
        (problem.name(), serde_json::to_value(&problem).unwrap()["detail"].as_str().unwrap().to_owned())
    }
}

const MIB: usize = 1 << 20;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Members and frames of any content, cut anywhere, are one body.
    #[test]
    fn any_body_in_any_pieces_is_what_it_was(
        parts in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..60), 0..6000_usize), 1..4),
        size in prop_oneof![1..5_usize, 5..40_000_usize],
        gzipped: bool,
    ) {
        let coding = if gzipped { Coding::Gzip } else { Coding::Zstd };
        let parts: Vec<_> = parts.into_iter().map(|(part, times)| part.repeat(times)).collect();
        let sent = parts.iter().map(|part| compress(coding, part)).collect::<Vec<_>>().concat();
        let world = World::new(64 * MIB);
        let body = world.collect(pieces(&sent, size), coding, 2 * MIB).unwrap();
        prop_assert!(body == parts.concat(), "{} bytes became {}", parts.concat().len(), body.len());
        let counted = world.bodies.held_bytes();
        prop_assert!(body.is_empty() && counted == 0 || (body.len()..=2 * body.len() + CHUNK_BYTES).contains(&counted));
        drop(body);
        prop_assert_eq!(world.bodies.held_bytes(), 0);
    }
}

/// It is refused with the first byte too many, and its memory is bounded before that.
#[test]
fn a_body_that_becomes_too_large_is_not_inflated_further() {
    let plain = vec![0; 64 * MIB];
    for coding in BOTH {
        let (bodies, holder) = (Bodies::new(usize::MAX), Arc::default());
        let heavy = Heavy::new(Duration::ZERO);
        let inflater = Inflater {
            bodies: &bodies,
            holder: &holder,
            heavy: &heavy,
            max_bytes: MIB,
            inflated_bytes: &AtomicUsize::new(0),
        };
        let bomb = compress(coding, &plain);
        let mut inflating = Inflating::new(coding, &inflater).unwrap();
        inflating.take(&bomb).unwrap();
        assert_eq!(inflating.inflate(HowFar::All).unwrap_err().name(), "body-too-large");
        assert_eq!((inflating.filled, inflating.inflated.capacity()), (MIB + 1, MIB + 1));
        let around = inflating.decoder.memory_bytes() + bomb.len();
        assert_eq!(bodies.held_bytes(), MIB + 1 + around);
        assert!(around < 3 * MIB / 2, "{around}");
        // one that just fits is taken
        let world = World::new(usize::MAX);
        let fits = world.collect(compress(coding, &plain[..MIB]).into(), coding, MIB);
        assert_eq!(fits.map(|body| body.len()), Ok(MIB));
        let one_more = world.refused(compress(coding, &plain[..=MIB]), coding, MIB);
        assert_eq!(one_more, ("body-too-large", format!("a body has at most {MIB} bytes")));
    }
}

/// Nobody waits for the rest of it.
#[test]
fn a_bomb_is_refused_while_it_comes() {
    let world = World::new(64 * MIB);
    for coding in BOTH {
        let bomb = compress(coding, &vec![0; 64 * MIB]);
        let asked = AtomicUsize::new(0);
        let all = bomb.chunks(100).map(<[u8]>::to_vec).collect::<Vec<_>>();
        let count = all.len();
        let asked = Arc::new(asked);
        let counting = Arc::clone(&asked);
        let endless = stream::iter(0..).map(move |number: usize| {
            counting.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Never>(all[number % count].clone())
        });
        let told = world.refused(Body::from_stream(endless), coding, 8 * MIB);
        assert_eq!(told.0, "body-too-large");
        let sent = asked.load(Ordering::Relaxed) * 100;
        assert!(sent <= GATHERED_BYTES + LIGHT_SENT_BYTES, "{sent} bytes were waited for");
    }
}

#[test]
fn what_comes_is_limited_as_what_it_becomes() {
    let world = World::new(64 * MIB);
    // empty members are nothing, however many
    let nothing = gzip(b"").repeat(100);
    let told = world.refused(pieces(&nothing, 7), Coding::Gzip, 1000);
    assert_eq!(told, ("body-too-large", "a body has at most 1000 bytes".to_owned()));
    assert_eq!(world.refused(nothing.clone(), Coding::Gzip, 1000), told, "told by its length");
    assert_eq!(world.collect(nothing.into(), Coding::Gzip, 10_000), Ok(Bytes::new()));
    assert_eq!(world.collect(Body::empty(), Coding::Gzip, 10), Ok(Bytes::new()));
}

/// Each of them is work, also where nothing is in it.
#[test]
fn parts_are_limited_whatever_is_in_them() {
    let world = World::new(64 * MIB);
    let skipped = [0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0].to_vec();
    for (coding, part, plain) in [
        (Coding::Gzip, gzip(b""), &b""[..]),
        (Coding::Gzip, gzip(b" "), b" "),
        (Coding::Zstd, zstd(b"", 20), b""),
        (Coding::Zstd, zstd(b" ", 20), b" "),
        (Coding::Zstd, skipped, b""),
    ] {
        let (most, one_more) = (part.repeat(PARTS_MAX), part.repeat(PARTS_MAX + 1));
        let begun = [&most[..], &part[..1]].concat();
        for size in [1, 7, part.len(), 1000, usize::MAX] {
            let plain = Ok(plain.repeat(PARTS_MAX).into());
            assert_eq!(world.collect(pieces(&most, size), coding, MIB), plain, "{coding:?} by {size}");
            let words = format!("the body has more than {PARTS_MAX} {}", coding.parts());
            for sent in [&one_more, &begun] {
                let told = world.refused(pieces(sent, size), coding, MIB);
                assert_eq!(told, ("malformed-json", words.clone()), "by {size}");
            }
        }
        // it is told while more comes
        let endless = stream::iter(0..).map(move |_: usize| Ok::<_, Never>(part.clone()));
        assert_eq!(world.refused(Body::from_stream(endless), coding, MIB).0, "malformed-json");
    }
}

/// A frame says itself how much memory it wants: it is counted, and has a limit.
#[test]
fn windows_are_counted_and_limited() {
    let plain = b"[]";
    let taken = World::new(10 * MIB).collect(zstd(plain, 23).into(), Coding::Zstd, MIB);
    assert_eq!(taken, Ok(Bytes::from_static(plain)));
    assert_eq!(World::new(8 * MIB).refused(zstd(plain, 23), Coding::Zstd, MIB).0, "busy");
    let (name, detail) = World::new(usize::MAX).refused(zstd(plain, 24), Coding::Zstd, MIB);
    assert_eq!(name, "malformed-json");
    assert!(detail.starts_with("the body is not valid zstd with a window of at most 8 MiB: "), "{detail}");
}

#[test]
fn what_is_cut_off_is_told_so() {
    let world = World::new(64 * MIB);
    for coding in BOTH {
        let sent = compress(coding, &[b"0123456789", &[b'x'; 1000][..]].concat());
        for end in 1..sent.len() {
            let (name, detail) = world.refused(sent[..end].to_vec(), coding, MIB);
            let words = format!("the body is not whole: it ends in the middle of its {}", coding.words());
            assert_eq!((name, detail), ("malformed-json", words), "after {end} of {}", sent.len());
        }
    }
}

#[test]
fn what_is_broken_is_told_so() {
    let world = World::new(64 * MIB);
    let (zipped, frame) = (gzip(b"[1,2,3]"), zstd(b"[1,2,3]", 20));
    let with = |sent: &[u8], at: usize, byte: u8| {
        let mut sent = sent.to_vec();
        sent[at] = byte;
        sent
    };
    let wrong_sum = |sent: &[u8], from_end: usize| {
        let at = sent.len() - from_end;
        with(sent, at, !sent[at])
    };
    for (what, coding, sent) in [
        ("plain", Coding::Gzip, b"[1,2,3]".to_vec()),
        ("zstd", Coding::Gzip, frame.clone()),
        ("an unknown method", Coding::Gzip, with(&zipped, 2, 7)),
        ("a reserved flag", Coding::Gzip, with(&zipped, 3, 0x80)),
        ("another checksum", Coding::Gzip, wrong_sum(&zipped, 8)),
        ("another length", Coding::Gzip, wrong_sum(&zipped, 4)),
        ("something behind it", Coding::Gzip, [&zipped[..], b"something"].concat()),
        ("zeros behind it", Coding::Gzip, [&zipped[..], &[0; 20]].concat()),
        ("plain", Coding::Zstd, b"[1,2,3]".to_vec()),
        ("gzip", Coding::Zstd, zipped.clone()),
        ("a format of old", Coding::Zstd, with(&frame, 0, 0x27)),
        ("another beginning", Coding::Zstd, with(&frame, 1, 0)),
        ("another checksum", Coding::Zstd, wrong_sum(&frame, 1)),
        ("something behind it", Coding::Zstd, [&frame[..], b"something"].concat()),
        ("a bracket behind it", Coding::Zstd, [&frame[..], b"("].concat()),
    ] {
        for size in [1, 1000] {
            let (name, detail) = world.refused(pieces(&sent, size), coding, MIB);
            assert_eq!(name, "malformed-json", "{what}: {detail}");
            let is_told = detail.starts_with(&format!("the body is not valid {}: ", coding.words()))
                || detail.starts_with("the body is not whole: ");
            assert!(is_told, "{what}: {detail}");
        }
    }
    // which the library would read
    let old = world.refused(with(&frame, 0, 0x27), Coding::Zstd, MIB).1;
    assert!(old.ends_with(": what follows is no frame"), "{old}");
    // frames that are passed over
    let skipped = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
    for sent in [[&skipped[..], &frame].concat(), [&frame[..], &skipped].concat()] {
        let taken = world.collect(pieces(&sent, 5), Coding::Zstd, MIB);
        assert_eq!(taken, Ok(Bytes::from_static(b"[1,2,3]")));
    }
}

/// Large bodies are inflated elsewhere, and small ones do not wait for them.
#[test]
fn only_a_little_is_inflated_where_requests_are_served() {
    let world = World::new(usize::MAX);
    let heavy = Heavy::new(Duration::ZERO);
    let inflater = Inflater {
        bodies: &world.bodies,
        holder: &Arc::default(),
        heavy: &heavy,
        max_bytes: MIB,
        inflated_bytes: &AtomicUsize::new(0),
    };
    let collect = |coding, plain: usize, times: usize| {
        let body = compress(coding, &vec![b' '; plain]).repeat(times).into();
        inflater.collect(body, coding, Instant::now() + Duration::from_secs(600))
    };
    world.runtime.block_on(async {
        let other = Holder::known_as(1);
        let (mut ends, mut places) = (Vec::new(), Vec::new());
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        for _ in 0..(cores / 2).max(1) {
            let (end, ended) = std::sync::mpsc::channel::<()>();
            let (begun, begins) = tokio::sync::oneshot::channel();
            let mut place = Box::pin(heavy.run(&other, move || {
                let _ = begun.send(());
                let _ = ended.recv();
            }));
            tokio::select! {
                _ = &mut place => panic!("it waits to be told"),
                begun = begins => begun.unwrap(),
            }
            ends.push(end);
            places.push(place);
        }
        for coding in BOTH {
            for (plain, times) in [(LIGHT_BYTES - 1, 1), (1, LIGHT_PARTS)] {
                let small = collect(coding, plain, times).await.unwrap().unwrap();
                assert_eq!(small.len(), plain * times);
            }
            for (plain, times) in [(LIGHT_BYTES + 1, 1), (1, LIGHT_PARTS + 1)] {
                assert_eq!(collect(coding, plain, times).await.unwrap_err().name(), "busy");
            }
        }
    });
}

#[test]
fn what_does_not_come_in_time_is_given_up() {
    let world = World::new(usize::MAX);
    let inflater = Inflater {
        bodies: &world.bodies,
        holder: &Arc::default(),
        heavy: &world.heavy,
        max_bytes: MIB,
        inflated_bytes: &AtomicUsize::new(0),
    };
    let begun = gzip(b"[]")[..10].to_vec();
    let stuck = stream::iter([Ok::<_, Never>(begun)]).chain(stream::pending());
    let collected = world.runtime.block_on(async {
        tokio::time::pause();
        let until = Instant::now() + Duration::from_secs(10);
        inflater.collect(Body::from_stream(stuck), Coding::Gzip, until).await
    });
    assert_eq!(collected, Ok(None));
    assert_eq!(world.bodies.held_bytes(), 0);
}
