//! How often, how long and by whose word: against a registry that says what a test wants.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, Method, Response, StatusCode};
use floodgate_observe::{Metrics, RegistryMetrics};
use floodgate_registry::{Memory, Registry, RegistryConfig, RegistryError, subject};
use floodgate_schemas::codec::{Codecs, encode, schema_of};
use floodgate_schemas::examples::like;
use floodgate_schemas::{BoxFuture, EventType, Like, LikeAction};
use floodgate_testkit::wait;
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// As batches have it.
const PATIENCE: Option<Duration> = Some(Duration::from_secs(1));

const DEADLINE: Duration = Duration::from_secs(60);

/// What the registry answers: a status, and a text where there is one.
type Answer = Arc<dyn Fn(&Method, &str) -> (u16, String) + Send + Sync>;

/// A registry that notes what it is asked.
struct Fake {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<(String, HeaderMap)>>>,
    /// Whether it answers, or keeps whoever asks waiting.
    answers: watch::Sender<bool>,
}

impl Fake {
    async fn start(answer: Answer) -> Self {
        let asked = Arc::<Mutex<Vec<(String, HeaderMap)>>>::default();
        let (answers, gate) = watch::channel(true);
        let noted = Arc::clone(&asked);
        let router = Router::new().fallback(move |request: Request| {
            let (answer, noted, mut gate) = (Arc::clone(&answer), Arc::clone(&noted), gate.clone());
            async move {
                let path = request.uri().path().to_owned();
                noted.lock().unwrap().push((path.clone(), request.headers().clone()));
                gate.wait_for(|answers| *answers).await.unwrap();
                let (status, text) = answer(request.method(), &path);
                let mut response = Response::new(Body::from(text));
                *response.status_mut() = StatusCode::from_u16(status).unwrap();
                response
            }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, asked, answers }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn asked(&self, path: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|(asked, _)| asked == path).count()
    }
}

/// Remembers as long as the test lasts.
#[derive(Debug, Default)]
struct Kept {
    schemas: Mutex<HashMap<u32, String>>,
    is_away: Mutex<bool>,
}

impl Kept {
    fn answer<T: Send + 'static>(&self, answer: T) -> BoxFuture<'static, Result<T, String>> {
        let is_away = *self.is_away.lock().unwrap();
        Box::pin(async move { if is_away { Err("away".to_owned()) } else { Ok(answer) } })
    }
}

impl Memory for Kept {
    fn recall(&self, id: u32) -> BoxFuture<'_, Result<Option<String>, String>> {
        self.answer(self.schemas.lock().unwrap().get(&id).cloned())
    }

    fn keep<'m>(&'m self, id: u32, schema: &'m str) -> BoxFuture<'m, Result<String, String>> {
        self.answer(self.schemas.lock().unwrap().entry(id).or_insert_with(|| schema.to_owned()).clone())
    }
}

fn config(url: &str) -> RegistryConfig {
    RegistryConfig {
        url: url.to_owned(),
        username: String::new(),
        password: String::new().into(),
        register: true,
        timeout_ms: 30_000,
        check_ms: 100,
    }
}

fn metrics() -> RegistryMetrics {
    Metrics::new().unwrap().schema_registry
}

fn open(config: &RegistryConfig, memory: &Arc<Kept>, metrics: &RegistryMetrics) -> Arc<Registry> {
    let subjects = EventType::ALL.map(|of| (of, subject(of.topic()))).to_vec();
    Arc::new(Registry::open(config, subjects, Arc::clone(memory) as _, metrics).unwrap())
}

/// A like by the schema of a number.
fn value(id: u32) -> Vec<u8> {
    let mut value = Vec::new();
    encode(&like(1, "star", "ann", LikeAction::Like, 5), &mut value);
    [&[0][..], &id.to_be_bytes(), &value[10..]].concat()
}

async fn reads(codecs: &Codecs, id: u32) -> bool {
    let value = value(id);
    codecs.prepare([&value[..]].into_iter()).await;
    codecs.decode::<Like>(&value).is_ok()
}

fn schema(schema: &str) -> (u16, String) {
    (200, json!({ "schema": schema }).to_string())
}

fn likes() -> (u16, String) {
    schema(schema_of(EventType::Like))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_is_asked_for_once_however_many_want_it() {
    let fake = Fake::start(Arc::new(|_, _| likes())).await;
    let codecs = open(&config(&fake.url()), &Arc::default(), &metrics()).codecs(PATIENCE, Handle::current());
    fake.answers.send_replace(false);
    let all: Vec<_> = (0..20)
        .map(|_| {
            let codecs = codecs.clone();
            tokio::spawn(async move {
                // whoever has waited long enough comes back
                while !reads(&codecs, 7).await {}
            })
        })
        .collect();
    wait::until_async("the question", DEADLINE, || async {
        (fake.asked("/schemas/ids/7") > 0).then_some(())
    })
    .await
    .unwrap();
    fake.answers.send_replace(true);
    for one in all {
        tokio::time::timeout(DEADLINE, one).await.unwrap().unwrap();
    }
    assert!(reads(&codecs, 7).await);
    assert_eq!(fake.asked("/schemas/ids/7"), 1);
    // also by whoever reads without a runtime
    let read = std::thread::spawn(move || futures_executor::block_on(reads(&codecs, 8))).join().unwrap();
    assert!(read);
}

#[tokio::test(flavor = "multi_thread")]
async fn none_is_remembered_for_seconds_and_trouble_never() {
    let fake = Fake::start(Arc::new(|_, path| match path {
        "/schemas/ids/404" => (404, json!({"error_code": 40403, "message": "no such schema"}).to_string()),
        "/schemas/ids/500" => (500, "<html>".to_owned()),
        "/schemas/ids/429" => (429, String::new()),
        "/schemas/ids/200" => (200, "no JSON".to_owned()),
        _ => (302, String::new()),
    }))
    .await;
    let codecs = open(&config(&fake.url()), &Arc::default(), &metrics()).codecs(PATIENCE, Handle::current());
    let began = Instant::now();
    for id in [404, 500, 429, 200, 300] {
        for _ in 0..3 {
            assert!(!reads(&codecs, id).await);
        }
        let asked = fake.asked(&format!("/schemas/ids/{id}"));
        match id {
            // a machine may be slow
            404 => assert!(asked == 1 || began.elapsed() > Duration::from_secs(4), "{asked}"),
            _ => assert!(asked > 1, "{id}: {asked}"),
        }
    }
    wait::until_async("the question to be asked again", DEADLINE, || async {
        reads(&codecs, 404).await;
        (fake.asked("/schemas/ids/404") > 1).then_some(())
    })
    .await
    .unwrap();
}

/// A batch is not kept waiting by a registry that hangs; its answer is used when it comes.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_long() {
    let fake = Fake::start(Arc::new(|_, _| likes())).await;
    let codecs = open(&config(&fake.url()), &Arc::default(), &metrics()).codecs(PATIENCE, Handle::current());
    fake.answers.send_replace(false);
    // long before the registry's own time is over, of however many
    let values: Vec<_> = (7..57).map(value).collect();
    let prepared = codecs.prepare(values.iter().map(Vec::as_slice));
    tokio::time::timeout(Duration::from_secs(20), prepared).await.unwrap();
    assert!(!tokio::time::timeout(Duration::from_secs(20), reads(&codecs, 7)).await.unwrap());
    // whoever does not come back waits
    let patient = open(&config(&fake.url()), &Arc::default(), &metrics()).codecs(None, Handle::current());
    let patient = tokio::spawn(async move { reads(&patient, 7).await });
    fake.answers.send_replace(true);
    assert!(patient.await.unwrap());
    wait::until_async("the answer", DEADLINE, || async { reads(&codecs, 7).await.then_some(()) })
        .await
        .unwrap();
    assert_eq!(fake.asked("/schemas/ids/7"), 2, "one each");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_address_is_asked_with_the_password() {
    let fake = Fake::start(Arc::new(|_, _| likes())).await;
    let url = format!("http://127.0.0.1:1,{}/", fake.url());
    let config =
        RegistryConfig { username: "ann".to_owned(), password: "secret".to_owned().into(), ..config(&url) };
    assert!(reads(&open(&config, &Arc::default(), &metrics()).codecs(PATIENCE, Handle::current()), 7).await);
    {
        let asked = fake.asked.lock().unwrap();
        let [(path, headers)] = &asked[..] else { panic!("{asked:?}") };
        assert_eq!(path, "/schemas/ids/7");
        // base64 of ann:secret
        assert_eq!(headers["authorization"], "Basic YW5uOnNlY3JldA==");
    }
    // the first that answers counts, whatever it says; one in trouble is none that answers
    let says = |status: u16| Fake::start(Arc::new(move |_, _| (status, String::new())));
    let (missing, refuses, troubled) = (says(404).await, says(409).await, says(503).await);
    let open = |first: &Fake, then: &str| {
        open(
            &RegistryConfig { url: format!("{},{then}", first.url()), ..config.clone() },
            &Arc::default(),
            &metrics(),
        )
    };
    let dead = "http://127.0.0.1:1";
    assert_eq!(open(&missing, dead).versions("s").await, Ok(Vec::new()));
    let told = open(&refuses, dead).register("s", "\"int\"").await.unwrap_err();
    assert!(matches!(told, RegistryError::Refused(_)), "{told}");
    assert!(reads(&open(&troubled, &fake.url()).codecs(PATIENCE, Handle::current()), 7).await);
    let told = open(&troubled, dead).versions("s").await.unwrap_err().to_string();
    assert!(told.contains("503") && told.contains(dead), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_remembered_stands() {
    let fake = Fake::start(Arc::new(|_, path| match path {
        "/schemas/ids/1" => likes(),
        "/schemas/ids/2" => schema(schema_of(EventType::Coupon)),
        "/schemas/ids/3" => (404, String::new()),
        "/schemas/ids/5" => (200, json!({ "schema": "message A {}", "schemaType": "PROTOBUF" }).to_string()),
        _ => (503, String::new()),
    }))
    .await;
    let (memory, metrics) = (Arc::<Kept>::default(), metrics());
    for id in [2, 3, 4, 5] {
        memory.schemas.lock().unwrap().insert(id, schema_of(EventType::Like).replace(' ', ""));
    }
    let codecs = || open(&config(&fake.url()), &memory, &metrics).codecs(PATIENCE, Handle::current());
    // deleted, or not there now
    assert!(reads(&codecs(), 3).await && reads(&codecs(), 4).await);
    // another one than it was: nothing is read by either
    assert!(!reads(&codecs(), 2).await && !reads(&codecs(), 5).await);
    assert_eq!(metrics.conflicts.get(), 2);
    // nothing is read that is not remembered first
    *memory.is_away.lock().unwrap() = true;
    let own = codecs();
    assert!(!reads(&own, 1).await && !memory.schemas.lock().unwrap().contains_key(&1));
    *memory.is_away.lock().unwrap() = false;
    assert!(reads(&own, 1).await && memory.schemas.lock().unwrap().contains_key(&1));
}

/// Runs an ingress' part until its ids are as wanted, or it says why not.
async fn ids(registry: &Arc<Registry>, is_so: impl Fn([Option<u32>; 3], Option<String>) -> bool) {
    let stop = CancellationToken::new();
    let (runs, until) = (Arc::clone(registry), stop.clone());
    let running = tokio::spawn(async move { runs.run(&until).await });
    wait::until_async("the ids", DEADLINE, || async {
        let why = registry.encoder().ready().err().map(|no_id| no_id.to_string());
        is_so(EventType::ALL.map(|of| registry.ids().get(of)), why).then_some(())
    })
    .await
    .unwrap();
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_are_not_trusted() {
    let place = |path: &str| EventType::ALL.into_iter().position(|of| path.contains(of.topic()));
    let ours = |path: &str| match path {
        "/schemas/ids/11" => Some(EventType::Expectation),
        "/schemas/ids/12" => Some(EventType::Coupon),
        "/schemas/ids/13" => Some(EventType::Like),
        _ => None,
    };
    let honest = move |_: &Method, path: &str| match (place(path), ours(path)) {
        (Some(place), _) => (200, json!({ "id": 11 + place }).to_string()),
        (_, Some(of)) => schema(schema_of(of)),
        _ => (404, String::new()),
    };
    let fake = Fake::start(Arc::new(honest)).await;
    let memory = Arc::<Kept>::default();
    let registry = open(&config(&fake.url()), &memory, &metrics());
    ids(&registry, |ids, why| ids == [Some(11), Some(12), Some(13)] && why.is_none()).await;
    assert_eq!(memory.schemas.lock().unwrap().len(), 3);

    // it gives a number that stands for something else
    let lies = move |method: &Method, path: &str| match path {
        "/schemas/ids/12" => likes(),
        path => honest(method, path),
    };
    let fake = Fake::start(Arc::new(lies)).await;
    let registry = open(&config(&fake.url()), &Arc::default(), &metrics());
    ids(&registry, |ids, why| {
        ids == [Some(11), None, Some(13)] && why.is_some_and(|why| why.contains("another schema for the id"))
    })
    .await;

    // it was made anew, and the numbers were others' before; while the database is away nobody can tell
    let memory = Arc::<Kept>::default();
    memory.schemas.lock().unwrap().insert(11, schema_of(EventType::Like).to_owned());
    let fake = Fake::start(Arc::new(honest)).await;
    let metrics = metrics();
    let registry = open(&config(&fake.url()), &memory, &metrics);
    ids(&registry, |ids, why| {
        ids == [None, Some(12), Some(13)] && why.is_some_and(|why| why.contains("made anew"))
    })
    .await;
    assert!(metrics.conflicts.get() > 0);
    *memory.is_away.lock().unwrap() = true;
    ids(&registry, |ids, _| ids == [Some(11), Some(12), Some(13)]).await;
}

/// A number that readers would take for garbage is none to write with; what is refused tells the registry's words.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_is_told() {
    let huge = 1 << 24;
    let fake = Fake::start(Arc::new(move |method, path| match path {
        path if path.starts_with("/schemas/") => schema(schema_of(EventType::Expectation)),
        _ if method == Method::POST => (200, json!({ "id": huge }).to_string()),
        _ => (409, json!({"error_code": 409, "message": "incompatible"}).to_string()),
    }))
    .await;
    let registry = open(&config(&fake.url()), &Arc::default(), &metrics());
    ids(&registry, |_, why| why.is_some_and(|why| why.contains("16777216"))).await;

    let refuses = |status: u16| {
        Fake::start(Arc::new(move |_, _| {
            (status, json!({"error_code": 1, "message": "because\n"}).to_string())
        }))
    };
    for (status, wanted) in
        [(404, "not found"), (409, "refused"), (401, "refused"), (429, "passes"), (503, "passes")]
    {
        let fake = refuses(status).await;
        let registry = open(&config(&fake.url()), &Arc::default(), &metrics());
        let error = registry.register("s", "\"int\"").await.unwrap_err();
        let told = match &error {
            RegistryError::NotFound(_) => "not found",
            RegistryError::Refused(_) => "refused",
            RegistryError::Unusable(_) => "unusable",
            RegistryError::Unavailable(_) => "passes",
        };
        assert_eq!(told, wanted, "{error}");
        assert!(error.to_string().ends_with(&format!("says {status}: because")), "{error}");
    }
}
