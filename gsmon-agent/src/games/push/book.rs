//! Which sessions pushes have opened and not ended, so that an event may name its session alone, and an event of a
//! session that does not exist is noticed.
//!
//! A room (or the server, for senders without rooms) has one session at a time: a new one there ends the old one.

use std::{collections::HashMap, sync::Arc};

use super::parse::Pushed;
use crate::games::event::{Fact, RoomName};

/// Open sessions that are remembered per server. Past that the one opened first is forgotten: events that name it are
/// then refused until it is started again.
const MOST_OPEN: usize = 1_024;

/// The open sessions of one server.
#[derive(Clone, Debug, Default)]
pub(super) struct ServerBook {
    open: HashMap<Arc<str>, Open>,
    opened: u64,
}

#[derive(Clone, Debug)]
struct Open {
    room: Option<RoomName>,
    /// Grows with every session.
    order: u64,
}

/// An event that belongs nowhere.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stray {
    /// Nobody has started that session, or it is over.
    NoSuchSession,
    /// It runs, but in another room.
    OtherRoom(Option<RoomName>),
}

impl ServerBook {
    /// Does this event read or change the book?
    pub fn concerns(pushed: &Pushed) -> bool {
        pushed.session.is_some()
            || matches!(
                pushed.event.fact,
                Fact::MatchBegun { .. } | Fact::MatchEnded { .. }
            )
    }

    /// Finds the event's session, fills in the room where only the session is named, and notes beginnings and ends.
    pub fn take(&mut self, pushed: &mut Pushed) -> Result<(), Stray> {
        let room = &mut pushed.event.room;
        let begins = matches!(pushed.event.fact, Fact::MatchBegun { .. });
        if begins {
            self.open.retain(|_, open| open.room != *room);
            if let Some(session) = &pushed.session {
                self.make_room();
                self.opened += 1;
                let open = Open {
                    room: room.clone(),
                    order: self.opened,
                };
                self.open.insert(session.clone(), open);
            }
            return Ok(());
        }
        if let Some(session) = &pushed.session {
            let open = self.open.get(session).ok_or(Stray::NoSuchSession)?;
            if room.is_some() && *room != open.room {
                return Err(Stray::OtherRoom(open.room.clone()));
            }
            room.clone_from(&open.room);
        }
        if matches!(pushed.event.fact, Fact::MatchEnded { .. }) {
            self.open.retain(|_, open| open.room != *room);
        }
        Ok(())
    }

    fn make_room(&mut self) {
        if self.open.len() < MOST_OPEN {
            return;
        }
        let oldest = self
            .open
            .iter()
            .min_by_key(|(_, open)| open.order)
            .map(|(session, _)| session.clone());
        if let Some(oldest) = oldest {
            self.open.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::games::push::parse;

    fn take(book: &mut ServerBook, event: &str) -> Result<Option<RoomName>, Stray> {
        let mut pushed = parse(event.as_bytes(), 0).unwrap().remove(0);
        book.take(&mut pushed)?;
        Ok(pushed.event.room)
    }

    fn event(kind: &str, rest: &str) -> String {
        let rest = if rest.is_empty() {
            String::new()
        } else {
            format!(",{rest}")
        };
        format!(r#"{{"server":"a","type":"{kind}"{rest}}}"#)
    }

    #[test]
    fn an_open_session_gives_its_room() {
        let mut book = ServerBook::default();
        take(
            &mut book,
            &event("session_started", r#""session":"s1","room":"r1""#),
        )
        .unwrap();
        take(
            &mut book,
            &event("session_started", r#""session":"s2","room":"r2""#),
        )
        .unwrap();
        let ready = |session| event("server_ready", &format!(r#""session":"{session}""#));
        assert_eq!(take(&mut book, &ready("s1")), Ok(Some("r1".into())));
        assert_eq!(take(&mut book, &ready("s2")), Ok(Some("r2".into())));
        assert_eq!(take(&mut book, &ready("s3")), Err(Stray::NoSuchSession));
        let wrong_room = event("server_ready", r#""session":"s1","room":"r2""#);
        assert_eq!(
            take(&mut book, &wrong_room),
            Err(Stray::OtherRoom(Some("r1".into())))
        );
        take(&mut book, &event("session_ended", r#""room":"r1""#)).unwrap();
        assert_eq!(take(&mut book, &ready("s1")), Err(Stray::NoSuchSession));
        take(&mut book, &event("session_ended", r#""session":"s2""#)).unwrap();
        assert_eq!(take(&mut book, &ready("s2")), Err(Stray::NoSuchSession));
    }

    #[test]
    fn a_new_session_in_a_room_ends_the_old_one() {
        let mut book = ServerBook::default();
        take(&mut book, &event("session_started", r#""session":"old""#)).unwrap();
        take(&mut book, &event("session_started", r#""session":"new""#)).unwrap();
        let old = event("phase", r#""phase":"active","session":"old""#);
        assert_eq!(take(&mut book, &old), Err(Stray::NoSuchSession));
        let new = event("phase", r#""phase":"active","session":"new""#);
        assert_eq!(take(&mut book, &new), Ok(None));
    }

    #[test]
    fn the_book_is_bounded_and_forgets_the_oldest() {
        let mut book = ServerBook::default();
        for index in 0..MOST_OPEN + 10 {
            let started = event(
                "session_started",
                &format!(r#""session":"s{index}","room":"r{index}""#),
            );
            take(&mut book, &started).unwrap();
        }
        assert_eq!(book.open.len(), MOST_OPEN);
        assert!(book.open.contains_key("s10") && !book.open.contains_key("s9"));
    }
}
