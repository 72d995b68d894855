//! Happy Eyeballs: a race between the addresses of a name (RFC 8305 §5). Each gets a short head start over the next,
//! and the first to answer wins.
//!
//! It needs no thread of its own. The first attempt, nearly always the only one, blocks in the system; only while
//! several are running are they polled in turn, ever more slowly. A thread per attempt would mean one per address
//! and connection while a destination is down.

use super::error::NetError;
use socket2::{Domain, Socket, Type};
use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// The head start of the first address (RFC 8305 §8).
const FIRST_HEAD_START: Duration = Duration::from_millis(250);
/// The head start of each further one: the shortest that RFC 8305 §8 recommends.
const HEAD_START: Duration = Duration::from_millis(100);
/// At most this many attempts run at once, each with a file descriptor; the oldest makes room for the next.
const MOST_RUNNING: usize = 8;
/// Running attempts are polled again after 1/16 of the time that the race has taken so far, which bounds both the delay
/// and the number of polls.
const LOOKS: u32 = 16;
/// The wait for an attempt that only has to begin.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);
/// The shortest time between two polls.
const SHORTEST_LOOK: Duration = Duration::from_millis(2);
/// The longest.
const LONGEST_LOOK: Duration = Duration::from_millis(50);

/// The winner of a race.
#[derive(Debug)]
pub struct Connected {
    /// The connected socket.
    pub(crate) socket: TcpStream,
    /// The address it is connected to.
    pub(crate) address: SocketAddr,
    /// How long this attempt alone took.
    pub(crate) took: Duration,
    /// Addresses that were tried as well and did not answer, or refused.
    pub(crate) slower: Vec<SocketAddr>,
}

/// An attempt under way.
struct Attempt {
    socket: Socket,
    address: SocketAddr,
    begun: Instant,
}

struct Race {
    waiting: VecDeque<SocketAddr>,
    running: Vec<Attempt>,
    failed: Vec<(SocketAddr, io::Error)>,
}

/// Connects to the address that answers first, at best the first of the list.
///
/// # Errors
/// [`NetError::Connect`] with what came of each address that was tried.
pub(crate) fn race(
    host_shown: &str,
    addresses: &[SocketAddr],
    deadline: Instant,
) -> Result<Connected, NetError> {
    let begun = Instant::now();
    let mut race = Race { waiting: interleaved(addresses), running: Vec::new(), failed: Vec::new() };
    let mut next = begun;
    let mut head_start = FIRST_HEAD_START;
    loop {
        let now = Instant::now();
        let left = deadline.saturating_duration_since(now);
        if left.is_zero() {
            break;
        }
        if race.running.is_empty() || now >= next {
            if let Some(address) = race.waiting.pop_front() {
                // All get their turn within the first half of the time.
                let others = u32::try_from(race.waiting.len()).unwrap_or(u32::MAX).saturating_add(1);
                let start = head_start.min(left / others / 2).max(SHORTEST_LOOK);
                head_start = HEAD_START;
                let wait = match (race.running.is_empty(), race.waiting.is_empty()) {
                    (true, true) => left,
                    (true, false) => start,
                    (false, _) => SHORTEST_WAIT,
                };
                if let Some(winner) = race.start(address, wait) {
                    return Ok(race.won(winner));
                }
                next = now.checked_add(start).unwrap_or(deadline);
                continue;
            }
            if race.running.is_empty() {
                break;
            }
        }
        if let Some(winner) = race.look() {
            return Ok(race.won(winner));
        }
        let mut look = (begun.elapsed() / LOOKS).clamp(SHORTEST_LOOK, LONGEST_LOOK).min(left);
        if !race.waiting.is_empty() {
            look = look.min(next.saturating_duration_since(now));
        }
        if !race.running.is_empty() {
            std::thread::sleep(look);
        }
    }
    let unanswered = race.running.drain(..).map(|it| (it.address, io::ErrorKind::TimedOut.into()));
    let tried = race.failed.into_iter().chain(unanswered).collect();
    Err(NetError::Connect { host: host_shown.to_owned(), tried })
}

impl Race {
    /// Starts an attempt and waits for it for some time. After that it goes on in the background.
    fn start(&mut self, address: SocketAddr, wait: Duration) -> Option<Attempt> {
        if self.running.len() >= MOST_RUNNING {
            self.failed.push((self.running.remove(0).address, io::ErrorKind::TimedOut.into()));
        }
        let begun = Instant::now();
        let socket = match Socket::new(Domain::for_address(address), Type::STREAM, None) {
            Ok(socket) => socket,
            Err(error) => {
                self.failed.push((address, error));
                return None;
            }
        };
        let connected = socket.connect_timeout(&address.into(), wait);
        let attempt = Attempt { socket, address, begun };
        match connected {
            Ok(()) => return Some(attempt),
            // An error of the system's has a number, the end of our wait has none.
            Err(error) if error.kind() == io::ErrorKind::TimedOut && error.raw_os_error().is_none() => {
                self.running.push(attempt);
                debug_assert!(self.running.len() <= MOST_RUNNING, "an attempt made room before");
            }
            Err(error) => self.failed.push((address, error)),
        }
        None
    }

    /// Checks every running attempt once and removes the finished ones.
    fn look(&mut self) -> Option<Attempt> {
        let mut at = 0;
        while let Some(attempt) = self.running.get(at) {
            match attempt.socket.take_error() {
                Ok(None) if attempt.socket.peer_addr().is_ok() => return Some(self.running.remove(at)),
                Ok(None) => at += 1,
                Ok(Some(error)) | Err(error) => {
                    let attempt = self.running.remove(at);
                    self.failed.push((attempt.address, error));
                }
            }
        }
        None
    }

    fn won(self, winner: Attempt) -> Connected {
        let Attempt { socket, address, begun } = winner;
        let failed = self.failed.into_iter().map(|(address, _)| address);
        let slower = failed.chain(self.running.into_iter().map(|attempt| attempt.address)).collect();
        Connected { socket: socket.into(), address, took: begun.elapsed(), slower }
    }
}

/// Takes turns between the families, so that one that leads nowhere delays the other by one head start; the first
/// address and the order within each family stay.
fn interleaved(addresses: &[SocketAddr]) -> VecDeque<SocketAddr> {
    let first_is_v4 = addresses.first().is_some_and(SocketAddr::is_ipv4);
    let (one, other): (Vec<SocketAddr>, Vec<SocketAddr>) =
        addresses.iter().partition(|it| it.is_ipv4() == first_is_v4);
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    let mut mixed = VecDeque::with_capacity(addresses.len());
    while mixed.len() < addresses.len() {
        mixed.extend(one.next());
        mixed.extend(other.next());
    }
    mixed
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    /// An address without a listener.
    fn deserted() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    }

    /// An address that neither accepts nor refuses, because its accept queue is full.
    struct Hole(SocketAddr, Vec<Socket>);

    fn hole() -> Hole {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queued = vec![listener];
        loop {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            let connected = socket.connect_timeout(&address, Duration::from_millis(50));
            queued.push(socket);
            assert!(queued.len() < 16, "the queue has no end");
            if connected.is_err() {
                return Hole(address.as_socket().unwrap(), queued);
            }
        }
    }

    #[test]
    fn an_address_that_answers_nothing_costs_one_head_start() {
        let (hole, listener) = (hole(), TcpListener::bind("127.0.0.1:0").unwrap());
        let alive = listener.local_addr().unwrap();
        let begun = Instant::now();
        let won = race("here", &[hole.0, alive], soon()).unwrap();
        assert_eq!((won.address, won.slower), (alive, vec![hole.0]));
        assert!(begun.elapsed() >= FIRST_HEAD_START && begun.elapsed() < FIRST_HEAD_START * 4);
        assert!(won.took < FIRST_HEAD_START, "its own time alone counts: {:?}", won.took);
        assert_eq!(won.socket.peer_addr().unwrap(), alive);
    }

    #[test]
    fn fifteen_addresses_that_answer_nothing_cost_less_than_their_share_of_the_time() {
        let (hole, listener) = (hole(), TcpListener::bind("127.0.0.1:0").unwrap());
        let mut addresses = vec![hole.0; 15];
        addresses.push(listener.local_addr().unwrap());
        let (begun, time) = (Instant::now(), Duration::from_secs(5));
        let won = race("here", &addresses, begun + time).unwrap();
        assert_eq!((won.address, won.slower.len()), (addresses[15], 15));
        assert!(begun.elapsed() < time / 2, "{:?}", begun.elapsed());
    }

    #[test]
    fn addresses_that_refuse_cost_no_head_start() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut addresses: Vec<_> = std::iter::repeat_with(deserted).take(15).collect();
        addresses.push(listener.local_addr().unwrap());
        let begun = Instant::now();
        let won = race("here", &addresses, soon()).unwrap();
        assert_eq!((won.address, won.slower), (addresses[15], addresses[..15].to_vec()));
        assert!(begun.elapsed() < HEAD_START * 15 / 2, "{:?}", begun.elapsed());
    }

    #[test]
    fn a_slow_first_address_still_wins_if_no_other_answers() {
        // The system asks again after a second; until then the queue has room.
        let (hole, deserted) = (hole(), deserted());
        let address = hole.0;
        let race = std::thread::spawn(move || super::race("here", &[address, deserted], soon()));
        let Hole(_, mut queued) = hole;
        let listener: TcpListener = queued.swap_remove(0).into();
        std::thread::spawn(move || listener.incoming().flatten().collect::<Vec<_>>());
        assert_eq!(race.join().unwrap().unwrap().address, address);
    }

    #[test]
    fn all_that_was_tried_is_told_by_the_deadline() {
        let (hole, deserted) = (hole(), deserted());
        let begun = Instant::now();
        let deadline = begun + Duration::from_millis(300);
        let error = race("here", &[hole.0, deserted, hole.0], deadline).unwrap_err();
        assert!(begun.elapsed() >= Duration::from_millis(300) && begun.elapsed() < Duration::from_secs(5));
        let text = error.to_string();
        assert!(text.contains(&format!("{deserted}: refused")), "{text}");
        assert_eq!(text.matches(&format!("{}: no answer in time", hole.0)).count(), 2, "{text}");
    }

    #[test]
    fn an_attempt_makes_room_for_the_next_and_is_told() {
        let hole = hole();
        let error = race("here", &[hole.0; 16], Instant::now() + Duration::from_secs(3)).unwrap_err();
        assert_eq!(error.to_string().matches(": no answer in time").count(), 16, "{error}");
    }

    #[test]
    fn families_take_turns_and_the_first_stays_first() {
        let addresses: Vec<SocketAddr> =
            ["[::1]:1", "[::2]:1", "[::3]:1", "1.0.0.1:1", "1.0.0.2:1"].map(|it| it.parse().unwrap()).into();
        let mixed: Vec<String> = interleaved(&addresses).iter().map(ToString::to_string).collect();
        assert_eq!(mixed, ["[::1]:1", "1.0.0.1:1", "[::2]:1", "1.0.0.2:1", "[::3]:1"]);
        assert!(interleaved(&[]).is_empty());
    }
}
