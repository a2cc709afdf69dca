//! Memory of a server whose processes share pages, each shared page counted once: the sum of their proportional set sizes
//! (`Pss` of `/proc/PID/smaps_rollup`). The kernel walks all page tables for it (measured: 100 ms for 1 GiB of small pages),
//! so it is read on a thread of its own, seldom, and only where processes could share: of a server that has several.

use std::{
    fs,
    sync::mpsc::{self, Receiver, TryRecvError},
    thread,
    time::{Duration, Instant},
};

/// Between two readings of a server, at least.
const PACE: Duration = Duration::from_secs(60);
/// And so many times as long as the last reading took: a thousandth of a core.
const REST: u32 = 1_000;
/// Processes of a server that are read at a time at most: of one with more it is not known.
const MOST_PROCESSES: usize = 64;

/// What a reading came to.
struct Reading {
    bytes: Option<u64>,
    took: Duration,
}

/// What was read last, and what is being read.
#[derive(Default)]
pub struct Proportional {
    /// The oldest process of what was read: another one is another life of the server.
    of: Option<u32>,
    bytes: Option<u64>,
    due: Option<Instant>,
    reading: Option<Receiver<Reading>>,
}

impl Proportional {
    /// Bytes as of the last reading; `None` for a single process, where its resident memory says as much, where one cannot
    /// be read, and until it has been.
    pub fn update(&mut self, pids: &[u32], now: Instant) -> Option<u64> {
        if pids.len() < 2 || pids.len() > MOST_PROCESSES {
            *self = Self::default();
            return None;
        }
        let oldest = pids.iter().copied().min();
        if self.of != oldest {
            *self = Self {
                of: oldest,
                ..Self::default()
            };
        }
        match self.reading.as_ref().map(Receiver::try_recv) {
            Some(Ok(read)) => {
                self.bytes = read.bytes;
                self.due = now.checked_add(PACE.max(read.took.saturating_mul(REST)));
                self.reading = None;
            }
            Some(Err(TryRecvError::Disconnected)) => self.reading = None,
            Some(Err(TryRecvError::Empty)) => return self.bytes,
            None => {}
        }
        if self.due.is_none_or(|due| now >= due) {
            // Where no thread can be had, it is tried again as late as after a reading.
            self.due = now.checked_add(PACE);
            self.reading = begin(pids.to_vec());
        }
        self.bytes
    }
}

/// Reads on a thread; who does not wait for it any more ends nothing.
fn begin(pids: Vec<u32>) -> Option<Receiver<Reading>> {
    let (tell, told) = mpsc::sync_channel(1);
    let read = move || {
        let begun = Instant::now();
        let bytes = pids.iter().map(|pid| proportional(*pid)).sum();
        let _ = tell.send(Reading {
            bytes,
            took: begun.elapsed(),
        });
    };
    let named = thread::Builder::new().name("proportional".into());
    named.spawn(read).ok().map(|_| told)
}

fn proportional(pid: u32) -> Option<u64> {
    parse(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?)
}

/// `Pss:   1234 kB`
fn parse(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1_024)
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    struct Silent(Child);

    impl Silent {
        fn start() -> Self {
            // It waits for what never comes.
            Self(Command::new("cat").stdin(Stdio::piped()).spawn().unwrap())
        }
    }

    impl Drop for Silent {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn several_processes_have_a_sum_and_others_none() {
        let (one, two) = (Silent::start(), Silent::start());
        let pids = [one.0.id(), two.0.id()];
        let mut memory = Proportional::default();
        let mut now = Instant::now();
        assert_eq!(memory.update(&pids[..1], now), None);
        assert_eq!(memory.update(&pids, now), None, "it is being read");
        let read = |memory: &mut Proportional, pids: &[u32], now: Instant| {
            for _ in 0..1_000 {
                let told = memory.update(pids, now);
                if memory.reading.is_none() {
                    return told;
                }
                thread::sleep(Duration::from_millis(10));
            }
            panic!("it was never read");
        };
        let sum = read(&mut memory, &pids, now);
        assert!(sum > Some(0));
        // Not read again at once, and not taken for that of another life.
        now += PACE / 2;
        assert_eq!(memory.update(&pids, now), sum);
        assert!(memory.reading.is_none());
        assert_eq!(memory.update(&[1, pids[0]], now), None);
        let gone = [pids[0], u32::MAX];
        assert_eq!(read(&mut Proportional::default(), &gone, now), None);
        assert_eq!(memory.update(&[1; 65], now), None);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(Pss: {0,9}[0-9]{0,30}( kB)?\n|\\PC{0,20}\n){0,4}") {
            let _ = parse(&text);
        }
    }

    #[test]
    fn the_line_is_found_among_its_likes() {
        let text = "55-7f ---p 00000000 00:00 0 [rollup]\nRss:  900 kB\nPss:      12 kB\nPss_Anon:  5 kB\n";
        assert_eq!(parse(text), Some(12 << 10));
        assert_eq!(parse("Pss_Anon: 5 kB\n"), None);
    }
}
