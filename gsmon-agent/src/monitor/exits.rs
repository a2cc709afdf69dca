//! Ends of processes, at once: a process that has ended is noticed by its descriptor (pidfd) when it happens, not when
//! the interval is over. How it ended is told by the kernel side.

use std::{
    collections::HashMap,
    io,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    thread,
};

use nix::{
    errno::Errno,
    sys::{
        epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
        eventfd::{EfdFlags, EventFd},
    },
};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// Marks the descriptor by which the thread is ended: no process has this number.
const STOP: u64 = u64::MAX;
/// Ends looked at per wake-up.
const ENDS: usize = 32;

/// Watches processes until it is dropped.
pub struct ExitWatch {
    epoll: Arc<Epoll>,
    stop: Arc<EventFd>,
    watched: HashMap<u32, OwnedFd>,
}

impl ExitWatch {
    /// Calls `tell` with the number of every process that ends, from a thread of its own.
    ///
    /// # Errors
    /// When there is no thread or no descriptor.
    pub fn new(tell: impl Fn(u32) + Send + 'static) -> io::Result<Self> {
        let epoll = Arc::new(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?);
        let stop = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?);
        epoll.add(stop.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, STOP))?;
        let (theirs, kept) = (epoll.clone(), stop.clone());
        thread::Builder::new().name("gsmon-exits".into()).spawn(move || {
            // Held until here, so that its number is not used again while it is waited for.
            let _kept = kept;
            let mut events = [EpollEvent::empty(); ENDS];
            loop {
                let count = match theirs.wait(&mut events, EpollTimeout::NONE) {
                    Ok(count) => count,
                    Err(Errno::EINTR) => continue,
                    Err(_) => return,
                };
                for event in &events[..count] {
                    match u32::try_from(event.data()) {
                        Ok(pid) => tell(pid),
                        Err(_) => return,
                    }
                }
            }
        })?;
        Ok(Self {
            epoll,
            stop,
            watched: HashMap::new(),
        })
    }

    /// Watches these processes and no others. One that has ended is told of once.
    pub fn watch(&mut self, pids: impl Iterator<Item = u32>) {
        let mut old = std::mem::take(&mut self.watched);
        for pid in pids {
            let descriptor = match old.remove(&pid) {
                Some(known) => known,
                None => match self.open(pid) {
                    Some(new) => new,
                    // It has ended already, or the kernel has no such descriptors: the next look says so.
                    None => continue,
                },
            };
            self.watched.insert(pid, descriptor);
        }
        // A closed descriptor is waited for no more.
    }

    fn open(&self, pid: u32) -> Option<OwnedFd> {
        let descriptor = pidfd_open(Pid::from_raw(i32::try_from(pid).ok()?)?, PidfdFlags::empty()).ok()?;
        let once = EpollFlags::EPOLLIN | EpollFlags::EPOLLONESHOT;
        self.epoll
            .add(&descriptor, EpollEvent::new(once, u64::from(pid)))
            .ok()?;
        Some(descriptor)
    }
}

impl Drop for ExitWatch {
    fn drop(&mut self) {
        let _ = self.stop.write(1);
    }
}

#[cfg(test)]
mod tests {
    use std::{process::Command, sync::mpsc, time::Duration};

    use super::*;

    #[test]
    fn the_end_of_a_process_is_told_once_and_at_once() {
        let (told, ends) = mpsc::channel();
        let mut watch = ExitWatch::new(move |pid| {
            let _ = told.send(pid);
        })
        .unwrap();
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let mut other = Command::new("sleep").arg("60").spawn().unwrap();
        watch.watch([child.id(), other.id(), u32::MAX].into_iter());
        watch.watch([child.id()].into_iter());
        assert!(ends.recv_timeout(Duration::from_millis(100)).is_err());
        other.kill().unwrap();
        child.kill().unwrap();
        assert_eq!(ends.recv_timeout(Duration::from_secs(5)), Ok(child.id()));
        child.wait().unwrap();
        other.wait().unwrap();
        watch.watch([child.id()].into_iter());
        assert!(ends.recv_timeout(Duration::from_millis(100)).is_err());
        drop(watch);
        // The thread lets go of what it called.
        assert!(ends.recv_timeout(Duration::from_secs(5)) == Err(mpsc::RecvTimeoutError::Disconnected));
    }
}
