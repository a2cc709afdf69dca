//! Messages of the kernel programs (aya-log), off by default: handed to `tracing`, rate-limited.

use std::time::Duration;

use super::object::Object;

/// Forwards aya-log messages of the kernel programs to `tracing`, at most some per drain.
pub struct KernelLogger {
    stop: std::sync::Arc<std::sync::atomic::AtomicBool>,
}

impl KernelLogger {
    /// Starts to forward; `None`, with a warning, when the object has no messages.
    pub fn start(object: &mut Object) -> Option<Self> {
        let mut logger =
            match aya_log::EbpfLogger::init_with_logger(&mut object.ebpf, TracingLogger::default()) {
                Ok(logger) => logger,
                Err(error) => {
                    tracing::warn!(%error, "messages of kernel programs are not available");
                    return None;
                }
            };
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let stopped = stop.clone();
        std::thread::Builder::new()
            .name("gsmon-kernel-log".into())
            .spawn(move || {
                while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
                    logger.flush();
                    std::thread::sleep(Duration::from_millis(500));
                }
            })
            .ok()?;
        Some(Self { stop })
    }
}

impl Drop for KernelLogger {
    fn drop(&mut self) {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

/// Hands messages on, at most ten a second: a full table would otherwise log once per packet.
#[derive(Default)]
struct TracingLogger {
    second: std::sync::atomic::AtomicU64,
    in_second: std::sync::atomic::AtomicU64,
}

const MESSAGES_PER_SECOND: u64 = 10;

impl log::Log for TracingLogger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        use std::sync::atomic::Ordering::Relaxed;
        let now = std::time::UNIX_EPOCH
            .elapsed()
            .map_or(0, |elapsed| elapsed.as_secs());
        if self.second.swap(now, Relaxed) != now {
            self.in_second.store(0, Relaxed);
        }
        if self.in_second.fetch_add(1, Relaxed) < MESSAGES_PER_SECOND {
            tracing::warn!(target: "gsmon::kernel", "{}", record.args());
        }
    }

    fn flush(&self) {}
}
