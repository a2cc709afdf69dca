//! What a row about a title says, and what the titles of an engine have in common.

use super::{
    Role,
    argv::{Arg, Value},
    place::LogPlace,
};
use crate::config::{
    Game,
    Protocol::{self, Tcp, Udp},
};

/// What a program's name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Naming {
    /// Only this server is called so.
    Own,
    /// Servers of an engine are called so.
    Family,
    /// The client, or much else, is called so too.
    Shared,
}

/// Where a server says its own name.
#[derive(Clone, Copy, Debug)]
pub(super) enum NameFrom {
    /// In an argument.
    Argument(Value),
    /// In an argument that is a path: its last component without ending.
    PathArgument(Value),
    /// `server-name` of `server.properties`.
    ServerName,
    /// `level-name` of `server.properties`.
    LevelName,
}

/// What else must be true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beside {
    /// Nothing.
    Nothing,
    /// It is a Unity player.
    UnityPlayer,
}

/// One title.
#[derive(Clone, Copy, Debug)]
pub(super) struct Title {
    pub game: Game,
    pub name: &'static str,
    pub role: Role,
    pub naming: Naming,
    /// Patterns over normalised file names.
    pub programs: &'static [&'static str],
    /// Parts of which one must be in the path, lower case; empty for anywhere.
    pub paths: &'static [&'static str],
    /// One of each group must be there, else it is a client or an editor.
    pub needs: &'static [&'static [Arg]],
    /// None of these may be there.
    pub refuses: &'static [Arg],
    /// Usual arguments.
    pub hints: &'static [Arg],
    pub beside: Beside,
    /// Usual game ports, first and last, the likeliest range first.
    pub ports: &'static [(Protocol, u16, u16)],
    pub port_arguments: &'static [Value],
    pub names: &'static [NameFrom],
    pub logs: &'static [LogPlace],
}

pub(super) const BASE: Title = Title {
    game: Game::Custom,
    name: "",
    role: Role::Server,
    naming: Naming::Own,
    programs: &[],
    paths: &[],
    needs: &[],
    refuses: &[],
    hints: &[],
    beside: Beside::Nothing,
    ports: &[],
    port_arguments: &[],
    names: &[],
    logs: &[],
};

pub(super) const SRCDS: Title = Title {
    game: Game::Source,
    programs: &[
        "srcds",
        "srcds_linux",
        "srcds_linux64",
        "srcds_i486",
        "srcds_amd",
        "srcds_win64",
    ],
    hints: &[
        Arg::Is("-game"),
        Arg::Is("-console"),
        Arg::Begins("+map"),
        Arg::Is("+maxplayers"),
    ],
    ports: &[(Udp, 27_015, 27_050)],
    port_arguments: &[Value::Key("-port"), Value::Cvar("hostport")],
    names: &[NameFrom::Argument(Value::Cvar("hostname"))],
    ..BASE
};

pub(super) const HLDS: Title = Title {
    programs: &["hlds_linux", "hlds_amd", "hlds_i686", "hlds_i486", "hlds"],
    ..SRCDS
};

pub(super) const fn source(name: &'static str, needs: &'static [&'static [Arg]]) -> Title {
    Title { name, needs, ..SRCDS }
}

pub(super) const QUAKE: Title = Title {
    game: Game::Quake3,
    hints: &[
        Arg::Is("+map"),
        Arg::Is("+exec"),
        Arg::Is("+vstr"),
        Arg::Set("dedicated", &["1", "2"]),
    ],
    ports: &[(Udp, 27_960, 27_999)],
    port_arguments: &[Value::Cvar("net_port")],
    names: &[NameFrom::Argument(Value::Cvar("sv_hostname"))],
    ..BASE
};

pub(super) const UNREAL: Title = Title {
    game: Game::Unreal,
    hints: &[
        Arg::Url("listen"),
        Arg::Is("-log"),
        Arg::Begins("/Game/"),
        Arg::Begins("-port="),
        Arg::Begins("-queryport="),
    ],
    ports: &[(Udp, 7_777, 7_800)],
    port_arguments: &[Value::Key("-port"), Value::Url("Port")],
    names: &[
        NameFrom::Argument(Value::Key("-servername")),
        NameFrom::Argument(Value::Key("-SteamServerName")),
        NameFrom::Argument(Value::Key("-hostname")),
        NameFrom::Argument(Value::Url("SessionName")),
        NameFrom::Argument(Value::Url("ServerName")),
    ],
    logs: &[LogPlace::UnrealArgument, LogPlace::UnrealSaved],
    ..BASE
};

pub(super) const UNITY: Title = Title {
    game: Game::Unity,
    hints: &[Arg::Is("-batchmode"), Arg::Is("-nographics")],
    // The editor builds and tests without a screen as well.
    refuses: &[
        Arg::Is("-projectPath"),
        Arg::Is("-executeMethod"),
        Arg::Is("-runTests"),
        Arg::Is("-quit"),
        Arg::Is("-createProject"),
    ],
    ports: &[(Udp, 7_777, 7_800)],
    port_arguments: &[
        Value::Key("-port"),
        Value::Key("--port"),
        Value::Key("-serverport"),
    ],
    names: &[
        NameFrom::Argument(Value::Key("-servername")),
        NameFrom::Argument(Value::Key("-name")),
    ],
    logs: &[LogPlace::Argument(&[
        Value::Key("-logFile"),
        Value::Key("-logPath"),
    ])],
    ..BASE
};

pub(super) const LUANTI: Title = Title {
    game: Game::Luanti,
    hints: &[
        Arg::Begins("--world"),
        Arg::Begins("--gameid"),
        Arg::Begins("--config"),
    ],
    ports: &[(Udp, 30_000, 30_010)],
    port_arguments: &[Value::Key("--port")],
    names: &[
        NameFrom::Argument(Value::Key("--worldname")),
        NameFrom::PathArgument(Value::Key("--world")),
    ],
    ..BASE
};

pub(super) const TEEWORLDS: Title = Title {
    game: Game::Teeworlds,
    hints: &[Arg::Begins("sv_"), Arg::Is("-f")],
    ports: &[(Udp, 8_303, 8_320)],
    port_arguments: &[Value::Command("sv_port")],
    names: &[NameFrom::Argument(Value::Command("sv_name"))],
    logs: &[LogPlace::Argument(&[Value::Command("logfile")])],
    ..BASE
};

pub(super) const BEDROCK: Title = Title {
    game: Game::MinecraftBedrock,
    ports: &[(Udp, 19_132, 19_160)],
    names: &[NameFrom::ServerName, NameFrom::LevelName],
    ..BASE
};

/// A server that only its panel or orchestrator and perhaps a query tell.
pub(super) const HOSTED: Title = Title {
    name: "hosted",
    naming: Naming::Shared,
    ..BASE
};

/// A program of any name on a usual port.
pub(super) const STRANGER: Title = Title {
    name: "unknown",
    naming: Naming::Shared,
    ..BASE
};

/// Usual ports of families, for programs of unknown name: only ports that little else uses. The first fitting row wins.
pub(super) const USUAL_PORTS: &[(Protocol, u16, u16, Game)] = &[
    (Tcp, 25_565, 25_575, Game::Minecraft),
    (Udp, 19_132, 19_133, Game::MinecraftBedrock),
    (Udp, 27_015, 27_020, Game::Source),
    (Udp, 27_960, 27_963, Game::Quake3),
    (Udp, 8_303, 8_306, Game::Teeworlds),
    (Udp, 30_000, 30_001, Game::Luanti),
    (Udp, 7_777, 7_779, Game::Unreal),
    (Udp, 8_211, 8_212, Game::Palworld),
    (Udp, 2_456, 2_458, Game::Valheim),
    (Udp, 28_015, 28_016, Game::Rust),
    (Udp, 34_197, 34_198, Game::Factorio),
];
