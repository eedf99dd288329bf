//! TLS of the clients' listener: both protocols, certificates that are replaced, and whoever does not come to terms.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use floodgate_testkit::{Certificates, ScratchDir, wait};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use support::frames::{PREFACE, settings};
use support::node::Node;
use support::raw::{answer, ask, connect, is_end, read_nothing, rest};
use support::siege::{Attack, floods};
use support::world::{READY, World, run};

/// More than sockets and windows hold, by far.
const FLOOD_BYTES: usize = 256 << 20;

/// A world that serves these certificates, in a folder of its own.
fn secured() -> Result<(World, ScratchDir)> {
    let (world, folder) = (World::empty()?, ScratchDir::new("certificates")?);
    let made = Certificates::make(folder.path())?;
    world.set("http.tls.cert_file", made.certificate.display().to_string());
    world.set("http.tls.key_file", made.key.display().to_string());
    Ok((world, folder))
}

type Secure = StreamOwned<ClientConnection, TcpStream>;

/// Somebody who trusts the authorities of these folders.
fn trusting(folders: &[&Path]) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for folder in folders {
        roots.add(CertificateDer::from_pem_file(folder.join("ca.pem"))?)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

fn secure(address: SocketAddr, config: &Arc<ClientConfig>) -> Result<Secure> {
    let connection = ClientConnection::new(Arc::clone(config), "localhost".try_into()?)?;
    Ok(StreamOwned::new(connection, connect(address)?))
}

/// The certificate that is served on a new connection.
fn served(node: &Node, config: &Arc<ClientConfig>) -> Result<CertificateDer<'static>> {
    let mut stream = secure(node.http, config)?;
    ask(&mut stream)?;
    let chain = stream.conn.peer_certificates().context("no certificate")?;
    Ok(chain.first().context("no certificate")?.clone().into_owned())
}

/// So many connections have come to no terms. Who is closed may know before it is counted.
fn refuses(node: &Node, count: f64) -> Result<()> {
    let counted = || -> Option<f64> {
        Some(node.metrics().ok()?.sum("floodgate_http_connections_refused_total", &[("reason", "tls")]))
    };
    wait::until("each refusal to be counted", READY, || counted().filter(|counted| *counted >= count))?;
    ensure!(counted() == Some(count), "{:?} of {count}", counted());
    Ok(())
}

#[test]
fn curl_agrees_on_either_protocol() {
    let (world, folder) = secured().unwrap();
    run(|| {
        let node = world.start(&[])?;
        ensure!(node.process().stderr().contains("https://127.0.0.1:"), "{}", node.process().stderr());
        let port = node.http.port();
        for (how, told) in [("--http1.1", "1.1 202"), ("--http2", "2 202"), ("--no-alpn", "1.1 202")] {
            let mut curl = Command::new("curl");
            curl.args(["-sS", "--max-time", "60", "-o", "/dev/null", "-X", "PUT", how]);
            curl.args(["-w", "%{http_version} %{response_code}"]);
            curl.arg("--cacert").arg(folder.path().join("ca.pem"));
            curl.args(["--resolve", &format!("localhost:{port}:127.0.0.1")]);
            let ended = curl.arg(format!("https://localhost:{port}/api/v6/characters/t/likes/l")).output()?;
            let said = String::from_utf8_lossy(&ended.stdout);
            ensure!(said == told, "{how}: {said} {}", String::from_utf8_lossy(&ended.stderr));
        }
        node.stop()
    });
}

#[test]
fn certificates_are_replaced_while_requests_are_served() {
    let (world, folder) = secured().unwrap();
    run(|| {
        let node = world.start(&[])?;
        let (old, new) = (ScratchDir::new("old")?, ScratchDir::new("new")?);
        std::fs::copy(folder.path().join("ca.pem"), old.path().join("ca.pem"))?;
        Certificates::make(new.path())?;
        let config = trusting(&[old.path(), new.path()])?;
        let (is_over, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            let load = || -> Result<()> {
                while !is_over.load(Ordering::Relaxed) {
                    let mut stream = secure(node.http, &config)?;
                    for _ in 0..5 {
                        ask(&mut stream)?;
                        asked.fetch_add(1, Ordering::Relaxed);
                    }
                }
                Ok(())
            };
            let loads: Vec<_> = (0..4).map(|_| scope.spawn(load)).collect();
            let replaced = replace(&node, folder.path(), new.path(), &config, &asked);
            is_over.store(true, Ordering::Relaxed);
            for load in loads {
                load.join().map_err(|_| anyhow::anyhow!("a load panicked"))?.context("a request failed")?;
            }
            replaced
        })?;
        let log = node.process().stderr();
        ensure!(log.contains("\"expires\":\"20"), "no expiry in {log}");
        ensure!(log.contains("http.tls.cert_file: "), "what is wrong is not told: {log}");
        node.stop()
    });
}

/// Replaces the files under a load by others, and then by nonsense.
fn replace(
    node: &Node,
    folder: &Path,
    new: &Path,
    config: &Arc<ClientConfig>,
    asked: &AtomicUsize,
) -> Result<()> {
    let go_on = |more: usize| {
        let from = asked.load(Ordering::Relaxed);
        wait::until("more requests", READY, || (asked.load(Ordering::Relaxed) > from + more).then_some(()))
    };
    let reloaded = |result: &str| {
        node.process().signal(libc::SIGHUP)?;
        wait::until("the files to be read again", READY, || {
            let metrics = node.metrics().ok()?;
            (metrics.sum("floodgate_tls_reloads_total", &[("result", result)]) == 1.0).then_some(())
        })?;
        anyhow::Ok(())
    };
    go_on(50)?;
    let before = served(node, config)?;
    for name in ["server.pem", "server.key"] {
        std::fs::copy(new.join(name), folder.join(name))?;
    }
    ensure!(served(node, config)? == before, "it was read again before it was asked to");
    reloaded("ok")?;
    let after = served(node, config)?;
    ensure!(after != before && after == CertificateDer::from_pem_file(new.join("server.pem"))?);
    go_on(50)?;
    std::fs::write(folder.join("server.pem"), "no certificate")?;
    reloaded("failed")?;
    ensure!(served(node, config)? == after, "what cannot be served with took the place of what can");
    go_on(50)?;
    Ok(())
}

/// It is served with all the same; whoever watches knows, at the start as after a reload.
#[test]
fn a_certificate_that_has_expired_is_told() {
    let (world, folder) = secured().unwrap();
    run(|| {
        const TOLD: &str = "the certificate is not good now";
        let (old, good) = (ScratchDir::new("old")?, ScratchDir::new("good")?);
        Certificates::make_for(old.path(), -1)?;
        Certificates::make(good.path())?;
        let put = |from: &ScratchDir| -> Result<()> {
            for name in ["server.pem", "server.key"] {
                std::fs::copy(from.path().join(name), folder.path().join(name))?;
            }
            Ok(())
        };
        let days_left = |node: &Node| -> Result<f64> {
            let expires = node.metrics()?.sum("floodgate_tls_certificate_expires_timestamp_seconds", &[]);
            let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
            Ok((expires - now) / 86_400.0)
        };
        let told = |node: &Node| node.process().stderr().matches(TOLD).count();
        put(&old)?;
        let node = world.start(&[])?;
        ensure!(told(&node) == 1, "{}", node.process().stderr());
        ensure!((-1.1..-0.9).contains(&days_left(&node)?), "{}", days_left(&node)?);
        for (number, (from, left, all)) in [(1.0, (&good, 2.0, 1)), (2.0, (&old, -1.0, 2))] {
            put(from)?;
            node.process().signal(libc::SIGHUP)?;
            wait::until("the files to be read again", READY, || {
                let metrics = node.metrics().ok()?;
                (metrics.sum("floodgate_tls_reloads_total", &[("result", "ok")]) == number).then_some(())
            })?;
            ensure!((left - 0.1..left + 0.1).contains(&days_left(&node)?), "{}", days_left(&node)?);
            ensure!(told(&node) == all, "{}", node.process().stderr());
        }
        node.stop()
    });
}

#[test]
fn what_cannot_be_served_with_is_refused_by_name() {
    let (world, folder) = secured().unwrap();
    run(|| {
        let other = ScratchDir::new("other")?;
        Certificates::make(other.path())?;
        let file = |folder: &ScratchDir, name: &str| folder.path().join(name).display().to_string();
        std::fs::write(folder.path().join("empty.pem"), "")?;
        let (right, key) = (file(&folder, "server.pem"), file(&folder, "server.key"));
        let (empty, missing) = (file(&folder, "empty.pem"), file(&folder, "missing.pem"));
        for (cert, key, at_fault, why) in [
            (&missing, &key, "http.tls.cert_file", "No such file"),
            (&right, &missing, "http.tls.key_file", "No such file"),
            (&empty, &key, "http.tls.cert_file", "no certificate"),
            (&right, &empty, "http.tls.key_file", "no private key"),
            (&key, &key, "http.tls.cert_file", "no certificate"),
            (&right, &right, "http.tls.key_file", "no private key"),
            (&right, &file(&other, "server.key"), "http.tls.key_file", "not the key of the certificate"),
            (&right, &String::new(), "http.tls.key_file", "not set"),
            (&String::new(), &key, "http.tls.cert_file", "not set"),
        ] {
            let settings = [("http.tls.cert_file", cert.as_str()), ("http.tls.key_file", key.as_str())];
            for command in [&["run"][..], &["config", "--check"]] {
                let ended = world.command_with(command, &settings)?;
                ensure!(
                    ended.code == 2 && ended.stderr.contains(at_fault) && ended.stderr.contains(why),
                    "{command:?} with {settings:?}: {ended:?}"
                );
            }
        }
        world.succeed(&["config", "--check"])?;
        Ok(())
    });
}

#[test]
fn who_does_not_come_to_terms_is_let_go() {
    let (world, folder) = secured().unwrap();
    world.set("http.send_timeout_ms", "500");
    run(|| {
        let node = world.start(&[])?;
        // nothing comes, or the beginning of it
        ensure!(rest(&mut connect(node.http)?)?.is_empty());
        let mut half = connect(node.http)?;
        half.write_all(&[22, 3, 1, 2, 0, 1, 0])?;
        ensure!(rest(&mut half)?.is_empty());
        refuses(&node, 2.0)?;
        // a request without TLS gets no answer to it
        let mut plain = connect(node.http)?;
        plain.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")?;
        let said = rest(&mut plain)?;
        ensure!(!said.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&said));
        refuses(&node, 3.0)?;
        // who comes to terms and says nothing, or not enough, has as little time
        let config = trusting(&[folder.path()])?;
        let mut slow = secure(node.http, &config)?;
        slow.write_all(b"GET /healthz HT")?;
        let mut said = Vec::new();
        match slow.read_to_end(&mut said) {
            Err(error) if !is_end(&error) => return Err(error).context("the server did not close"),
            _ => ensure!(said.is_empty(), "{}", String::from_utf8_lossy(&said)),
        }
        node.stop()
    });
}

/// With TLS more is written than the socket takes: it waits elsewhere, and is given up in the same time.
#[test]
fn who_reads_nothing_is_let_go() {
    let (world, folder) = secured().unwrap();
    world.set("http.send_timeout_ms", "500");
    run(|| {
        let node = world.start(&[])?;
        let mut stream = secure(node.http, &trusting(&[folder.path()])?)?;
        read_nothing(&node, &mut stream)?;
        node.stop()
    });
}

/// A refusal arrives, and the process stops in order with connections open.
#[test]
fn refusals_arrive_and_a_stop_waits_for_nobody() {
    let (world, folder) = secured().unwrap();
    run(|| {
        let node = world.start(&[])?;
        let config = trusting(&[folder.path()])?;
        let mut wrong = secure(node.http, &config)?;
        wrong.write_all(b"nonsense\r\n\r\n")?;
        let told = answer(&mut wrong)?;
        ensure!(told.starts_with("HTTP/1.1 400 ") && told.contains("/problems/invalid-request"), "{told}");
        let mut idle = secure(node.http, &config)?;
        ask(&mut idle)?;
        let silent = connect(node.http)?;
        node.stop()?;
        drop(silent);
        Ok(())
    });
}

/// Somebody who speaks HTTP/2, by the name that TLS has for it.
fn http_2(config: &Arc<ClientConfig>) -> Arc<ClientConfig> {
    let mut config = ClientConfig::clone(config);
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

#[test]
fn floods_of_http_2_end_here_as_well() {
    let (world, folder) = secured().unwrap();
    world.set("http.send_timeout_ms", "1000");
    run(|| {
        let node = world.start(&[])?;
        let config = http_2(&trusting(&[folder.path()])?);
        // of those whose answers are read somebody would have to read on
        let unread = |flood: &Attack| !flood.reads || flood.name == "windows";
        for Attack { name, begin, say, .. } in floods().into_iter().filter(unread) {
            let mut stream = secure(node.http, &config)?;
            stream.write_all(&[PREFACE, &settings(&[]), &begin].concat())?;
            ensure!(stream.conn.alpn_protocol() == Some(b"h2"), "{name}");
            let (mut sent, mut numbers) = (0, 0..);
            let ended = loop {
                let bytes: Vec<u8> = numbers.by_ref().take(64).flat_map(say).collect();
                match stream.write_all(&bytes) {
                    Ok(()) if sent < FLOOD_BYTES => sent += bytes.len(),
                    ended => break ended,
                }
            };
            ensure!(ended.as_ref().is_err_and(is_end), "{name}: {ended:?} after {sent} bytes");
        }
        node.stop()
    });
}

#[test]
fn who_says_nothing_behind_the_handshake_is_let_go() {
    let (world, folder) = secured().unwrap();
    world.set("http.send_timeout_ms", "500");
    world.set("http.idle_timeout_ms", "3600000");
    run(|| {
        let node = world.start(&[])?;
        let config = trusting(&[folder.path()])?;
        for config in [&config, &http_2(&config)] {
            for say in [&b""[..], PREFACE] {
                let mut stream = secure(node.http, config)?;
                stream.write_all(say)?;
                stream.flush()?;
                rest(&mut stream)?;
            }
        }
        node.stop()
    });
}
