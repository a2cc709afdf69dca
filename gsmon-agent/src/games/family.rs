//! What gsmon knows of each game family, in one place: how to read its log, whom to ask, how it numbers packets, and
//! which part of a [`super::PlayerRef`] is the same person tomorrow.

use super::{
    Grammar, ark, bedrock, factorio, luanti, minecraft, netcode::NetcodeLayout, palworld, quake3, rust,
    source, teeworlds, unity, unreal, valheim,
};
use crate::config::{Game, QueryProtocol};

/// Which part of a [`super::PlayerRef`] outlives what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StableKey {
    /// `platform_id`: outlives connections and renames.
    PlatformId,
    /// `name`: the server holds an account of that name, or nothing better is said.
    Name,
    /// `slot`: holds for one connection; who comes back is a new player.
    Slot,
    /// `address` and `port`: holds for one connection.
    Address,
}

/// Makes a reader for the log of one server.
pub type NewLog = fn() -> Box<dyn Grammar>;

/// One game family.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Which.
    pub game: Game,
    /// How to read its log; `None` where nothing is known of it.
    pub grammar: Option<NewLog>,
    /// What to ask when the configuration does not say; [`QueryProtocol::Off`] where there is nothing to ask.
    pub query: QueryProtocol,
    /// Wire format of play when the configuration does not say.
    pub netcode: NetcodeLayout,
    /// Which part of a player's statements is the stable one.
    pub identity: StableKey,
}

fn log<G: Grammar + Default + 'static>() -> Box<dyn Grammar> {
    Box::new(G::default())
}

/// What is known of a game.
pub fn family(game: Game) -> Family {
    let (grammar, query, netcode, identity): (Option<NewLog>, _, _, _) = match game {
        Game::Minecraft => (
            Some(log::<minecraft::Log>),
            minecraft::QUERY,
            minecraft::NETCODE,
            minecraft::IDENTITY,
        ),
        Game::MinecraftBedrock => (
            Some(log::<bedrock::Log>),
            bedrock::QUERY,
            bedrock::NETCODE,
            bedrock::IDENTITY,
        ),
        Game::Source => (
            Some(log::<source::Log>),
            source::QUERY,
            source::NETCODE,
            source::IDENTITY,
        ),
        Game::Quake3 => (
            Some(log::<quake3::Log>),
            quake3::QUERY,
            quake3::NETCODE,
            quake3::IDENTITY,
        ),
        Game::Teeworlds => (
            Some(log::<teeworlds::Log>),
            teeworlds::QUERY,
            teeworlds::NETCODE,
            teeworlds::IDENTITY,
        ),
        Game::Luanti => (
            Some(log::<luanti::Log>),
            luanti::QUERY,
            luanti::NETCODE,
            luanti::IDENTITY,
        ),
        Game::Unreal => (
            Some(log::<unreal::Log>),
            QueryProtocol::Off,
            NetcodeLayout::UnrealHandler,
            unreal::IDENTITY,
        ),
        Game::Ark => (
            Some(log::<ark::Log>),
            QueryProtocol::A2s,
            NetcodeLayout::UnrealHandler,
            ark::IDENTITY,
        ),
        Game::Palworld => (
            Some(log::<palworld::Log>),
            QueryProtocol::Off,
            NetcodeLayout::UnrealHandler,
            palworld::IDENTITY,
        ),
        Game::Unity => (
            Some(log::<unity::Log>),
            QueryProtocol::Off,
            NetcodeLayout::Unknown,
            unity::IDENTITY,
        ),
        Game::Valheim => (
            Some(log::<valheim::Log>),
            QueryProtocol::A2s,
            NetcodeLayout::Steam,
            valheim::IDENTITY,
        ),
        Game::Rust => (
            Some(log::<rust::Log>),
            QueryProtocol::A2s,
            NetcodeLayout::RakNet,
            rust::IDENTITY,
        ),
        Game::Factorio => (
            Some(log::<factorio::Log>),
            QueryProtocol::Off,
            NetcodeLayout::Factorio,
            factorio::IDENTITY,
        ),
        // The demo server knows the truth about itself and needs no log; custom grammars come from the configuration.
        Game::Demo | Game::Custom => (
            None,
            QueryProtocol::Off,
            NetcodeLayout::Unknown,
            StableKey::Address,
        ),
    };
    Family {
        game,
        grammar,
        query,
        netcode,
        identity,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constructors_read_their_own_family() {
        for (game, line) in [
            (
                Game::Minecraft,
                "[12:00:00] [Server thread/INFO]: Stopping server",
            ),
            (
                Game::MinecraftBedrock,
                "[2024-04-01 20:50:26:198 INFO] Server started.",
            ),
            (
                Game::Source,
                r#"L 06/21/2024 - 17:20:01: Loading map "cs_office""#,
            ),
            (Game::Quake3, "  0:00 ClientBegin: 2"),
            (Game::Teeworlds, "2026-08-01 12:00:00 I game: leave player='0:x'"),
            (
                Game::Luanti,
                "2026-08-01 12:00:00: ACTION[Main]: Server: Shutting down",
            ),
            (Game::Unreal, "[2026.06.07-18.42.28:919][  1]LogExit: Exiting."),
            (
                Game::Ark,
                "[2026.07.27-21.25.23:191][991]2026.07.27_21.25.23: X [UniqueNetId:0002dbe9 Platform:None] joined this ARK!",
            ),
            (
                Game::Palworld,
                "[2026-08-02 13:43:58] [LOG] Apollo left the server. (User id: steam_76561198000000000)",
            ),
            (Game::Unity, "Remote connection started for Id 0."),
            (Game::Valheim, "09/16/2026 05:21:57: Game server connected"),
            (Game::Rust, "Server startup complete"),
            (Game::Factorio, "2026-01-01 00:00:00 [JOIN] x joined the game"),
        ] {
            let family = family(game);
            assert_eq!(family.game, game);
            let mut said = Vec::new();
            family.grammar.unwrap()().line(line, &mut said);
            assert!(!said.is_empty(), "{game:?} says nothing to {line:?}");
        }
    }
}
