//! Which listeners may be open to others, and what has to be said for it.

use anyhow::{Result, ensure};

use crate::TOKEN;
use crate::support::world::{World, run};

const DOCKERFILE: &str = include_str!("../../Dockerfile");
const COMPOSE: &str = include_str!("../../docker-compose.kafka.yml");

/// What would be open to others says so and is not opened; whoever means it says it in the configuration.
#[test]
fn open_listeners_are_refused_at_start() {
    let world = World::empty().unwrap();
    run(|| {
        let any = "0.0.0.0:0";
        let (http, admin) = (("http.listen", any), ("admin.listen", any));
        let here = [("http.listen", "127.0.0.1:0"), ("admin.listen", "127.0.0.1:0")];
        let may = [("http.allow_open", "true"), ("admin.allow_open", "true")];
        let kafka = [("buffer.strategy", "kafka"), ("buffer.kafka.brokers", "127.0.0.1:1")];
        let refused = |args: &[&str], settings: &[(&str, &str)], words: &[&str]| -> Result<()> {
            let ended = world.command_with(args, settings)?;
            ensure!(ended.code == 2, "{args:?} {settings:?}: {ended:?}");
            let is_told = words.iter().all(|word| ended.stderr.contains(word));
            ensure!(is_told && ended.stdout.is_empty(), "{args:?} {settings:?}: {ended:?}");
            Ok(())
        };
        let of_http = ["http.listen = 0.0.0.0:0", "http.allow_open", "FLOODGATE__HTTP__ALLOW_OPEN=true"];
        let of_admin = ["admin.listen = 0.0.0.0:0", "admin.token", "FLOODGATE__ADMIN__ALLOW_OPEN=true"];
        for args in [&[][..], &["run"], &["config"], &["config", "--check"]] {
            refused(args, &[http, here[1]], &of_http)?;
            refused(args, &[here[0], admin], &of_admin)?;
            refused(args, &[http, admin], &["2 problems", of_http[0], of_admin[0]])?;
            refused(args, &[("http.listen", "[::]:0"), here[1]], &["http.listen = [::]:0"])?;
            refused(args, &[http, admin, ("admin.token", TOKEN)], &of_http)?;
        }
        refused(&["serve"], &[kafka[0], kafka[1], http, here[1]], &of_http)?;
        refused(&["consume"], &[kafka[0], kafka[1], http, admin], &of_admin)?;
        let ended = world.command_with(&["config", "--check"], &[http, admin, may[0], may[1]])?;
        ensure!(ended.code == 0 && ended.stdout.is_empty(), "{ended:?}");
        let mapped = [("http.listen", "[::ffff:127.0.0.1]:0"), ("admin.listen", "[::1]:0")];
        ensure!(world.command_with(&["config", "--check"], &mapped)?.code == 0);
        // commands that open neither are nobody's way in
        let ended = world.command_with(&["migrate"], &[http, admin])?;
        ensure!(ended.code == 0, "{ended:?}");

        // what is told of a token is not the token
        refused(&["config"], &[("admin.token", "short-secret")], &["admin.token", "16 to 256"])?;
        refused(&["config"], &[("admin.token", "sha256:0123")], &["admin.token", "64 hex"])?;
        refused(
            &["config"],
            &[("admin.hosts", "https://ops.example")],
            &["admin.hosts[0]", "no host's name"],
        )?;
        let ended = world
            .command_with(&["config"], &[("admin.token", TOKEN), ("admin.hosts", "a.example,b.example")])?;
        ensure!(ended.code == 0 && ended.stdout.contains("token = \"***\""), "{ended:?}");
        ensure!(
            !format!("{ended:?}").contains(TOKEN)
                && ended.stdout.contains("hosts = [\"a.example\", \"b.example\"]"),
            "{ended:?}"
        );
        Ok(())
    });
}

/// A consumer reads the ingress' configuration and opens its own listener only: what it is told here is of something else.
#[test]
fn a_consumer_is_not_refused_for_a_listener_that_it_never_opens() {
    let world = World::empty().unwrap();
    run(|| {
        let settings = [("http.listen", "0.0.0.0:0"), ("admin.listen", "127.0.0.1:0")];
        let ended = world.command_with(&["consume"], &settings)?;
        let is_of_memory = ended.stderr.contains("needs a strategy that processes share");
        ensure!(ended.code == 2 && is_of_memory && !ended.stderr.contains("http.listen"), "{ended:?}");
        Ok(())
    });
}

/// An image that is run as it is says what to set; the compose file has set it, and publishes on this host alone.
#[test]
fn images_are_open_only_where_it_is_said() {
    let world = World::empty().unwrap();
    run(|| {
        let set = |line: &str| -> Vec<(String, String)> {
            let words = line.split_whitespace().filter_map(|word| word.strip_prefix("FLOODGATE__"));
            words
                .filter_map(|word| word.split_once('='))
                .map(|(key, value)| (key.replace("__", ".").to_lowercase(), value.to_owned()))
                .collect()
        };
        let image: Vec<_> =
            DOCKERFILE.lines().filter(|line| line.starts_with("ENV ")).flat_map(set).collect();
        ensure!(image.len() == 2, "{image:?}");
        let as_given = |settings: &[(String, String)]| -> Result<_> {
            let settings: Vec<_> =
                settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            world.command_with(&["config", "--check"], &settings)
        };
        let ended = as_given(&image)?;
        ensure!(
            ended.code == 2
                && ended.stderr.contains("http.allow_open")
                && ended.stderr.contains("admin.token"),
            "{ended:?}"
        );

        let lines = COMPOSE.lines().filter_map(|line| line.trim().strip_prefix("FLOODGATE__"));
        let composed = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(key, value)| (key.replace("__", ".").to_lowercase(), value.trim_matches('"').to_owned()));
        let doors: Vec<_> = composed
            .filter(|(key, _)| ["http.", "admin."].iter().any(|section| key.starts_with(section)))
            .collect();
        let ended = as_given(&[image, doors].concat())?;
        ensure!(ended.code == 0, "{ended:?}");
        for ports in COMPOSE.lines().filter(|line| line.trim().starts_with("ports:")) {
            ensure!(
                ports.matches('"').count() == 2 * ports.matches("\"127.0.0.1:").count(),
                "published to all: {ports}"
            );
        }
        Ok(())
    });
}
