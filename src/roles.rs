//! What the roles share: opening, listening, stopping.
//!
//! A role stops in the order in which events flow: the ingress first (unready, a grace in which it still
//! serves, then no more requests, then a flush), the consumers after it, the operators' listener last. All of
//! it shares one deadline.

use std::sync::Arc;
use std::time::{Duration, Instant};

use floodgate_admin::dead_letters::{DeadLetterTopic, LetterWatch};
use floodgate_admin::{
    About, AdminServer, CouponReport, LagExport, LagWatch, LookAtCoupons, Operators, Readiness,
};
use floodgate_buffer::{Given, Parts, Publish, Strategy, Then};
use floodgate_consumers::{Consumers, Health, Members};
use floodgate_ledger::Search;
use floodgate_observe::{Metrics, logs};
use floodgate_producer::{Admission, Handed, HttpConfig, Ingress, Server, Tls};
use floodgate_registry::Registry;
use floodgate_schemas::{Chance, Clock, Codecs, Encoder, EventType, SystemChance, SystemClock};
use floodgate_store::{Coupon, Store};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::exit::Exit;
use crate::settings::{Settings, told};
use crate::signals::{Signal, Signals};
use crate::traces::Traces;
use crate::{clear, exposure, finder, measure, owners, registry};

/// What every role opens first. None of it needs Kafka or the database to be up.
pub(crate) struct Opened {
    pub(crate) settings: Settings,
    pub(crate) metrics: Metrics,
    pub(crate) strategy: Arc<dyn Strategy>,
    pub(crate) publisher: Arc<dyn Publish>,
    pub(crate) store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    chance: Arc<dyn Chance>,
    codecs: Codecs,
    registry: Option<Arc<Registry>>,
    pub(crate) traces: Traces,
}

impl Opened {
    /// Within a runtime, on which what was published is reported.
    pub(crate) fn new(settings: &Settings) -> Result<Self, Exit> {
        let strategy = open_strategy(settings)?;
        let publisher = strategy.publisher().map_err(Exit::usage)?;
        let store = floodgate_store::open(&settings.store).map_err(Exit::usage)?;
        let metrics = Metrics::new().map_err(Exit::failed)?;
        let Given { clock, chance, .. } = given();
        let registry = registry::open(settings, &*strategy, &store, &metrics.schema_registry)?;
        let (settings, codecs) = (settings.clone(), registry::codecs(registry.as_ref()));
        let traces = Traces::open(&settings, &strategy, &metrics, (&clock, &chance))?;
        let shown = owners::warnings(&settings, &*strategy, &*store);
        let warnings = clear::warnings(&settings, &*strategy).into_iter().chain(shown);
        warnings.for_each(|warning| tracing::warn!("{warning}"));
        Ok(Self { settings, metrics, strategy, publisher, store, clock, chance, codecs, registry, traces })
    }

    /// Refuses a role that would see nothing of what other processes hold.
    pub(crate) fn need_shared(&self, role: &str) -> Result<(), Exit> {
        if self.strategy.reach().is_shared {
            return Ok(());
        }
        Err(Exit::usage(format!(
            "`floodgate {role}` needs a strategy that processes share, and {} lives in one process: use `floodgate run`, \
             or choose another buffer.strategy",
            self.strategy.name()
        )))
    }

    /// `[http]`. A client that lingers must not be what a stop waits for.
    fn http(&self) -> HttpConfig {
        let linger_ms = self.settings.http.linger_ms.min(self.settings.shutdown.deadline_ms / 4);
        HttpConfig { linger_ms, ..self.settings.http.clone() }
    }

    /// Opens the clients' listener. Nothing is served before [`IngressRole::start`].
    pub(crate) fn ingress(&self) -> Result<IngressRole, Exit> {
        let http = &self.http();
        raise_file_limit(http.connections_max);
        let (publisher, reads) = (Arc::clone(&self.publisher), Arc::clone(&self.store));
        let (clock, chance) = (Arc::clone(&self.clock), Arc::clone(&self.chance));
        let encoder =
            self.registry.as_ref().map_or_else(Encoder::single_object, |registry| registry.encoder());
        let Settings { auth, rate_limit, coupon, .. } = &self.settings;
        let admission = Admission::open(auth, rate_limit, &self.metrics.http, Arc::clone(&clock));
        for warning in exposure::clients_warnings(&self.settings) {
            tracing::warn!("{warning}");
        }
        let admission = admission.map_err(|problems| Exit::usage(told(&problems)))?;
        let (tracer, door) = (self.traces.tracer.clone(), coupon.door());
        let handed = Handed { clock, chance, encoder, tracer, admission, door };
        let ingress = Ingress::new(http, self.settings.keying(), publisher, reads, &self.metrics, handed);
        let tls = Tls::open(&http.tls, &self.metrics.http, Arc::clone(&self.clock)).map_err(Exit::usage)?;
        let server = Server::bind(http, &ingress).map_err(Exit::failed)?.secured(tls.clone());
        let scheme = if tls.is_some() { "https" } else { "http" };
        let address = format!("{scheme}://{}", server.local_addr().map_err(Exit::failed)?);
        // a request is answered within these, a heavy one's wait for a place and two look-ups included; and half of the time at least is left
        // for what comes after
        let answered_ms = http.request_deadline_ms.saturating_mul(2);
        let longest = Duration::from_millis(http.send_timeout_ms.saturating_add(answered_ms));
        let drain = longest.min(Duration::from_millis(self.settings.shutdown.deadline_ms / 2));
        let stop = CancellationToken::new();
        if let Some(registry) = &self.registry {
            let (registry, until) = (Arc::clone(registry), stop.clone());
            let run = move || {
                let (registry, until) = (Arc::clone(&registry), until.clone());
                async move { registry.run(&until).await }
            };
            // events are written on with the ids that are known
            tokio::spawn(Parts::of_this_process().keep("schema-registry", Then::GoOn, run));
        }
        let (admitting, until) = (Arc::clone(&ingress), stop.clone());
        let run = move || {
            let (admitting, until) = (Arc::clone(&admitting), until.clone());
            async move { admitting.keep_admitting(&until).await }
        };
        // clients are let in on with what is known
        tokio::spawn(Parts::of_this_process().keep("admission", Then::GoOn, run));
        Ok(IngressRole { ingress, address, server, tls, drain, stop })
    }

    /// Opens the operators' listener of a role.
    pub(crate) async fn admin(&self, role: &'static str, readiness: Readiness) -> Result<AdminRole, Exit> {
        let exports = match self.settings.lag.export {
            LagExport::Auto => role != "consume",
            LagExport::On => true,
            LagExport::Off => false,
        };
        let gauges = exports.then(|| self.metrics.lag.clone());
        let letters_refresh = self.settings.lag.dead_letters_refresh_ms;
        let lag = LagWatch::new(Arc::clone(&self.strategy), gauges, Arc::clone(&self.clock));
        let dead_letters = DeadLetterTopic {
            strategy: Arc::clone(&self.strategy),
            clock: Arc::clone(&self.clock),
            codecs: self.codecs.clone(),
        };
        let letters = (exports && letters_refresh > 0)
            .then(|| LetterWatch::new(dead_letters.clone(), self.metrics.letters.clone()));
        let refresh = Duration::from_millis(self.settings.lag.refresh_ms);
        let operators = Operators {
            about: About {
                role,
                version: env!("CARGO_PKG_VERSION"),
                started_at: self.clock.now(),
                strategy: self.strategy.name(),
                place: self.strategy.place(),
                promise: self.strategy.promise(),
            },
            metrics: self.metrics.clone(),
            lag: Arc::clone(&lag),
            refresh,
            readiness,
            dead_letters,
            publisher: Arc::clone(&self.publisher),
            find: finder::looks(self.search()),
            coupons: self.looks_at_coupons(),
            clock: Arc::clone(&self.clock),
            chance: Arc::clone(&self.chance),
            measure: measure::of(&self.settings, &self.store),
        };
        measure::tell_build(&self.metrics.state, (role, self.strategy.name(), exports));
        if let Some(warning) = exposure::operators_warning(&self.settings) {
            tracing::warn!("{warning}");
        }
        let server = AdminServer::bind(&self.settings.admin, operators, self.http().linger());
        let server = server.await.map_err(Exit::failed)?;
        let address = server.local_addr().map_err(Exit::failed)?.to_string();
        let stop = CancellationToken::new();
        let parts = Parts::of_this_process();
        let (updates, until) = (server.updates(), stop.clone());
        tokio::spawn(parts.keep("page", Then::GoOn, move || updates.clone().run(until.clone())));
        tokio::spawn(parts.once("operators-listener", server.run(stop.clone())));
        let until = stop.clone();
        let watch = move || Arc::clone(&lag).run(refresh, until.clone());
        tokio::spawn(parts.keep("lag-watch", Then::GoOn, watch));
        if let Some(letters) = letters {
            let (refresh, until) = (Duration::from_millis(letters_refresh), stop.clone());
            let watch = move || Arc::clone(&letters).run(refresh, until.clone());
            tokio::spawn(parts.keep("letters-watch", Then::GoOn, watch));
        }
        Ok(AdminRole { address, stop })
    }

    /// For `/where`.
    fn search(&self) -> Search {
        Search {
            strategy: Arc::clone(&self.strategy),
            store: Arc::clone(&self.store),
            codecs: self.codecs.clone(),
            kept: self.settings.coupon.decisions_kept(),
            clock: Arc::clone(&self.clock),
        }
    }

    /// For the page: what is not known is not shown.
    fn looks_at_coupons(&self) -> LookAtCoupons {
        const SHOWN: u32 = 20;
        let store = Arc::clone(&self.store);
        Arc::new(move || {
            let store = Arc::clone(&store);
            Box::pin(async move {
                let coupons = store.coupons(SHOWN).await.ok()?;
                let report = |coupon: Coupon| CouponReport {
                    coupon_id: coupon.terms.coupon_id.as_str().to_owned(),
                    stock: coupon.terms.stock.get(),
                    issued: coupon.issued.get(),
                    remaining: coupon.remaining(),
                };
                Some(coupons.into_iter().map(report).collect())
            })
        })
    }

    /// Starts members of the given groups.
    pub(crate) fn consumers(&self, groups: &[EventType]) -> ConsumersRole {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let config = self.settings.consumers.clone();
        let consumers = Consumers {
            strategy: Arc::clone(&self.strategy),
            publisher: Arc::clone(&self.publisher),
            store: Arc::clone(&self.store),
            metrics: self.metrics.clone(),
            instances: config.instances_for(cores, self.settings.topics.partitions as usize),
            config,
            ahead_max_micros: self.settings.http.ahead_max_micros(),
            decisions_retention_days: self.settings.coupon.decisions_retention_days,
            health: Health::default(),
            stop: CancellationToken::new(),
            clock: Arc::clone(&self.clock),
            chance: Arc::clone(&self.chance),
            codecs: self.codecs.clone(),
            tracer: self.traces.tracer.clone(),
        };
        let mut members = Members::new();
        consumers.watch_site(&mut members);
        groups.iter().for_each(|of| consumers.start(*of, &mut members));
        ConsumersRole { stop: consumers.stop, health: consumers.health, members }
    }

    /// One line that says what runs here and what a 202 means.
    pub(crate) fn announce(&self, role: &str, listening: &str) {
        tracing::info!(
            "floodgate {} {role}: strategy {}; {}; store {}; {listening}",
            env!("CARGO_PKG_VERSION"),
            self.strategy.name(),
            self.strategy.promise(),
            self.settings.store.masked_url(),
        );
    }
}

/// Time, chance and runtime of the process: whoever depends on them is handed them. Within the runtime, which `main` enters.
pub(crate) fn given() -> Given {
    Given { clock: clock(), chance: chance(), runtime: Handle::current() }
}

/// Time alone, which needs no runtime.
pub(crate) fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

/// Chance alone, which needs none either.
pub(crate) fn chance() -> Arc<dyn Chance> {
    Arc::new(SystemChance)
}

/// The configured strategy, for commands that need nothing else. Touches no network.
pub(crate) fn open_strategy(settings: &Settings) -> Result<Arc<dyn Strategy>, Exit> {
    let strategy = settings.strategy.open(&given()).map_err(Exit::usage)?;
    let deadline = Duration::from_millis(settings.http.request_deadline_ms);
    match strategy.reports_within() {
        Some(latest) if latest >= deadline => Err(Exit::usage(format!(
            "http.request_deadline_ms ({} ms) must be longer than the {} strategy needs to report a failure ({} ms: its \
             message timeout and a second, and what a fallback takes): otherwise every failure is answered as unknown",
            deadline.as_millis(),
            strategy.name(),
            latest.as_millis(),
        ))),
        _ => Ok(strategy),
    }
}

/// Files that are open besides clients' connections: the database, the brokers, the log.
const OTHER_FILES: usize = 500;

/// Files that are open at once with so many connections of clients.
pub(crate) fn files_needed(connections: usize) -> u64 {
    connections.saturating_add(OTHER_FILES) as u64
}

/// Every connection is an open file, and systems allow few unless they are asked.
fn raise_file_limit(connections: usize) {
    let needed = files_needed(connections);
    match rlimit::increase_nofile_limit(needed) {
        Ok(allowed) if allowed >= needed => {}
        Ok(allowed) => tracing::warn!(
            allowed,
            needed,
            "the system allows fewer open files than http.connections_max needs; raise it (ulimit -n, LimitNOFILE)"
        ),
        Err(error) => tracing::warn!(%error, "the limit of open files could not be raised"),
    }
}

/// The time that stopping may take.
#[derive(Clone, Copy)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    pub(crate) fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

/// Waits until a signal asks the process to stop, or one of its parts has died. A second signal ends it at once. Where there are
/// certificates, SIGHUP asks for them to be read again.
pub(crate) async fn until_stopped(
    settings: &Settings,
    mut signals: Signals,
    tls: Option<&Tls>,
) -> (Signal, Deadline) {
    let asked = async {
        loop {
            match (signals.next().await, tls) {
                (Signal::HangUp, Some(tls)) => tls.reload(),
                (signal, _) => return signal,
            }
        }
    };
    let signal = tokio::select! {
        signal = asked => signal,
        // load balancers notice as they do of SIGTERM
        _ = Parts::of_this_process().any_died() => Signal::Terminate,
    };
    let deadline = Deadline(Instant::now() + Duration::from_millis(settings.shutdown.deadline_ms));
    tracing::info!(?signal, deadline_ms = settings.shutdown.deadline_ms, "stopping");
    tokio::spawn(async move {
        let second = signals.next_on_purpose().await;
        tracing::error!(?second, "a second signal: ending without waiting");
        logs::flush();
        std::process::exit(1);
    });
    (signal, deadline)
}

/// What a process ends with that was not asked to: whoever runs it has to start it anew.
pub(crate) fn all_lived() -> Result<(), Exit> {
    Parts::of_this_process().died().map_or(Ok(()), |reason| Err(Exit::failed(reason)))
}

/// The clients' listener, open.
pub(crate) struct IngressRole {
    pub(crate) ingress: Arc<Ingress>,
    /// With its scheme.
    pub(crate) address: String,
    server: Server,
    tls: Option<Arc<Tls>>,
    drain: Duration,
    stop: CancellationToken,
}

/// The clients' listener, serving.
pub(crate) struct Serving {
    ingress: Arc<Ingress>,
    tls: Option<Arc<Tls>>,
    stop: CancellationToken,
    served: JoinHandle<Option<bool>>,
}

impl IngressRole {
    /// Takes requests from here on.
    pub(crate) fn start(self) -> Serving {
        let serving = self.server.run(self.stop.clone(), self.drain);
        let served = tokio::spawn(Parts::of_this_process().once("clients-listener", serving));
        Serving { ingress: self.ingress, tls: self.tls, stop: self.stop, served }
    }
}

impl Serving {
    /// What connections are secured with.
    pub(crate) fn tls(&self) -> Option<&Tls> {
        self.tls.as_deref()
    }

    /// Unready at once; after a grace in which load balancers notice, takes no more requests, answers those in
    /// work and flushes what was taken. Says what was left behind. Nobody at a terminal waits for the grace.
    pub(crate) async fn stop(self, signal: Signal, grace_ms: u64, deadline: Deadline) -> Result<(), Exit> {
        self.ingress.drain();
        match signal {
            Signal::Interrupt => tracing::info!(
                "interrupted from a terminal: no more requests are taken, without the grace of shutdown.grace_ms"
            ),
            _ => tokio::time::sleep(Duration::from_millis(grace_ms).min(deadline.left())).await,
        }
        self.stop.cancel();
        let answered = tokio::time::timeout(deadline.left(), self.served).await;
        let unacknowledged = self.ingress.flush(deadline.left()).await;
        if unacknowledged > 0 {
            return Err(Exit::failed(format!(
                "{unacknowledged} events were not acknowledged before the deadline"
            )));
        }
        match answered {
            Ok(Ok(Some(true))) => Ok(()),
            _ => Err(Exit::failed("some requests were not answered before the deadline")),
        }
    }
}

pub(crate) struct AdminRole {
    pub(crate) address: String,
    stop: CancellationToken,
}

impl AdminRole {
    pub(crate) fn stop(self) {
        self.stop.cancel();
    }
}

pub(crate) struct ConsumersRole {
    pub(crate) health: Health,
    stop: CancellationToken,
    members: Members,
}

impl ConsumersRole {
    /// Lets every member finish its batch, commit and leave.
    pub(crate) async fn stop(mut self, deadline: Deadline) -> Result<(), Exit> {
        self.stop.cancel();
        let all = async {
            let mut ended = Ok(());
            while let Some(member) = self.members.join_next().await {
                let member = member.unwrap_or_else(|error| Err(error.to_string()));
                ended = ended.and(member.map_err(Exit::failed));
            }
            ended
        };
        tokio::time::timeout(deadline.left(), all).await.unwrap_or_else(|_| {
            Err(Exit::failed("some consumers did not finish their batches before the deadline"))
        })
    }
}
