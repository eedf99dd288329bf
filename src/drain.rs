//! `floodgate drain`: moves what waits in another strategy to the configured one.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use floodgate_buffer::{Drain, Publish, Strategy, Topic};
use floodgate_lag::words::many;
use floodgate_observe::logs;
use floodgate_schemas::EventType;
use tokio::sync::watch;

use crate::arguments::strategy;
use crate::exit::{Exit, say};
use crate::progress::progress_bar;
use crate::roles::given;
use crate::settings::Settings;
use crate::signals::Signals;

/// How often it is looked how much is left.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// How long what is on its way may take when the command ends.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Args)]
#[command(after_help = "Examples:\n  FLOODGATE__BUFFER__STRATEGY=kafka floodgate drain --from redis")]
pub(crate) struct DrainArgs {
    /// The strategy to empty; its section of the configuration says where it is
    #[arg(long, value_name = "STRATEGY", value_parser = strategy())]
    from: String,
}

pub(crate) async fn drain(settings: &Settings, config: Option<&Path>, args: &DrainArgs) -> Result<(), Exit> {
    let from = source(settings, config, args)?;
    // where they belong, and not around it into what may be the place to empty
    let to =
        Settings::load_strategy(config, settings.strategy.name())?.open(&given()).map_err(Exit::usage)?;
    if !to.reach().outlives_process {
        return Err(Exit::usage(format!(
            "buffer.strategy is {}, which keeps nothing longer than its process: what were moved there would end with this command",
            to.name()
        )));
    }
    let mut signals = Signals::listen()?;
    let publisher = to.publisher().map_err(Exit::usage)?;
    let (stop, mut stopped) = watch::channel(false);
    let drain = Drain::new(Arc::clone(&from), Arc::clone(&publisher), stopped.clone());
    let moved = drain.moved();
    let takes = || publisher.ready().is_ok();
    let [expectations, coupons, likes] = EventType::ALL.map(|of| {
        let moving = drain.run(of, takes);
        // the others finish what is on its way though one met a record that is never taken
        async { moving.await.inspect_err(|_| _ = stop.send_replace(true)) }
    });
    let emptied = async {
        tokio::select! {
            () = watch_until_empty(&from, &*publisher, || moved.total()) => {}
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
        stop.send_replace(true);
    };
    let ended = async {
        let (expectations, coupons, likes, ()) = tokio::join!(expectations, coupons, likes, emptied);
        expectations.and(coupons).and(likes)
    };
    tokio::pin!(ended);
    let (ended, interrupted) = tokio::select! {
        ended = &mut ended => (ended.map_err(Exit::failed), false),
        _ = signals.next() => {
            stop.send_replace(true);
            // what is on its way is waited for and committed, unless somebody asks again
            tokio::select! {
                _ = tokio::time::timeout(PATIENCE, &mut ended) => {}
                _ = signals.next_on_purpose() => {}
            }
            (Ok(()), true)
        }
    };
    let unacknowledged = publisher.close(PATIENCE).await;
    let (from, to, total) = (from.name(), to.name(), moved.total());
    ended?;
    if interrupted || unacknowledged > 0 {
        return Err(Exit::failed(format!(
            "stopped after {total} events were moved from {from} to {to}; run it again to go on where it ended"
        )));
    }
    say(format_args!("{total} events moved from {from} to {to}; {from} is empty"))
}

/// The strategy to empty, which must be another one than the configured, and within reach.
fn source(settings: &Settings, config: Option<&Path>, args: &DrainArgs) -> Result<Arc<dyn Strategy>, Exit> {
    let name = &args.from;
    if name == settings.strategy.name() {
        return Err(Exit::usage(format!(
            "--from {name}: that is the configured strategy (buffer.strategy), where events are already"
        )));
    }
    let from = Settings::load_strategy(config, name)?.open(&given()).map_err(Exit::usage)?;
    if !from.reach().outlives_process {
        return Err(Exit::usage(format!(
            "--from {name}: what waits there is inside the running process; stop that process in order (SIGTERM), and it \
             applies what it holds"
        )));
    }
    Ok(from)
}

/// Returns when nothing waits any more. Tells what keeps it from going on, once for each reason.
async fn watch_until_empty(from: &Arc<dyn Strategy>, to: &dyn Publish, moved: impl Fn() -> u64) {
    let bar = progress_bar(0);
    let mut told = None;
    loop {
        let before = moved();
        let asked = Arc::clone(from);
        let waiting = tokio::task::spawn_blocking(move || waiting(&*asked)).await;
        let waiting = waiting.unwrap_or_else(|error| Err(error.to_string()));
        let reason = to.ready().err().or(waiting.as_ref().err().cloned());
        if let Some(reason) = &reason
            && told.as_ref() != Some(reason)
        {
            logs::say(format_args!("floodgate: waiting: {reason}"));
        }
        told = reason;
        if let Ok(waiting) = waiting {
            bar.set_length(before + waiting);
            bar.set_position(before);
            if waiting == 0 {
                bar.finish_and_clear();
                return tell_letters(from).await;
            }
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

fn waiting(from: &dyn Strategy) -> Result<u64, String> {
    let groups = EventType::ALL.into_iter().map(|of| from.lag(of));
    let waiting = groups.map(|lag| {
        let lag = lag.map_err(|error| error.to_string())?;
        // what is not known is not empty
        match lag.unknown.first() {
            Some((partition, why)) => Err(format!("{} partition {partition}: {why}", lag.topic)),
            None => Ok(lag.waiting()),
        }
    });
    waiting.sum()
}

/// Dead letters are not moved: whoever looks for them must know where they are.
async fn tell_letters(from: &Arc<dyn Strategy>) {
    let asked = Arc::clone(from);
    let count = move || {
        let bounds = asked.logs().ok()?.open(Topic::DeadLetters).ok()?.bounds().ok()?;
        Some(bounds.known.iter().map(|(_, range)| range.end.0 - range.start.0).sum::<i64>())
    };
    if let Ok(Some(letters @ 1..)) = tokio::task::spawn_blocking(count).await {
        let name = from.name();
        let (letters, stay) =
            (many(letters.unsigned_abs(), "dead letter"), if letters == 1 { "stays" } else { "stay" });
        let shown = format!("`floodgate dlq list` with buffer.strategy = {name} shows them");
        logs::say(format_args!("floodgate: {letters} {stay} in {name}: {shown}"));
    }
}
