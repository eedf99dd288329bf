//! Where events wait: the strategy, and what stands in for it.

use std::sync::Arc;
use std::time::Duration;

use floodgate_buffer::{Strategy, TopicDescription, Topics};
use floodgate_schemas::EventType;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use super::check::Check;
use crate::exit::Exit;
use crate::roles::{given, open_strategy};
use crate::settings::Settings;

/// How long a strategy has to become ready.
const READY_WITHIN: Duration = Duration::from_secs(6);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

const MEND: &str = "mend the section [buffer] of the configuration, and that of the strategy in it";
const START: &str = "start it, or mend its address or its login in the section [buffer]";

pub(super) async fn of(settings: &Settings) -> Vec<Check> {
    // both together have to fit the deadline of requests
    let opened = open_strategy(settings).map_err(Exit::reason);
    let opened =
        opened.and_then(|_| settings.strategy.open_each(&given()).map_err(|error| error.to_string()));
    match opened {
        Ok(strategies) => {
            let mut checks = Vec::new();
            for strategy in strategies {
                checks.push(look(strategy).await);
            }
            checks
        }
        Err(reason) => {
            let mut check = Check::of("events", settings.strategy.name());
            check.wrong(reason, MEND);
            vec![check]
        }
    }
}

async fn look(strategy: Arc<dyn Strategy>) -> Check {
    let mut check = Check::of("events", format!("{}, {}", strategy.name(), strategy.place()));
    let asked = Arc::clone(&strategy);
    let looked = spawn_blocking(move || {
        let topics = asked.topics().ok().map(Topics::describe).transpose().map_err(|error| error.to_string());
        let lags = EventType::ALL.into_iter().try_for_each(|of| asked.lag(of).map(drop));
        (topics, lags.map_err(|error| error.to_string()))
    });
    let (topics, lags) = match looked.await {
        Ok(looked) => looked,
        Err(error) => {
            check.away(error, START);
            return check;
        }
    };
    match topics {
        Err(why) => check.away(why, START),
        Ok(Some(topics)) if !are_fit(&topics, &mut check) => {}
        Ok(Some(_)) => ready(&*strategy, &mut check).await,
        // a publisher would make what it needs there
        Ok(None) => {}
    }
    if let (true, Err(why)) = (check.findings.is_empty(), lags) {
        check.away(why, START);
    }
    if check.findings.is_empty() {
        check.well(strategy.promise());
    }
    check
}

/// Whether the topics are there and as promises need them.
fn are_fit(topics: &[TopicDescription], check: &mut Check) -> bool {
    let mut are_fit = true;
    for topic in topics {
        if topic.partitions.is_none() {
            let why = topic.trouble.clone().unwrap_or_else(|| "missing".to_owned());
            check.away(format!("topic {}: {why}", topic.name), "floodgate topics create");
            are_fit = false;
        }
        for finding in &topic.findings {
            let why = format!(
                "topic {}: {} is {}, wanted is {}: {}",
                finding.topic, finding.property, finding.value, finding.wanted, finding.why
            );
            match finding.breaks {
                true => check.wrong(why, &finding.mend),
                false => check.told(why, &finding.mend),
            }
            are_fit &= !finding.breaks;
        }
    }
    are_fit
}

/// Whether events could be stored: what an ingress asks before it takes any.
async fn ready(strategy: &dyn Strategy, check: &mut Check) {
    let publisher = match strategy.publisher() {
        Ok(publisher) => publisher,
        Err(error) => return check.wrong(error, MEND),
    };
    let since = Instant::now();
    let ready = loop {
        match publisher.ready() {
            Err(_) if since.elapsed() < READY_WITHIN => sleep(LOOK_AGAIN).await,
            ready => break ready,
        }
    };
    if let Err(why) = ready {
        check.away(why, START);
    }
    publisher.close(Duration::ZERO).await;
}
