//! The operators' listener keeps out whoever has no business there, and neither listener is opened to others by mistake.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "operators/open.rs"]
mod open;
mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use anyhow::{Context, Result, ensure};
use floodgate_testkit::wait;
use support::browser::Browser;
use support::client::{Answer, Ask};
use support::node::Node;
use support::raw::{answer, connect_from};
use support::world::{READY, World, run};

const TOKEN: &str = "open-sesame-0123456789";

/// `printf %s open-sesame-0123456789 | sha256sum`
const DIGEST: &str = "9112d278a91be5e2d5ff9a44515f73e03efeb10da5bd9b7dbedceacc969ce6b0";

fn bearer(ask: Ask, token: &str) -> Ask {
    ask.header("authorization", format!("Bearer {token}"))
}

fn replay() -> Ask {
    Ask::new("POST", "/dlq/replay")
        .header("floodgate-confirm", "replay")
        .json(r#"{"all":true,"dryRun":true}"#)
}

fn form(token: &str) -> Ask {
    let form = format!("token={token}");
    Ask::new("POST", "/session").header("content-type", "application/x-www-form-urlencoded").body(form)
}

/// HTTP/1.0 knows no `Host`.
fn without_a_host(node: &Node, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(node.admin)?;
    stream.set_read_timeout(Some(READY))?;
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// The cookie that an answer sets, as browsers send it back.
fn cookie(answer: &Answer) -> Result<String> {
    let set = answer.header("set-cookie").with_context(|| format!("{} sets no cookie", answer.status))?;
    Ok(set.split(';').next().unwrap_or_default().to_owned())
}

/// Asks, and wants this status; of a problem also its name.
fn check(node: &Node, what: &str, ask: &Ask, status: u16, name: &str) -> Result<()> {
    let answer = node.ask_operators(ask)?;
    let text = answer.text();
    ensure!(
        answer.status == status,
        "{what}: {} {} is answered {} {text}",
        ask.method,
        ask.path,
        answer.status
    );
    if !name.is_empty() {
        let told = answer.json();
        ensure!(told["type"] == format!("/problems/{name}"), "{what}: {text}");
        ensure!(
            answer.header("content-type") == Some("application/problem+json"),
            "{what}: {:?}",
            answer.headers
        );
    }
    let challenge = answer.header("www-authenticate");
    ensure!(
        (status == 401) == (challenge == Some("Bearer realm=\"floodgate operators\"")),
        "{what}: {challenge:?}"
    );
    ensure!(!text.contains(TOKEN), "{what} tells the token: {text}");
    Ok(())
}

#[test]
fn nobody_comes_in_without_the_token() {
    let world = World::empty().unwrap();
    run(|| {
        world.set("admin.token", TOKEN);
        world.set("admin.hosts", "ops.example, floodgate.example");
        let node = world.start(&[])?;
        let signed_in = node.ask_operators(&form(TOKEN))?;
        ensure!(signed_in.status == 303 && signed_in.header("location") == Some("/"), "{signed_in:?}");
        let cookie = cookie(&signed_in)?;
        let attributes = signed_in.header("set-cookie").unwrap_or_default();
        ensure!(attributes.ends_with("; HttpOnly; SameSite=Strict; Path=/; Max-Age=43200"), "{attributes}");
        let with_cookie = |ask: Ask| ask.header("cookie", format!("theme=dark; {cookie}"));
        let get = |path: &str| Ask::get(path);

        // open to all who ask whether it lives
        for path in ["/healthz", "/readyz"] {
            check(&node, "open", &get(path), 200, "")?;
            check(&node, "open by any name", &get(path).header("host", "evil.example"), 200, "")?;
        }
        // let in
        for path in ["/", "/metrics", "/lag", "/dlq", "/page/page.js", "/where?type=like&key=star%1Fann"] {
            check(&node, "the token", &bearer(get(path), TOKEN), 200, "")?;
            check(&node, "the session", &with_cookie(get(path)), 200, "")?;
        }
        let by_name = get("/lag").header("host", "anything.example:9600");
        check(&node, "the token, by any name", &bearer(by_name, TOKEN), 200, "")?;
        check(&node, "a listed name", &with_cookie(get("/lag").header("host", "OPS.example:9600")), 200, "")?;
        check(
            &node,
            "another case",
            &get("/lag").header("authorization", format!("bearer {TOKEN}")),
            200,
            "",
        )?;
        check(&node, "replay with the token", &bearer(replay(), TOKEN), 200, "")?;
        let here = format!("http://{}", node.admin);
        let own =
            with_cookie(replay()).header("origin", here.clone()).header("sec-fetch-site", "same-origin");
        check(&node, "replay from the page", &own, 200, "")?;
        check(&node, "replay, by the origin", &with_cookie(replay()).header("origin", here), 200, "")?;
        check(&node, "a session is there", &with_cookie(get("/session")), 204, "")?;

        let evil = || ("host", "evil.example:9600".to_owned());
        let named = |ask: Ask| ask.header(evil().0, evil().1);
        let bare_replay = || Ask::new("POST", "/dlq/replay").json(r#"{"all":true,"dryRun":true}"#);
        let (until, seal) = cookie.split_once('.').context("no seal")?;
        let longer = format!("{until}0.{seal}");
        let crossed = |ask: Ask| ask.header("sec-fetch-site", "cross-site");
        let refusals: Vec<(&str, Ask, u16, &str)> = vec![
            ("nothing shown", get("/metrics"), 401, "unauthorized"),
            ("nothing shown", get("/lag"), 401, "unauthorized"),
            ("nothing shown", get("/live"), 401, "unauthorized"),
            ("nothing shown", get("/dlq"), 401, "unauthorized"),
            ("nothing shown", get("/where/01a3c5e7-0000-7000-8000-000000000001"), 401, "unauthorized"),
            ("nothing shown", get("/page/page.js"), 401, "unauthorized"),
            ("nothing shown", get("/session"), 401, "unauthorized"),
            ("a path that is not there", get("/secret"), 401, "unauthorized"),
            ("more than an open path", get("/healthz/"), 401, "unauthorized"),
            ("another way to write a path", get("//healthz"), 401, "unauthorized"),
            ("the form", get("/"), 401, ""),
            ("the form", Ask::new("HEAD", "/"), 401, ""),
            ("another method", Ask::new("POST", "/"), 401, "unauthorized"),
            ("a wrong token", bearer(get("/lag"), "open-sesame-0123456788"), 401, "unauthorized"),
            ("a beginning of it", bearer(get("/lag"), &TOKEN[..20]), 401, "unauthorized"),
            ("more than it", bearer(get("/lag"), &format!("{TOKEN}x")), 401, "unauthorized"),
            ("its digest", bearer(get("/lag"), DIGEST), 401, "unauthorized"),
            ("an empty one", bearer(get("/lag"), ""), 401, "unauthorized"),
            ("a huge one", bearer(get("/lag"), &"x".repeat(10_000)), 401, "unauthorized"),
            ("a wrong token at the form", bearer(get("/"), "open-sesame-0123456788"), 401, "unauthorized"),
            (
                "another scheme",
                get("/lag").header("authorization", format!("Basic {TOKEN}")),
                401,
                "unauthorized",
            ),
            ("no scheme", get("/lag").header("authorization", TOKEN), 401, "unauthorized"),
            ("two", bearer(bearer(get("/lag"), TOKEN), TOKEN), 401, "unauthorized"),
            ("in the query", get(&format!("/lag?token={TOKEN}&access_token={TOKEN}")), 401, "unauthorized"),
            (
                "a wrong token beside a session",
                with_cookie(bearer(get("/lag"), "wrong")),
                401,
                "unauthorized",
            ),
            ("a session made longer", get("/lag").header("cookie", longer), 401, "unauthorized"),
            ("a session without its seal", get("/lag").header("cookie", until), 401, "unauthorized"),
            (
                "the token as a cookie",
                get("/lag").header("cookie", format!("token={TOKEN}")),
                401,
                "unauthorized",
            ),
            ("a wrong token in the form", form("open-sesame-0123456788"), 401, ""),
            ("an empty form", Ask::new("POST", "/session"), 401, ""),
            ("a form that is too long", form(&"x".repeat(2000)), 401, ""),
            ("a name of others", named(get("/lag")), 421, "misdirected-request"),
            ("a name of others", named(get("/")), 421, "misdirected-request"),
            ("a name of others, with a session", with_cookie(named(get("/lag"))), 421, "misdirected-request"),
            ("a name of others, with a session", with_cookie(named(replay())), 421, "misdirected-request"),
            (
                "a name of others, with a wrong token",
                bearer(named(get("/lag")), "wrong"),
                421,
                "misdirected-request",
            ),
            ("a name of others, for the form", named(form(TOKEN)), 421, "misdirected-request"),
            ("no name", get("/lag").header("host", ""), 400, "invalid-request"),
            (
                "two names",
                get("/lag").header("host", "localhost").header("host", "ops.example"),
                400,
                "invalid-request",
            ),
            ("replay by GET", bearer(get("/dlq/replay"), TOKEN), 405, "method-not-allowed"),
            ("replay without the header", bearer(bare_replay(), TOKEN), 403, "forbidden"),
            ("replay without the header", with_cookie(bare_replay()), 403, "forbidden"),
            ("replay with nothing shown", replay(), 401, "unauthorized"),
            ("replay from another site", crossed(with_cookie(replay())), 403, "forbidden"),
            ("replay from another site", crossed(bearer(replay(), TOKEN)), 403, "forbidden"),
            (
                "replay from another port",
                with_cookie(replay()).header("sec-fetch-site", "same-site"),
                403,
                "forbidden",
            ),
            (
                "replay from another origin",
                with_cookie(replay()).header("origin", "http://evil.example"),
                403,
                "forbidden",
            ),
            ("replay from a hidden origin", with_cookie(replay()).header("origin", "null"), 403, "forbidden"),
            ("signing in from another site", crossed(form(TOKEN)), 403, "forbidden"),
            (
                "signing out from another site",
                crossed(with_cookie(Ask::new("DELETE", "/session"))),
                403,
                "forbidden",
            ),
        ];
        ensure!(refusals.len() >= 25, "{}", refusals.len());
        for (what, ask, status, name) in &refusals {
            check(&node, what, ask, *status, name)?;
        }
        let told = node.ask_operators(&named(get("/lag")))?.json();
        let detail = told["detail"].as_str().unwrap_or_default();
        ensure!(detail.contains("`evil.example`") && detail.contains("admin.hosts"), "{detail}");
        // as an image's probe asks, and whoever else has no name to ask for
        for (path, status) in [("/readyz", " 200 "), ("/healthz", " 200 "), ("/lag", " 400 ")] {
            let answer = without_a_host(&node, path)?;
            let first = answer.lines().next().unwrap_or_default();
            ensure!(first.contains(status), "{path}: {answer}");
        }
        // told, but not each of them, and nowhere what was shown
        node.process().wait_for_log("without the right token", READY)?;
        let log = node.process().stderr();
        let refused = log.lines().filter(|line| line.contains("without the right token")).count();
        ensure!(refused < refusals.len() / 4 && !log.contains(TOKEN), "{refused} lines: {log}");
        // and each is counted
        let metrics = node.ask_operators(&bearer(get("/metrics"), TOKEN))?.text();
        let counted =
            metrics.lines().find_map(|line| line.strip_prefix("floodgate_operators_refused_total "));
        let unknown = refusals.iter().filter(|(.., name)| *name == "unauthorized").count();
        let counted: usize = counted.context("nothing is counted")?.parse()?;
        ensure!((unknown..refusals.len()).contains(&counted), "{counted} of {unknown} and the sign-ins");

        let out = node.ask_operators(&with_cookie(Ask::new("DELETE", "/session")))?;
        ensure!(
            out.status == 204 && out.header("set-cookie").is_some_and(|set| set.contains("Max-Age=0")),
            "{out:?}"
        );
        node.stop()?;

        // another token is other sessions
        world.set("admin.token", format!("sha256:{DIGEST}"));
        let node = world.start(&[])?;
        check(&node, "the token of a digest", &bearer(get("/lag"), TOKEN), 200, "")?;
        check(&node, "a session of another key", &with_cookie(get("/lag")), 401, "unauthorized")?;
        node.stop()
    });
}

/// Names are checked where nothing else is asked for, too: what a page of another site reads it can tell.
#[test]
fn without_a_token_names_and_sites_are_looked_at_still() {
    let world = World::empty().unwrap();
    run(|| {
        world.set("admin.hosts", "ops.example");
        let node = world.start(&[])?;
        let get = |path: &str, host: &str| Ask::get(path).header("host", host);
        for host in ["localhost:9600", "10.0.0.7:9600", "[::1]:9600", "ops.example:9600"] {
            check(&node, host, &get("/lag", host), 200, "")?;
        }
        for host in ["evil.example", "ops.example.evil.example:9600", "serve:9600"] {
            check(&node, host, &get("/metrics", host), 421, "misdirected-request")?;
            check(&node, host, &get("/", host), 421, "misdirected-request")?;
            check(&node, host, &replay().header("host", host), 421, "misdirected-request")?;
        }
        check(&node, "replay", &replay(), 200, "")?;
        check(&node, "replay by GET", &Ask::get("/dlq/replay"), 405, "method-not-allowed")?;
        check(&node, "unconfirmed", &Ask::new("POST", "/dlq/replay").json("{}"), 403, "forbidden")?;
        check(&node, "another site", &replay().header("origin", "http://evil.example"), 403, "forbidden")?;
        for ask in [form(TOKEN), Ask::get("/session"), Ask::new("DELETE", "/session")] {
            check(&node, "no session without a token", &ask, 404, "not-found")?;
        }
        node.stop()
    });
}

#[test]
fn a_browser_signs_in_and_out() {
    let world = World::empty().unwrap();
    run(|| {
        world.set("admin.token", TOKEN);
        let node = world.start(&[])?;
        let seen = Browser::new()?.asks(&node, &["sign-in", "open-sesame-9876543210", TOKEN])?;
        for (form, says) in [("asked", ""), ("refused", "That is not the token."), ("over", ""), ("out", "")]
        {
            let form = &seen[form];
            ensure!(form["title"] == "Floodgate: sign in" && form["says"] == says, "{seen}");
            ensure!(form["focus"] == "token" && form["margin"] == "416px", "without focus or style: {seen}");
        }
        let cookie = &seen["cookie"];
        ensure!(
            cookie["httpOnly"] == true && cookie["sameSite"] == "Strict" && cookie["readable"] == "",
            "{seen}"
        );
        ensure!(seen["lag"] == 200 && seen["replay"] == 200 && seen["left"] == 0, "{seen}");
        node.stop()
    });
}

/// Whether the other side has closed it, which was said nothing on.
fn is_closed(stream: &mut TcpStream) -> bool {
    !matches!(stream.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
}

/// Connections of four addresses, as many as they get, each with a head that does not come to its end.
fn held_by_four(node: &Node) -> Result<Vec<TcpStream>> {
    let mut held = Vec::new();
    for number in 0..256u16 {
        let mut stream = connect_from([127, 0, 0, 1 + (number / 64) as u8], node.admin)?;
        // one that is closed at once may say so
        let _ = stream.write_all(b"GET");
        stream.set_nonblocking(true)?;
        held.push(stream);
    }
    Ok(held)
}

#[test]
fn probes_get_in_while_a_few_hold_all_they_may() {
    let world = World::empty().unwrap();
    run(|| {
        world.set("admin.token", TOKEN);
        let node = world.start(&[])?;
        // where this machine is so slow that those who hold them were closed for that meanwhile, once more
        wait::until("a probe among all others", READY, || {
            let told = || -> Result<usize> {
                let mut held = held_by_four(&node)?;
                let mut probe = connect_from([127, 0, 0, 9], node.admin)?;
                for path in ["/healthz", "/readyz"] {
                    write!(probe, "GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
                    let told = answer(&mut probe)?;
                    ensure!(told.starts_with("HTTP/1.1 200 "), "{path}: {told}");
                }
                Ok(held.iter_mut().filter_map(|stream| (!is_closed(stream)).then_some(())).count())
            };
            told().is_ok_and(|held| held == 224).then_some(())
        })?;
        node.stop()
    });
}
