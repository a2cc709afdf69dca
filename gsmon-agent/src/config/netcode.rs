//! `[[netcode]]`: a wire format of the user's own, and `netcode` of a `[[server]]`: which format its players speak.
//!
//! Only fields at fixed places are described here (a sequence number, an acknowledgement, a sender's clock, as in RTP);
//! formats with commands, bit masks or negative acknowledgements are in `gsmon_common::netcode::layouts`.

use std::{collections::HashSet, num::NonZeroU16, time::Duration};

use gsmon_common::netcode::{
    Layout, Order,
    layout::{Case, Field, Guard, Side},
    layouts::{CUSTOM_FIRST, Format, LAYOUTS},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use super::{FieldError, GameServer, duration};

/// `netcode_reading` of `[agent]`: which packets of flows with a format are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetcodeSampling {
    /// Of formats that are dear to read, calm lines rest in between.
    #[default]
    Sampled,
    /// All.
    Always,
}

/// `netcode` of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NetcodeSetting {
    /// As is usual for the game, else recognised from the traffic.
    #[default]
    Auto,
    /// Not read.
    Off,
    /// A format that gsmon knows.
    Format(Format),
    /// The name of a `[[netcode]]` entry.
    Custom(String),
}

impl NetcodeSetting {
    fn text(&self) -> &str {
        match self {
            Self::Auto => "auto",
            Self::Off => "off",
            Self::Format(format) => format.name(),
            Self::Custom(name) => name,
        }
    }

    /// Is it what stands for nothing being said?
    pub fn is_auto(&self) -> bool {
        *self == Self::Auto
    }
}

impl From<String> for NetcodeSetting {
    fn from(text: String) -> Self {
        match text.as_str() {
            "auto" => Self::Auto,
            "off" => Self::Off,
            name => Format::ALL
                .into_iter()
                .find(|format| format.name() == name)
                .map_or(Self::Custom(text), Self::Format),
        }
    }
}

impl Serialize for NetcodeSetting {
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        output.serialize_str(self.text())
    }
}

impl<'de> Deserialize<'de> for NetcodeSetting {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        String::deserialize(input).map(Self::from)
    }
}

/// A port as a key of a TOML table, which is text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortKey(pub u16);

impl Serialize for PortKey {
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        output.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for PortKey {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = String::deserialize(input)?;
        let port: Option<NonZeroU16> = text.parse().ok();
        let wrong = || D::Error::custom(format!("`{text}` is no port: expected 1 to 65535"));
        port.map(|port| Self(port.get())).ok_or_else(wrong)
    }
}

/// A `[[netcode]]` entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CustomNetcode {
    /// Name, for `netcode` of servers.
    pub name: String,
    /// What clients send.
    pub from_client: FromClient,
    /// What the server sends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_client: Option<ToClient>,
}

/// `[netcode.from_client]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FromClient {
    /// Only datagrams that have this value here are of the format.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    pub guard: Option<Expected>,
    /// Counts the client's datagrams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<Place>,
    /// The number of the newest datagram that came from the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Place>,
    /// The client's clock when it sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<Place>,
    /// One step of that clock.
    #[serde(default, with = "maybe_duration", skip_serializing_if = "Option::is_none")]
    pub clock_step: Option<Duration>,
}

/// `[netcode.to_client]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToClient {
    /// Only datagrams that have this value here are of the format.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    pub guard: Option<Expected>,
    /// Counts the server's datagrams; what clients acknowledge.
    pub sequence: Place,
}

/// A number in a datagram's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// From the payload's first byte, 0 to 1,000.
    pub offset: u16,
    /// Bytes: 1, 2, 3 or 4.
    pub bytes: u8,
    /// Byte order.
    #[serde(default)]
    pub order: ByteOrder,
    /// Kept bits after the shift; all by default.
    #[serde(default = "all_bits")]
    pub mask: u32,
    /// Right shift.
    #[serde(default)]
    pub shift: u8,
}

/// A number that must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// Where.
    #[serde(flatten)]
    pub place: Place,
    /// What.
    pub equals: u32,
}

/// `order` of a place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ByteOrder {
    /// Network byte order.
    #[default]
    Big,
    /// Least significant byte first.
    Little,
}

fn all_bits() -> u32 {
    u32::MAX
}

mod maybe_duration {
    use super::{Deserialize, Deserializer, Duration, Serializer, duration};

    #[derive(Deserialize)]
    struct Wrapped(#[serde(deserialize_with = "duration::deserialize")] Duration);

    pub fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Duration>, D::Error> {
        Option::<Wrapped>::deserialize(input).map(|found| found.map(|Wrapped(step)| step))
    }

    pub fn serialize<S: Serializer>(value: &Option<Duration>, output: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(step) => duration::serialize(step, output),
            None => output.serialize_none(),
        }
    }
}

const FARTHEST: u16 = 1_000;

impl Place {
    fn field(self) -> Field {
        let order = match self.order {
            ByteOrder::Big => Order::Big,
            ByteOrder::Little => Order::Little,
        };
        Field::new(self.offset, self.bytes, order, u32::from(self.shift), self.mask)
    }

    /// Bits of the number that come one after the other from the lowest, as a sequence number needs.
    fn bits(self) -> u8 {
        let whole = if self.bytes >= 4 {
            u32::MAX
        } else {
            (1 << (8 * u32::from(self.bytes))) - 1
        };
        let kept = self.mask & (whole >> u32::from(self.shift).min(31));
        kept.trailing_ones() as u8
    }

    fn check(self, name: &str, field: &str) -> Result<(), FieldError> {
        let bad = |what: &str| {
            Err(FieldError::BadNetcode {
                name: name.to_owned(),
                message: format!("{field}: {what}"),
            })
        };
        if self.offset > FARTHEST {
            return bad("offset must be 0 to 1000");
        }
        if !(1..=4).contains(&self.bytes) {
            return bad("bytes must be 1, 2, 3 or 4");
        }
        if u32::from(self.shift) >= 8 * u32::from(self.bytes) {
            return bad("shift leaves no bit of it");
        }
        Ok(())
    }

    fn check_number(self, name: &str, field: &str) -> Result<(), FieldError> {
        self.check(name, field)?;
        if self.bits() < 6 {
            return Err(FieldError::BadNetcode {
                name: name.to_owned(),
                message: format!("{field}: a number of fewer than 6 bits tells neither loss nor round trips"),
            });
        }
        Ok(())
    }
}

impl CustomNetcode {
    /// As the kernel programs read it.
    pub fn layout(&self) -> Layout {
        let guard = |expected: Option<Expected>| {
            expected.map_or(Guard::ALWAYS, |expected| {
                Guard::equal(expected.place.field(), expected.equals)
            })
        };
        let one = |case: Case| Side {
            whole: [case, Case::NONE, Case::NONE, Case::NONE],
            ..Side::NONE
        };
        let mut rx = Case::when(guard(self.from_client.guard));
        if let Some(place) = self.from_client.sequence {
            rx = rx.sequence(place.field(), place.bits());
        }
        if let Some(place) = self.from_client.acknowledged {
            rx = rx.acknowledged(place.field());
        }
        let mut layout = Layout::NONE;
        if let Some(place) = self.from_client.clock {
            rx = rx.clock(place.field());
            layout.clock_wrap = 1u32.checked_shl(u32::from(place.bits())).unwrap_or(0);
            let step = self.from_client.clock_step.unwrap_or_default();
            layout.clock_step_ns = u32::try_from(step.as_nanos()).unwrap_or(u32::MAX);
        }
        layout.rx = one(rx);
        if let Some(to_client) = &self.to_client {
            layout.tx = one(Case::when(guard(to_client.guard)).stamp(to_client.sequence.field()));
        }
        layout
    }

    fn check(&self) -> Result<(), FieldError> {
        let bad = |message: &str| {
            Err(FieldError::BadNetcode {
                name: self.name.clone(),
                message: message.to_owned(),
            })
        };
        let length = self.name.chars().count();
        if length == 0 || length > 64 || self.name.chars().any(char::is_control) {
            return bad("the name must have 1 to 64 characters and no control characters");
        }
        if !matches!(NetcodeSetting::from(self.name.clone()), NetcodeSetting::Custom(_)) {
            return bad("gsmon has a format of this name already: give another one");
        }
        let client = &self.from_client;
        for (place, field) in [
            (client.sequence, "from_client.sequence"),
            (client.acknowledged, "from_client.acknowledged"),
            (client.clock, "from_client.clock"),
            (
                self.to_client.as_ref().map(|to| to.sequence),
                "to_client.sequence",
            ),
        ] {
            if let Some(place) = place {
                place.check_number(&self.name, field)?;
            }
        }
        for (expected, field) in [
            (client.guard, "from_client.where"),
            (self.to_client.as_ref().and_then(|to| to.guard), "to_client.where"),
        ] {
            if let Some(expected) = expected {
                expected.place.check(&self.name, field)?;
            }
        }
        if client.sequence.is_none() && client.acknowledged.is_none() {
            return bad("from_client needs a sequence or an acknowledged number");
        }
        if client.acknowledged.is_some() && self.to_client.is_none() {
            return bad(
                "an acknowledged number needs [netcode.to_client] with the sequence that it acknowledges",
            );
        }
        if client.clock.is_some() != client.clock_step.is_some() {
            return bad("clock and clock_step belong together");
        }
        let most = Duration::from_secs(1);
        if client
            .clock_step
            .is_some_and(|step| step.is_zero() || step > most)
        {
            return bad("clock_step must be 1ns to 1s");
        }
        Ok(())
    }
}

/// Checks all entries, and that servers name only what there is.
pub(super) fn check(custom: &[CustomNetcode], servers: &[GameServer]) -> Result<(), FieldError> {
    let mut names = HashSet::new();
    for entry in custom {
        entry.check()?;
        if !names.insert(entry.name.as_str()) {
            return Err(FieldError::BadNetcode {
                name: entry.name.clone(),
                message: "there are two of this name".into(),
            });
        }
    }
    let most = (LAYOUTS - CUSTOM_FIRST) as usize;
    if custom.len() > most {
        return Err(FieldError::BadNetcode {
            name: custom[most].name.clone(),
            message: format!("there may be {most} entries at most"),
        });
    }
    for server in servers {
        if let Some(port) = server.port
            && let Some(other) = server.netcode_by_port.keys().find(|key| key.0 != port)
        {
            let other = other.0;
            return Err(FieldError::BadSource {
                name: server.name.clone(),
                message: format!(
                    "netcode_by_port has port {other}, but it is found by `port = {port}`, so that no other is a game port of it: find it by executable, command_line, cgroup or systemd_unit, then all its ports are"
                ),
            });
        }
        for setting in std::iter::once(&server.netcode).chain(server.netcode_by_port.values()) {
            let NetcodeSetting::Custom(name) = setting else {
                continue;
            };
            if names.contains(name.as_str()) {
                continue;
            }
            let known: Vec<&str> = Format::ALL.iter().map(|format| format.name()).collect();
            return Err(FieldError::BadNetcode {
                name: name.clone(),
                message: format!(
                    "server `{}` speaks it, and there is no such format: use auto, off, a [[netcode]] entry, or one of {}",
                    server.name,
                    known.join(", ")
                ),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{super::Config, NetcodeSetting, PortKey};

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, Path::new("t.toml")).map_err(|error| error.to_string())
    }

    const RTP: &str = r#"
[[server]]
name = "a"
port = 1
netcode = "voice"
[[netcode]]
name = "voice"
[netcode.from_client]
where = { offset = 0, bytes = 1, mask = 0xc0, equals = 0x80 }
sequence = { offset = 2, bytes = 2 }
clock = { offset = 4, bytes = 4 }
clock_step = "125us"
"#;

    #[test]
    fn a_format_of_ones_own_is_read_and_written_again() {
        let config = parse(RTP).unwrap();
        let layout = config.netcode[0].layout();
        assert!(layout.tells_up_loss() && layout.has_clock() && !layout.tells_rtt());
        assert_eq!((layout.clock_step_ns, layout.clock_wrap), (125_000, 0));
        let again = toml::to_string(&config).unwrap();
        assert_eq!(parse(&again).unwrap(), config);
    }

    #[test]
    fn ports_of_a_server_may_speak_differently() {
        let by_port = RTP.replace(
            "port = 1\nnetcode = \"voice\"",
            "executable = \"x\"\nnetcode = \"enet\"\nnetcode_by_port = { 7778 = \"voice\", 7779 = \"off\" }",
        );
        let config = parse(&by_port).unwrap();
        let ports: Vec<_> = config.servers[0].netcode_by_port.iter().collect();
        let voice = NetcodeSetting::Custom("voice".into());
        assert_eq!(
            ports,
            [(&PortKey(7778), &voice), (&PortKey(7779), &NetcodeSetting::Off)]
        );
        let again = toml::to_string(&config).unwrap();
        assert_eq!(parse(&again).unwrap(), config);
        for (port, want) in [("0", "no port"), ("70000", "no port"), ("voice", "no port")] {
            let told = parse(&by_port.replace("7778", port)).unwrap_err();
            assert!(told.contains(want), "{told}");
        }
        let told = parse(&by_port.replace("{ 7778 = \"voice\"", "{ 7778 = \"noise\"")).unwrap_err();
        assert!(told.contains("no such format"), "{told}");
        // A server that is found by its port has no other one.
        let told = parse(&by_port.replace("executable = \"x\"", "port = 7777")).unwrap_err();
        assert!(told.contains("7778") && told.contains("executable"), "{told}");
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_would_be_right() {
        let cases = [
            (
                RTP.replace("name = \"voice\"\n[netcode", "name = \"other\"\n[netcode"),
                "there is no such format",
            ),
            (RTP.replace("\"voice\"", "\"source\""), "another one"),
            (RTP.replace("clock_step = \"125us\"", ""), "belong together"),
            (
                RTP.replace("offset = 2, bytes = 2", "offset = 2, bytes = 9"),
                "1, 2, 3 or 4",
            ),
            (
                RTP.replace("offset = 2, bytes = 2", "offset = 2, bytes = 2, mask = 7"),
                "6 bits",
            ),
            (
                RTP.replace(
                    "sequence = { offset = 2, bytes = 2 }",
                    "acknowledged = { offset = 2, bytes = 2 }",
                ),
                "to_client",
            ),
            (RTP.replace("offset = 4,", "offset = 5000,"), "0 to 1000"),
        ];
        for (text, want) in cases {
            let told = parse(&text).unwrap_err();
            assert!(told.contains(want), "{told}");
        }
    }
}
