//! A Luanti server and its real clients, in a namespace.

use std::{fs, net::SocketAddr, path::Path, time::Duration};

use anyhow::Result;

use crate::{
    netns::Netns,
    third_party::{Program, says},
};

/// Where the server listens, on 127.0.0.1 of the namespace.
pub const PORT: u16 = 30_000;

const SERVER: &str = "\
port = 30000
bind_address = 127.0.0.1
server_announce = false
default_game = minetest_game
disallow_empty_password = false
creative_mode = true
ipv6_server = false
";

/// `random_input` walks, digs and places.
const CLIENT: &str = "\
video_driver = null
enable_sound = false
fps_max = 10
viewing_range = 20
random_input = true
";

/// A server that listens.
///
/// # Errors
/// When it does not start.
pub fn server(netns: &Netns, home: &Path) -> Result<Program> {
    fs::write(home.join("minetest.conf"), SERVER)?;
    let words = "/usr/games/minetestserver --config minetest.conf --world world --gameid minetest_game --logfile debug.txt";
    let words: Vec<&str> = words.split(' ').collect();
    let program = Program::start(netns, home, &words, &home.join("out"))?;
    says(&home.join("debug.txt"), "listening on", Duration::from_secs(30))?;
    Ok(program)
}

/// A client of the server, or of a relay.
///
/// # Errors
/// When it does not start.
pub fn client(netns: &Netns, home: &Path, name: &str, to: SocketAddr) -> Result<Program> {
    let home = home.join(name);
    fs::create_dir_all(&home)?;
    fs::write(home.join("client.conf"), CLIENT)?;
    let (host, port) = (to.ip(), to.port());
    let words = format!(
        "/usr/games/minetest --config client.conf --go --address {host} --port {port} --name {name} --password pw --logfile debug.txt"
    );
    let words: Vec<&str> = words.split(' ').collect();
    Program::start(netns, &home, &words, &home.join("out"))
}
