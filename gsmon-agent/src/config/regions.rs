//! `[regions]`: where players are, by networks, by a database of the user's, or by latency; and the text format of a
//! list of networks. Reading files is the host room's, finding the region of an address the world's.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    path::PathBuf,
    time::Duration,
};

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

use super::FieldError;

/// Networks that one list may have.
pub const MOST_NETWORKS: usize = 1_000_000;
/// Characters of a region's name.
const LONGEST_NAME: usize = 64;

/// `[regions]`. The first that knows an address decides: networks (the longest prefix), the database, latency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RegionSettings {
    /// A file with a network and the name of its region on each line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// `[regions.networks]`: networks and the names of their regions.
    pub networks: BTreeMap<String, String>,
    /// A database in MaxMind's format (`.mmdb`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<PathBuf>,
    /// Where in a record of the database the name is: keys, and numbers for positions in lists.
    pub database_path: Vec<String>,
    /// `[[regions.latency]]`: for addresses that nothing else knows, bands of the measured round trip.
    pub latency: Vec<LatencyBand>,
}

/// `[[regions.latency]]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatencyBand {
    /// Name of the region.
    pub name: String,
    /// Up to this round trip; the last band may do without.
    #[serde(default, with = "optional_duration", skip_serializing_if = "Option::is_none")]
    pub up_to: Option<Duration>,
}

mod optional_duration {
    use std::time::Duration;

    use serde::{Deserializer, Serializer};

    use super::super::duration;

    pub fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Duration>, D::Error> {
        duration::deserialize(input).map(Some)
    }

    pub fn serialize<S: Serializer>(value: &Option<Duration>, output: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => duration::serialize(value, output),
            None => output.serialize_none(),
        }
    }
}

impl Default for RegionSettings {
    fn default() -> Self {
        Self {
            file: None,
            networks: BTreeMap::new(),
            database: None,
            database_path: vec!["country".into(), "iso_code".into()],
            latency: Vec::new(),
        }
    }
}

/// Why a list of networks was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkListError {
    /// A line that makes no sense.
    #[error("line {line}: {message}")]
    Line {
        /// One-based.
        line: usize,
        /// What is wrong and what would be right.
        message: String,
    },
    /// More than it may have.
    #[error("more than {MOST_NETWORKS} networks")]
    TooMany,
}

impl RegionSettings {
    /// Is there anything to tell regions by?
    pub fn is_empty(&self) -> bool {
        self.file.is_none() && self.networks.is_empty() && self.database.is_none() && self.latency.is_empty()
    }

    /// The networks of the configuration itself.
    pub fn inline_networks(&self) -> Result<Vec<(IpNet, String)>, FieldError> {
        let mut seen: HashMap<IpNet, &str> = HashMap::new();
        let mut networks = Vec::with_capacity(self.networks.len());
        for (text, name) in &self.networks {
            let network = network(text).map_err(bad)?;
            check_name(name).map_err(bad)?;
            if let Some(other) = seen.insert(network, name)
                && other != name
            {
                return Err(bad(format!("{network} is both `{other}` and `{name}`")));
            }
            networks.push((network, name.clone()));
        }
        Ok(networks)
    }

    /// Checks what the types cannot.
    pub fn check(&self) -> Result<(), FieldError> {
        self.inline_networks()?;
        for path in [&self.file, &self.database].into_iter().flatten() {
            if !path.is_absolute() {
                return Err(bad(format!("`{}` must be an absolute path", path.display())));
            }
        }
        if self.database_path.is_empty() {
            return Err(bad(
                "database_path is empty: [\"country\", \"iso_code\"] is usual".to_owned(),
            ));
        }
        let mut least = Duration::ZERO;
        for (index, band) in self.latency.iter().enumerate() {
            check_name(&band.name).map_err(bad)?;
            match band.up_to {
                Some(up_to) if up_to > least => least = up_to,
                Some(_) => {
                    return Err(bad(format!(
                        "latency band `{}` must reach further than the one before it",
                        band.name
                    )));
                }
                None if index + 1 == self.latency.len() => {}
                None => {
                    return Err(bad(format!(
                        "latency band `{}` needs up_to: only the last may do without",
                        band.name
                    )));
                }
            }
        }
        Ok(())
    }
}

fn bad(message: String) -> FieldError {
    FieldError::BadRegions { message }
}

/// Checks the name of a region.
pub fn check_name(name: &str) -> Result<(), String> {
    let length = name.chars().count();
    if length == 0 || length > LONGEST_NAME || name.chars().any(char::is_control) {
        return Err(format!(
            "`{}` is no name of a region: 1 to {LONGEST_NAME} characters, no control characters",
            name.escape_debug()
        ));
    }
    Ok(())
}

/// A network in CIDR notation, or one address. IPv4-mapped networks are those of IPv4.
fn network(text: &str) -> Result<IpNet, String> {
    let network: IpNet = match text.parse::<IpAddr>() {
        Ok(address) => address.into(),
        Err(_) => text
            .parse()
            .map_err(|_| format!("`{}` is no network such as 192.0.2.0/24", text.escape_debug()))?,
    };
    if network.trunc() != network {
        return Err(format!(
            "`{text}` has bits behind its prefix: {} is meant, or another length",
            network.trunc()
        ));
    }
    Ok(canonical(network))
}

fn canonical(network: IpNet) -> IpNet {
    match network {
        IpNet::V6(v6) if v6.prefix_len() >= 96 => v6
            .addr()
            .to_ipv4_mapped()
            .and_then(|v4| Ipv4Net::new(v4, v6.prefix_len() - 96).ok())
            .map_or(network, IpNet::V4),
        _ => network,
    }
}

/// Reads a list of networks: on each line a network, a space, tab or comma, and the name of its region. Empty lines and
/// what follows `#` are passed over.
///
/// # Errors
/// When a line makes no sense, or gives a network another name than a line before it.
pub fn parse_networks(text: &str) -> Result<Vec<(IpNet, String)>, NetworkListError> {
    let mut seen: HashMap<IpNet, usize> = HashMap::new();
    let mut networks: Vec<(IpNet, String)> = Vec::new();
    for (index, whole) in text.lines().enumerate() {
        let line = index + 1;
        let refuse = |message: String| NetworkListError::Line { line, message };
        let words = whole.split('#').next().unwrap_or_default().trim();
        if words.is_empty() {
            continue;
        }
        let separator = |letter: char| letter == ',' || letter.is_whitespace();
        let (left, right) = words
            .split_once(separator)
            .ok_or_else(|| refuse(format!("`{}` has no name behind it", words.escape_debug())))?;
        let network = network(left).map_err(refuse)?;
        let name = right.trim_matches(separator);
        check_name(name).map_err(refuse)?;
        if let Some(earlier) = seen.get(&network) {
            let (_, other) = &networks[*earlier];
            if other != name {
                return Err(refuse(format!(
                    "{network} was `{other}` before, and is `{name}` here"
                )));
            }
            continue;
        }
        if networks.len() == MOST_NETWORKS {
            return Err(NetworkListError::TooMany);
        }
        seen.insert(network, networks.len());
        networks.push((network, name.to_owned()));
    }
    Ok(networks)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::config::Config;

    fn refused(text: &str) -> String {
        Config::parse(text, Path::new("gsmon.toml"))
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn what_cannot_be_meant_is_named_with_its_remedy() {
        for (text, part) in [
            (
                "[regions.networks]\n\"192.0.2.1/24\" = \"a\"\n",
                "192.0.2.0/24 is meant",
            ),
            ("[regions.networks]\n\"here\" = \"a\"\n", "`here` is no network"),
            (
                "[regions.networks]\n\"10.0.0.0/8\" = \"\"\n",
                "1 to 64 characters",
            ),
            (
                "[regions.networks]\n\"10.0.0.0/8\" = \"a\"\n\"::ffff:10.0.0.0/104\" = \"b\"\n",
                "both `a` and `b`",
            ),
            ("[regions]\nfile = \"regions.txt\"\n", "absolute path"),
            (
                "[regions]\ndatabase = \"/x\"\ndatabase_path = []\n",
                "database_path is empty",
            ),
            (
                "[[regions.latency]]\nname = \"a\"\n[[regions.latency]]\nname = \"b\"\n",
                "`a` needs up_to",
            ),
            (
                "[[regions.latency]]\nname = \"a\"\nup_to = \"50ms\"\n[[regions.latency]]\nname = \"b\"\nup_to = \"40ms\"\n",
                "`b` must reach further",
            ),
            ("[regions]\nwhat = 1\n", "unknown field `what`"),
        ] {
            let message = refused(text);
            assert!(message.contains(part), "{text}: {message}");
        }
    }

    #[test]
    fn settings_survive_a_round_trip() {
        let text = "[regions]\nfile = \"/etc/regions\"\n[regions.networks]\n\"10.0.0.0/8\" = \"lan\"\n\
                    [[regions.latency]]\nname = \"near\"\nup_to = \"50ms\"\n[[regions.latency]]\nname = \"far\"\n";
        let config = Config::parse(text, Path::new("gsmon.toml")).unwrap();
        assert!(!config.regions.is_empty());
        let again = toml::to_string(&config).unwrap();
        assert_eq!(Config::parse(&again, Path::new("gsmon.toml")).unwrap(), config);
    }

    #[test]
    fn a_list_is_read_and_a_bad_line_is_named() {
        let text = "# ours\n192.0.2.0/24 eu west\n2001:db8::/32,us\n\n198.51.100.7\tone  # a single address\n192.0.2.0/24 eu west\n";
        let networks = parse_networks(text).unwrap();
        let names: Vec<&str> = networks.iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!(names, ["eu west", "us", "one"]);
        assert_eq!(networks[2].0.prefix_len(), 32);
        for (text, line, part) in [
            ("10.0.0.0/8 a\n10.0.0.0/33 b\n", 2, "no network"),
            ("10.0.0.0/8\n", 1, "no name"),
            ("10.0.0.0/8 a\n\n10.0.0.0/8 b\n", 3, "was `a` before"),
            ("10.0.0.1/8 a\n", 1, "10.0.0.0/8 is meant"),
        ] {
            match parse_networks(text) {
                Err(NetworkListError::Line { line: at, message }) => {
                    assert_eq!(at, line, "{text}");
                    assert!(message.contains(part), "{message}");
                }
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC{0,200}") {
            let _ = parse_networks(&text);
        }

        #[test]
        fn what_is_written_is_read_back(networks in proptest::collection::btree_map((any::<u32>(), 0u8..=32), "[a-z]{1,8}", 0..40)) {
            let mut wanted = BTreeMap::new();
            for ((bits, length), name) in networks {
                let net = IpNet::new(std::net::Ipv4Addr::from(bits).into(), length).unwrap().trunc();
                wanted.entry(net).or_insert(name);
            }
            let text: String = wanted.iter().map(|(net, name)| format!("{net} {name}\n")).collect();
            let read: BTreeMap<IpNet, String> = parse_networks(&text).unwrap().into_iter().collect();
            prop_assert_eq!(read, wanted);
        }
    }
}
