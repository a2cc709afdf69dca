//! Names for servers that nobody named: unique on the host, stable over restarts, safe as a label.
//!
//! What tells a server apart for people comes first: the pod or GameServer, the panel's id, the container's name, else
//! title and port. Where two would have one name, port, address, network namespace, world and at last a number tell them
//! apart; who had a name gets it back.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    path::Path,
};

use super::super::container::{Container, Hosting, Manager};
use crate::games::signature::Recognised;

/// Longest name.
pub(super) const LONGEST: usize = 64;
/// Longest first part: leaves room for what tells apart.
const LONGEST_BASE: usize = 44;
/// Names that are remembered.
const REMEMBERED: usize = 4_096;

/// What a name is made of.
pub(super) struct Parts<'a> {
    pub recognised: &'a Recognised,
    pub port: u16,
    pub address: Option<IpAddr>,
    pub container: Option<&'a Container>,
    pub hosting: Option<&'a Hosting>,
    pub place: Place,
    pub cwd: Option<&'a Path>,
}

/// The network namespace of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The agent's own, or unknown.
    Own,
    /// One with a name.
    Named(String),
    /// Another one without a name.
    Other,
}

/// Names in use and names remembered.
#[derive(Debug, Default)]
pub(super) struct Names {
    by_identity: HashMap<String, String>,
}

impl Names {
    /// A name that is not in `live`.
    pub(super) fn assign(&mut self, parts: &Parts<'_>, live: &HashSet<String>) -> String {
        let base = base(parts);
        let identity = identity(parts, &base);
        if let Some(name) = self
            .by_identity
            .get(&identity)
            .filter(|name| !live.contains(*name))
        {
            return name.clone();
        }
        let reserved: HashSet<&String> = self.by_identity.values().collect();
        let is_free = |name: &String| !live.contains(name) && !reserved.contains(name);
        let name = options(parts, &base)
            .chain((2u32..).map(|number| format!("{base}-{number}")))
            .take(REMEMBERED * 3)
            .find(is_free)
            // There are fewer live and remembered names than that.
            .unwrap_or_else(|| format!("{base}-{}", identity.len()));
        if self.by_identity.len() >= REMEMBERED {
            self.by_identity.retain(|_, name| live.contains(name));
        }
        self.by_identity.insert(identity, name.clone());
        name
    }
}

fn base(parts: &Parts<'_>) -> String {
    let title = slug(parts.recognised.title).to_ascii_lowercase();
    let by_title = format!("{title}-{}", parts.port);
    let own = |name: &str| {
        let name = slug(name);
        (!name.is_empty()).then_some(name)
    };
    let hosted = parts.hosting.and_then(|hosting| {
        let instance = hosting.instance.as_deref()?;
        match hosting.manager {
            Manager::Agones => own(instance),
            // Panels show the first eight digits.
            Manager::Pterodactyl | Manager::Pelican => {
                let short: String = instance.chars().take(8).collect();
                own(&short).map(|short| format!("{title}-{short}"))
            }
        }
    });
    let contained = || {
        let container = parts.container?;
        let name = container.pod_name().or(container.name.as_deref());
        name.and_then(own).or_else(|| {
            let outer = container.outer.as_deref()?.name.as_deref()?;
            own(outer).map(|outer| format!("{outer}-{}", parts.port))
        })
    };
    let mut name = hosted.or_else(contained).unwrap_or(by_title);
    // All letters are ASCII by now.
    name.truncate(LONGEST_BASE);
    name.trim_end_matches('-').to_owned()
}

fn options<'a>(parts: &'a Parts<'_>, base: &'a str) -> impl Iterator<Item = String> + 'a {
    let place = match &parts.place {
        Place::Named(name) => Some(slug(name)),
        Place::Own | Place::Other => None,
    };
    let tails = [
        (!base.ends_with(&format!("-{}", parts.port))).then(|| parts.port.to_string()),
        parts.address.map(|address| slug(&address.to_string())),
        place,
        parts.recognised.name.as_deref().map(slug),
    ];
    let tails = tails.into_iter().flatten().filter(|tail| !tail.is_empty());
    std::iter::once(base.to_owned()).chain(tails.map(move |tail| {
        let mut name = format!("{base}-{tail}");
        name.truncate(LONGEST);
        name.trim_end_matches('-').to_owned()
    }))
}

/// What stays when a server is started again.
fn identity(parts: &Parts<'_>, base: &str) -> String {
    let place = match &parts.place {
        Place::Own => String::new(),
        Place::Named(name) => format!("netns {name}"),
        // Only the directory is left to tell such servers apart.
        Place::Other => format!("other {}", parts.cwd.unwrap_or(Path::new("")).display()),
    };
    format!("{base}|{}|{:?}|{place}", parts.port, parts.address)
}

/// Letters, digits, `.`, `_` and `-` of ASCII; anything else becomes one `-`, apostrophes nothing.
pub(super) fn slug(text: &str) -> String {
    let mut found = String::new();
    for letter in text.chars().filter(|letter| *letter != '\'') {
        if letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_') {
            found.push(letter);
        } else if !found.is_empty() && !found.ends_with('-') {
            found.push('-');
        }
        if found.len() >= LONGEST {
            break;
        }
    }
    found.trim_end_matches('-').to_owned()
}
