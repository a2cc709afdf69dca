//! How the engine spells connections, accounts and URLs in its lines.

use std::sync::Arc;

use crate::games::{
    event::PlayerRef,
    fields::{endpoint, is_word, label, whole},
};

/// The engine's limit for names in a URL, in UTF-16 units; cut where the title allows no more.
const NAME_LIMIT: usize = 20;

/// The remote address of a connection's description, if it is a player's: beacons (queues in front of a server) have
/// connections of their own, and a server can be another server's client.
pub(super) fn on_game_driver(description: &str) -> Option<&str> {
    let remote = field(description, "RemoteAddr: ")?;
    let game = field(description, ", Driver: ")
        .is_none_or(|driver| driver.starts_with("GameNetDriver") || driver.starts_with("Name:GameNetDriver"));
    let ours = field(description, "IsServer: ") != Some("NO");
    (game && ours).then_some(remote)
}

/// A field of a connection's description.
pub(super) fn field<'a>(description: &'a str, name: &str) -> Option<&'a str> {
    let (_, tail) = description.split_once(name)?;
    Some(tail.split(", ").next().unwrap_or(tail).trim_end())
}

/// Who is at a remote address: an address, or with Steam's sockets a SteamID64 in its place.
pub(super) fn at(remote: &str) -> Option<PlayerRef> {
    if let Some((address, port)) = endpoint(remote) {
        return Some(PlayerRef::default().with_address(address, port));
    }
    let id = remote.split(':').next().unwrap_or(remote);
    (id.len() == 17 && whole::<u64>(id).is_some()).then(|| PlayerRef::identified(id))
}

/// `?Name=X` of a URL's options; the engine takes the first.
pub(super) fn option_name(options: &str) -> Option<&str> {
    let (_, tail) = options.split_once("?Name=")?;
    let name = tail.split('?').next().unwrap_or(tail);
    (!name.is_empty()).then_some(name)
}

/// A unique net id without the platform in front of it.
pub(super) fn account(id: &str) -> Option<Arc<str>> {
    let id = id.trim();
    let bare = match id.split_once(':') {
        Some((platform, rest)) if is_word(platform) => rest,
        _ => id,
    };
    let bare = bare.trim_start_matches('|');
    if bare.is_empty() || bare.eq_ignore_ascii_case("INVALID") {
        return None;
    }
    // Steam ids are printed as the engine's own hexadecimal where the platform's plugin is not asked.
    if let Some((hex, _)) = bare
        .strip_prefix("UNKNOWN [0x")
        .and_then(|rest| rest.split_once(']'))
        && let Ok(steam) = u64::from_str_radix(hex, 16)
    {
        return label(&steam.to_string());
    }
    label(bare)
}

/// Are two spellings the same name, the engine's cut allowed for?
pub(super) fn same_name(one: &str, other: &str) -> bool {
    if one == other {
        return true;
    }
    let (long, short) = if one.len() > other.len() {
        (one, other)
    } else {
        (other, one)
    };
    long.starts_with(short) && short.encode_utf16().count() == NAME_LIMIT
}
