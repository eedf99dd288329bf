//! What goes to PostgreSQL goes over TLS, to the server that the URL names, and a server that declines TLS is told nothing.
//!
//! Servers are on this machine. 0.0.0.0 leads to it as well, and is an address like those of other machines to whoever looks.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::OnceLock;
use std::thread::JoinHandle;

use floodgate_store::{Config, Pooler, ReadError, SchemaState, open};
use floodgate_testkit::{Certificates, Postgres, PostgresOptions};

const SECRET: &str = "open-sesame";

/// What a client sends that asks for TLS.
const TLS_WANTED: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

fn config(url: &str) -> Config {
    Config {
        url: url.into(),
        pooler: Pooler::None,
        max_connections: 4,
        connect_timeout_ms: 5_000,
        statement_timeout_ms: 10_000,
        lock_timeout_ms: 5_000,
        apply_timeout_ms: 15_000,
    }
}

async fn look(url: &str) -> Result<SchemaState, ReadError> {
    open(&config(url)).unwrap().schema_state().await
}

#[track_caller]
fn assert_refused(result: Result<SchemaState, ReadError>, reason: &str) {
    match result {
        Err(ReadError::Unavailable(text)) if text.contains(reason) && !text.contains(SECRET) => {}
        other => panic!("not refused for `{reason}`: {other:?}"),
    }
}

/// One connection to a server that is none: it declines TLS, asks for the password as it is, and keeps all that it is sent.
struct Impostor {
    port: u16,
    told: JoinHandle<Vec<u8>>,
}

impl Impostor {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let told = std::thread::spawn(move || listen(&mut listener.accept().unwrap().0));
        Self { port, told }
    }

    fn told(self) -> Vec<u8> {
        self.told.join().unwrap()
    }
}

fn listen(client: &mut TcpStream) -> Vec<u8> {
    let mut told = vec![0; TLS_WANTED.len()];
    client.read_exact(&mut told).unwrap();
    // a client that does not ask has begun to talk
    let answer: &[u8] = if told == TLS_WANTED { b"N" } else { b"" };
    client.write_all(answer).unwrap();
    let mut buffer = [0; 1024];
    while let Ok(length @ 1..) = client.read(&mut buffer) {
        told.extend_from_slice(&buffer[..length]);
        // AuthenticationCleartextPassword
        let _ = client.write_all(&[b'R', 0, 0, 0, 8, 0, 0, 0, 3]);
        if contains(&told, SECRET) {
            break;
        }
    }
    told
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_declines_tls_is_told_nothing() {
    for (host, parameters) in [
        ("0.0.0.0", ""),
        ("0.0.0.0", "?sslrootcert=/none.pem"),
        ("0.0.0.0", "?sslmode=require"),
        ("localhost", "?sslmode=require"),
        ("127.0.0.1", "?sslmode=verify-ca"),
        ("127.0.0.1", "?sslmode=verify-full"),
    ] {
        let impostor = Impostor::start();
        let url = format!("postgres://ann:{SECRET}@{host}:{}/secrets{parameters}", impostor.port);
        assert_refused(look(&url).await, "declines TLS");
        assert_eq!(impostor.told(), TLS_WANTED, "{url}");
    }
}

/// Where the URL says so, or nobody else is on the way: what shows that the one above would notice.
#[tokio::test(flavor = "multi_thread")]
async fn where_tls_is_not_wanted_a_password_is_sent() {
    for (host, parameters) in
        [("127.0.0.1", ""), ("0.0.0.0", "?sslmode=prefer"), ("0.0.0.0", "?sslmode=disable")]
    {
        let impostor = Impostor::start();
        let url = format!("postgres://ann:{SECRET}@{host}:{}/secrets{parameters}", impostor.port);
        assert!(look(&url).await.is_err());
        assert!(contains(&impostor.told(), SECRET), "{url}");
    }
}

fn secured() -> &'static (Postgres, Certificates) {
    static SERVER: OnceLock<(Postgres, Certificates)> = OnceLock::new();
    SERVER.get_or_init(|| {
        let server = Postgres::start(PostgresOptions::default()).unwrap();
        let certificates = server.secure().unwrap();
        (server, certificates)
    })
}

/// Whether a connection is secured, or why there is none.
async fn connected(server: &Postgres, host: &str, parameters: &str) -> Result<bool, ReadError> {
    let database = server.create_database().unwrap();
    let separator = if parameters.is_empty() { "" } else { "?" };
    let url = database.replace("@127.0.0.1:", &format!("@{host}:")) + separator + parameters;
    let store = open(&config(&url)).unwrap();
    store.schema_state().await?;
    // it is kept for whoever comes next
    let name = database.rsplit('/').next().unwrap();
    let sql =
        format!("SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE datname = '{name}'");
    Ok(server.psql("postgres", &sql).unwrap().trim() == "t")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_has_to_prove_that_it_is_the_one_in_the_url() {
    let (server, certificates) = secured();
    let root = format!("sslrootcert={}", certificates.authority.display());
    let other = tempfile::tempdir().unwrap();
    let other = Certificates::make(other.path())
        .map(|made| format!("sslrootcert={}", made.authority.display()))
        .unwrap();
    let is_secured = async |host: &str, parameters: &str| connected(server, host, parameters).await;
    let refused = async |host: &str, parameters: &str| {
        assert_refused(
            is_secured(host, parameters).await.map(|_| SchemaState::Missing),
            "does not prove that it is the server",
        );
    };
    assert_eq!(is_secured("localhost", &format!("sslmode=verify-full&{root}")).await, Ok(true));
    // nobody this machine knows signed it, and it is another's
    refused("localhost", "sslmode=verify-full").await;
    refused("0.0.0.0", "").await;
    refused("0.0.0.0", &root).await;
    assert_eq!(is_secured("0.0.0.0", &format!("sslmode=verify-ca&{root}")).await, Ok(true));
    refused("localhost", &format!("sslmode=verify-full&{other}")).await;
    refused("0.0.0.0", &format!("sslmode=require&{other}")).await;
    // where nobody else is on the way, or any server will do
    assert_eq!(is_secured("localhost", "").await, Ok(true));
    assert_eq!(is_secured("0.0.0.0", "sslmode=require").await, Ok(true));
    assert_eq!(is_secured("0.0.0.0", "sslmode=disable").await, Ok(false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_tls_is_used_where_the_url_says_so() {
    let server = Postgres::start(PostgresOptions::default()).unwrap();
    assert_refused(connected(&server, "0.0.0.0", "").await.map(|_| SchemaState::Missing), "?sslmode=disable");
    assert_eq!(connected(&server, "0.0.0.0", "sslmode=disable").await, Ok(false));
    assert_eq!(connected(&server, "127.0.0.1", "").await, Ok(false));
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_are_taken_raw_and_addresses_of_ipv6_as_they_are_written() {
    let settings = vec![("listen_addresses".to_owned(), "127.0.0.1, ::1".to_owned())];
    let server = Postgres::start(PostgresOptions { settings, ..PostgresOptions::default() }).unwrap();
    let raw = "p@s/s?w#o:r%d &=[x]";
    server.psql("postgres", &format!("CREATE ROLE ann LOGIN PASSWORD '{raw}'")).unwrap();
    let port = server.port();
    for url in [
        format!("postgres://ann:{raw}@127.0.0.1:{port}/postgres"),
        format!("postgres://ann:{raw}@[::1]:{port}/postgres?application_name=x"),
        format!("postgres://ann@[::1]:{port}/postgres?password=p@s/s?w%23o:r%d %26=[x]"),
        format!("postgresql:///postgres?host=::1&port={port}&user=ann&password=p%40s/s?w%23o:r%d %26=[x]\n"),
    ] {
        assert_eq!(look(&url).await, Ok(SchemaState::Missing), "{}", config(&url).masked_url());
    }
}
