//! A channel that holds at most so many, and takes memory only for those that wait: the standard one has all its places
//! from the beginning, ten MiB of them for the events of logs.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    mpsc::{self, Receiver, Sender, SyncSender, TrySendError},
};

use super::GameEvent;

/// Where events go. Never waits.
pub trait EventSink: Send + 'static {
    /// Hands an event over, or back where there is no room or nobody takes them.
    ///
    /// # Errors
    /// With the event.
    #[expect(
        clippy::result_large_err,
        reason = "an event that finds no room goes back as it came"
    )]
    fn try_send(&self, event: GameEvent) -> Result<(), TrySendError<GameEvent>>;
}

impl EventSink for SyncSender<GameEvent> {
    fn try_send(&self, event: GameEvent) -> Result<(), TrySendError<GameEvent>> {
        Self::try_send(self, event)
    }
}

#[derive(Debug, Default)]
struct Shared {
    waiting: AtomicUsize,
    /// Nobody takes anything any more.
    closed: AtomicBool,
}

/// The end where things are put in.
#[derive(Debug)]
pub struct BoundedSender<T> {
    sender: Sender<T>,
    shared: Arc<Shared>,
    capacity: usize,
}

/// The end where they are taken out.
#[derive(Debug)]
pub struct BoundedReceiver<T> {
    receiver: Receiver<T>,
    shared: Arc<Shared>,
}

/// A channel with room for `capacity`.
pub fn bounded<T>(capacity: usize) -> (BoundedSender<T>, BoundedReceiver<T>) {
    let (sender, receiver) = mpsc::channel();
    let shared = Arc::new(Shared::default());
    let source = BoundedReceiver {
        receiver,
        shared: shared.clone(),
    };
    let sink = BoundedSender {
        sender,
        shared,
        capacity,
    };
    (sink, source)
}

// Derived, it would ask the things themselves to be `Clone`.
impl<T> Clone for BoundedSender<T> {
    fn clone(&self) -> Self {
        Self {
            sender: self.sender.clone(),
            shared: self.shared.clone(),
            capacity: self.capacity,
        }
    }
}

impl EventSink for BoundedSender<GameEvent> {
    fn try_send(&self, event: GameEvent) -> Result<(), TrySendError<GameEvent>> {
        Self::try_send(self, event)
    }
}

impl<T> BoundedSender<T> {
    /// Puts one in.
    ///
    /// # Errors
    /// When there is no room, or the other end is gone.
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        // Taken before it is used: several senders cannot share one place.
        if self.shared.waiting.fetch_add(1, Relaxed) >= self.capacity {
            self.shared.waiting.fetch_sub(1, Relaxed);
            return Err(match self.shared.closed.load(Relaxed) {
                true => TrySendError::Disconnected(value),
                false => TrySendError::Full(value),
            });
        }
        self.sender
            .send(value)
            .map_err(|mpsc::SendError(value)| TrySendError::Disconnected(value))
    }
}

impl<T> Drop for BoundedReceiver<T> {
    /// What waits is taken by nobody: who sends is to learn that, and not that there is no room.
    fn drop(&mut self) {
        self.shared.closed.store(true, Relaxed);
    }
}

impl<T> BoundedReceiver<T> {
    /// Those that wait.
    pub fn try_iter(&self) -> impl Iterator<Item = T> {
        self.receiver.try_iter().inspect(|_| {
            self.shared.waiting.fetch_sub(1, Relaxed);
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_makes_room() {
        let (sink, source) = bounded(2);
        let other = sink.clone();
        assert!(sink.try_send(1).is_ok() && other.try_send(2).is_ok());
        assert_eq!(sink.try_send(3), Err(TrySendError::Full(3)));
        assert_eq!(source.try_iter().next(), Some(1));
        assert!(other.try_send(3).is_ok());
        assert_eq!(sink.try_send(4), Err(TrySendError::Full(4)));
        assert_eq!(source.try_iter().collect::<Vec<_>>(), [2, 3]);
        assert!(sink.try_send(4).is_ok() && sink.try_send(5).is_ok());
        drop(source);
        assert_eq!(sink.try_send(5), Err(TrySendError::Disconnected(5)));
    }
}
