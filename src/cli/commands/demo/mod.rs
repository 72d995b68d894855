//! `demo`: the idea at work on this machine, from a Kafka of its own over real HTTP, with nothing to install. It ends
//! by itself.
//!
//! | room | what is in it |
//! |---|---|
//! | `source` | the events |
//! | `picture`, `svg` | the result, for a terminal and as a file |

mod picture;
mod source;
mod svg;

use crate::cli::client::Client;
use crate::cli::options::Options;
use crate::cli::plan::DemoPlan;
use crate::cli::receiver::{Behaviour, Counts, Receiver};
use crate::cli::{Failure, open_files, print};
use crate::record::{Offset, Partition, Record};
use crate::relay::Relay;
use crate::relay::dead_letter::Drop;
use crate::relay::event::{Event, Observer, Unobserved};
use crate::relay::settings::RelaySettings;
use crate::relay::stop::Stop;
use crate::relay::transport::{Attempt, Transport};
use crate::text::terminal;
use crate::webhook::destination::Destination;
use crate::webhook::request::{self, Requests};
use picture::{Picture, draw};
use std::io::IsTerminal;
use std::num::NonZeroUsize;
use std::time::Duration;

/// What the receiver of the second scene can take at once.
const CAPACITY: usize = 16;
/// How wide each of the two pictures is, where the terminal has room.
const WIDEST: usize = 44;

/// Plays both scenes.
pub(crate) fn run(plan: &DemoPlan) -> Result<(), Failure> {
    two_at_once(plan)?;
    with_and_without(plan)
}

fn failed(what: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::failed(format!("the demo's {what}: {error}"))
}

fn start(capacity: usize, delay: Duration) -> Result<(Receiver, Client), Failure> {
    let behaviour =
        Behaviour { capacity, overloaded: 503, delay, keeps_flights: true, ..Behaviour::default() };
    let receiver = Receiver::start(([127, 0, 0, 1], 0).into(), behaviour)
        .map_err(|error| failed("receiver can't listen on loopback", &error))?;
    let destination = Destination::parse(&receiver.url()).map_err(|error| failed("own address", &error))?;
    let requests = Requests::new(&destination, request::RequestSettings::default())
        .map_err(|error| failed("requests", &error))?;
    Ok((receiver, Client::open(destination, requests, &Options::default())?))
}

fn values(n: usize) -> impl Iterator<Item = Vec<u8>> {
    (0..n).map(|n| format!("{{\"event\":{n}}}").into_bytes())
}

fn deliver(
    settings: RelaySettings,
    events: usize,
    client: &Client,
    observer: &dyn Observer,
) -> Result<(), Failure> {
    let mut events = source::open(values(events))?;
    let relay = Relay {
        settings,
        source: events.source(),
        transport: client,
        dead_letters: Box::new(Drop),
        observer,
        stop: &Stop::new(),
    };
    relay.run().map(drop).map_err(|error| failed("run", &error))
}

/// First scene: ten events, two at a time, with a pause between batches.
fn two_at_once(plan: &DemoPlan) -> Result<(), Failure> {
    let events = plan.events.map_or(10, NonZeroUsize::get);
    let n = plan.max_concurrency.unwrap_or(const { NonZeroUsize::new(2).expect("2 is not 0") });
    let interval = plan.batch_interval.unwrap_or(Duration::from_millis(50));
    print(&format!("{events} events, {n} at once, {interval:?} between batches:\n\n"));
    let (receiver, client) = start(usize::MAX, plan.delay)?;
    let settings = RelaySettings {
        max_concurrency: n,
        batch_size: n,
        batch_interval: interval,
        ..RelaySettings::default()
    };
    deliver(settings, events, &client, &Story)?;
    let seen = receiver.counts();
    let pauses = seen.pauses(interval.max(Duration::from_millis(1)));
    print(&format!(
        "\nWhat the receiver counted: {} delivered, at most {} in flight, {pauses} pauses of {interval:?} or more.\n\n",
        seen.accepted, seen.most
    ));
    Ok(())
}

/// Tells the story of the workers.
struct Story;

impl Observer for Story {
    fn on(&self, event: &Event<'_>) {
        let line = match event {
            Event::WorkerWaiting(n) => format!("Worker {n}: Waiting to acquire semaphore\n"),
            Event::WorkerRunning(n) => format!("Worker {n}: Semaphore acquired, running\n"),
            Event::WorkerReleased(n) => format!("Worker {n}: Semaphore released\n"),
            Event::BatchJoined => "All workers have completed\n".into(),
            Event::BatchInterval(_) => "Waiting for batch interval...\n".into(),
            _ => return,
        };
        print(&line);
    }
}

/// The same events without a limit and with it, to a receiver that can't take all of them at once.
fn with_and_without(plan: &DemoPlan) -> Result<(), Failure> {
    let events = plan.events.map_or(400, NonZeroUsize::get);
    let n = plan.max_concurrency.unwrap_or(const { NonZeroUsize::new(CAPACITY).expect("it is not 0") });
    print(&format!("{events} events to a receiver that can take {CAPACITY} at once and fails beyond:\n\n"));
    // Both ends of each connection are in this process.
    open_files::raise_for(events);
    let open = without_limit(events, plan.delay)?;
    let (receiver, client) = start(CAPACITY, plan.delay)?;
    let settings = RelaySettings { max_concurrency: n, ..RelaySettings::default() };
    deliver(settings, events, &client, &Unobserved)?;
    let limited = receiver.counts();
    let caption = |seen: &Counts| format!("{:.2} s", seen.took().as_secs_f64());
    let pictures = [
        Picture { heading: "a task for each event".into(), flights: &open.flights, caption: caption(&open) },
        Picture {
            heading: format!("through sluicegate, {n} at once"),
            flights: &limited.flights,
            caption: caption(&limited),
        },
    ];
    print("requests in flight:\n");
    print(&draw(&pictures, width(), CAPACITY, colour()));
    let row = |what: &str, left: usize, right: usize| format!("  {what:<28}{left:>10}{right:>14}\n");
    print(&format!("\n  {:<28}{:>10}{:>14}\n", "", "no limit", "limit"));
    print(&row("delivered", open.accepted, limited.accepted));
    print(&row("failed (503)", open.turned_away, limited.turned_away));
    print(&row("most in flight", open.most, limited.most));
    print(&row("events lost", events.saturating_sub(open.accepted), events.saturating_sub(limited.accepted)));
    if let Some(path) = &plan.svg {
        let path_text = terminal::path(path);
        std::fs::write(path, svg::draw(&open, &limited, n.get(), CAPACITY))
            .map_err(|error| Failure::usage(format!("--svg: {path_text} can't be written: {error}")))?;
        print(&format!("\nThe picture is in {path_text}.\n"));
    }
    Ok(())
}

/// A thread for each event, all at once, and nobody who asks how it went: how the story began.
fn without_limit(events: usize, delay: Duration) -> Result<Counts, Failure> {
    let (receiver, client) = start(CAPACITY, delay)?;
    let partition = Partition::new("demo", 0);
    std::thread::scope(|scope| {
        for (offset, value) in (0..).zip(values(events)) {
            let record = Record::new(partition.clone(), Offset(offset), -1, None, Some(&value));
            let client = &client;
            let task = move || client.send(&record, Attempt::FIRST).is_ok();
            // Where no more threads can be started, nobody asks what became of the event either.
            let _ = std::thread::Builder::new().spawn_scoped(scope, task);
        }
    });
    Ok(receiver.counts())
}

fn width() -> usize {
    let columns =
        std::env::var("COLUMNS").ok().and_then(|columns| columns.parse::<usize>().ok()).unwrap_or(100);
    (columns.saturating_sub(12) / 2).clamp(10, WIDEST)
}

fn colour() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
