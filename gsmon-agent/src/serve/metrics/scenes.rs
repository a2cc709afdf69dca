//! Mode and map of each server as labels of one series. Games name maps as they like, and every name is a series that a
//! Prometheus keeps: so a server has so many names over the life of the agent, and what comes after them is `other`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

use super::Page;
use crate::{
    history::{prometheus::table::OTHER_SCENES, shared_scene},
    world::snapshot::Snapshot,
};

/// Pairs of mode and map that a server has series of.
const MOST_PAIRS: usize = 64;
/// A longer name has no label of its own.
const MOST_BYTES: usize = 64;

/// A mode and a map; empty where nobody tells it.
type Pair = (String, String);

/// Which modes and maps have had labels, by server.
#[derive(Debug, Default)]
pub struct SceneNames(Mutex<BTreeMap<String, BTreeSet<Pair>>>);

impl SceneNames {
    /// The labels for a pair; known from now on, where there is still room for it.
    fn labels(&self, server: &str, pair: Pair) -> Pair {
        let mut servers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = servers.entry(server.to_owned()).or_default();
        if known.contains(&pair) {
            return pair;
        }
        let fits = [&pair.0, &pair.1]
            .into_iter()
            .all(|name| name.len() <= MOST_BYTES);
        match fits && known.len() < MOST_PAIRS {
            true => {
                known.insert(pair.clone());
                pair
            }
            false => (OTHER_SCENES.to_owned(), OTHER_SCENES.to_owned()),
        }
    }

    /// Servers that are gone are forgotten.
    fn keep(&self, snapshot: &Snapshot) {
        let mut servers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        servers.retain(|name, _| snapshot.servers.iter().any(|server| server.name == *name));
    }
}

impl Page {
    pub(super) fn scenes(&self, snapshot: &Snapshot, names: &SceneNames) -> Result<(), prometheus::Error> {
        let family = self.gauge(
            "gsmon_server_scene_info",
            "Mode and map that all running sessions have, as the game calls them; at most 64 pairs per server, the rest is other.",
            &["server", "mode", "map"],
        )?;
        names.keep(snapshot);
        for server in &snapshot.servers {
            let (mode, map) = shared_scene(server);
            if mode.is_none() && map.is_none() {
                continue;
            }
            let word =
                |name: Option<std::sync::Arc<str>>| name.map_or_else(String::new, |name| name.to_string());
            let (mode, map) = names.labels(&server.name, (word(mode), word(map)));
            family
                .with_label_values(&[server.name.as_str(), &mode, &map])
                .set(1.0);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_and_those_that_were_there_first_stay() {
        let names = SceneNames::default();
        let pair = |n: usize| ("duel".to_owned(), format!("map{n}"));
        for n in 0..MOST_PAIRS {
            assert_eq!(names.labels("a", pair(n)), pair(n));
        }
        let other = (OTHER_SCENES.to_owned(), OTHER_SCENES.to_owned());
        assert_eq!(names.labels("a", pair(MOST_PAIRS)), other);
        assert_eq!(names.labels("a", pair(3)), pair(3));
        assert_eq!(names.labels("b", pair(MOST_PAIRS)), pair(MOST_PAIRS));
        assert_eq!(names.labels("b", ("m".repeat(65), String::new())), other);
    }
}
