//! How a demo server spends its time: the loop kinds, and CPU work of a known size.

use std::{
    sync::{
        Arc, Barrier, Condvar, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use clap::ValueEnum;
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// How a server waits and works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LoopKind {
    /// Sleeps until the next tick.
    Sleeping,
    /// Woken by every packet, ticks at its deadline.
    Epoll,
    /// Sleeps between ticks and waits for a lock inside them.
    LockWait,
    /// Never sleeps.
    Spinning,
    /// Fans a tick out to two workers and waits for them.
    WorkerPool,
    /// Sleeps, with ticks of a millisecond.
    Millisecond,
}

/// CPU time of the calling thread so far.
pub fn thread_cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .map(Duration::from)
        .unwrap_or(Duration::MAX)
}

/// Burns CPU time of the calling thread; time taken away by others does not count.
pub fn burn(cpu: Duration) {
    let end = thread_cpu().saturating_add(cpu);
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    while thread_cpu() < end {
        for _ in 0..200 {
            state = std::hint::black_box(state.rotate_left(7).wrapping_mul(0xff51_afd7_ed55_8ccd));
        }
    }
}

/// Does the work of one tick.
pub struct Work {
    kind: LoopKind,
    helper: Option<Arc<Helper>>,
    pool: Option<Pool>,
}

/// Answers a waiting tick after a while.
struct Helper {
    asked: Mutex<bool>,
    changed: Condvar,
    stop: AtomicBool,
}

/// How long the lock of a `LockWait` server is held by somebody else.
const LOCK_HELD: Duration = Duration::from_micros(350);

struct Pool {
    begin: Arc<Barrier>,
    end: Arc<Barrier>,
    share_ns: Arc<AtomicU64>,
}

const WORKERS: usize = 2;

impl Work {
    /// Starts the helpers that `kind` needs; they end with the process.
    pub fn new(kind: LoopKind) -> Self {
        let helper = (kind == LoopKind::LockWait).then(|| {
            let helper = Arc::new(Helper {
                asked: Mutex::new(false),
                changed: Condvar::new(),
                stop: AtomicBool::new(false),
            });
            let theirs = helper.clone();
            thread::spawn(move || theirs.run());
            helper
        });
        let pool = (kind == LoopKind::WorkerPool).then(Pool::start);
        Self { kind, helper, pool }
    }

    /// One tick of `cpu` work in all.
    pub fn tick(&self, cpu: Duration) {
        match self.kind {
            LoopKind::Sleeping | LoopKind::Epoll | LoopKind::Spinning | LoopKind::Millisecond => burn(cpu),
            LoopKind::LockWait => {
                burn(cpu.mul_f64(0.6));
                if let Some(helper) = &self.helper {
                    helper.wait();
                }
                burn(cpu.mul_f64(0.4));
            }
            LoopKind::WorkerPool => {
                if let Some(pool) = &self.pool {
                    pool.share_ns
                        .store((cpu / WORKERS as u32).as_nanos() as u64, Ordering::Relaxed);
                    pool.begin.wait();
                    pool.end.wait();
                }
            }
        }
    }
}

impl Helper {
    fn run(&self) {
        while !self.stop.load(Ordering::Relaxed) {
            let Ok(mut asked) = self.asked.lock() else { return };
            while !*asked {
                asked = match self.changed.wait(asked) {
                    Ok(asked) => asked,
                    Err(_) => return,
                };
            }
            // Held over the sleep: this is what the tick waits for.
            thread::sleep(LOCK_HELD);
            *asked = false;
            drop(asked);
            self.changed.notify_all();
        }
    }

    fn wait(&self) {
        let Ok(mut asked) = self.asked.lock() else { return };
        *asked = true;
        self.changed.notify_all();
        while *asked {
            asked = match self.changed.wait(asked) {
                Ok(asked) => asked,
                Err(_) => return,
            };
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if let Some(helper) = &self.helper {
            helper.stop.store(true, Ordering::Relaxed);
        }
    }
}

impl Pool {
    fn start() -> Self {
        let pool = Self {
            begin: Arc::new(Barrier::new(WORKERS + 1)),
            end: Arc::new(Barrier::new(WORKERS + 1)),
            share_ns: Arc::default(),
        };
        for n in 0..WORKERS {
            let (begin, end, share_ns) = (pool.begin.clone(), pool.end.clone(), pool.share_ns.clone());
            // Ends with the process: it only ever waits.
            let _ = thread::Builder::new().name(format!("worker-{n}")).spawn(move || {
                loop {
                    begin.wait();
                    burn(Duration::from_nanos(share_ns.load(Ordering::Relaxed)));
                    end.wait();
                }
            });
        }
        pool
    }
}
