//! Processes as they look on hosts, servers and others, and what each must be taken for. One line each.

use crate::config::Protocol;

/// `(executable, arguments separated by |, ports, expected title)`; the first argument is the program's own name.
pub(super) type Row = (
    &'static str,
    &'static str,
    &'static [(Protocol, u16)],
    Option<&'static str>,
);

pub(super) const T: Protocol = Protocol::Tcp;
pub(super) const U: Protocol = Protocol::Udp;

#[rustfmt::skip]
pub(super) const SERVERS: &[Row] = &[
    // Minecraft Java
    ("/usr/lib/jvm/java-21-openjdk-amd64/bin/java", "java|-Xms10G|-Xmx10G|-XX:+UseG1GC|-jar|paper-1.20.4-496.jar|--nogui", &[(T, 25565)], Some("Paper")),
    ("/opt/java/openjdk/bin/java", "java|-jar|/srv/mc/purpur-1.20.1-2062.jar|nogui", &[(T, 25566)], Some("Purpur")),
    ("/usr/bin/java", "java|-Xmx2G|-jar|spigot-1.8.8.jar", &[(T, 25565), (T, 25575)], Some("Spigot")),
    ("/usr/bin/java", "/usr/bin/java|-Xmx2G|-jar|fabric-server-launch.jar|nogui", &[(T, 25565)], Some("Fabric")),
    ("/usr/bin/java", "java|-jar|fabric-server-mc.1.20.4-loader.0.15.6-launcher.1.0.0.jar|nogui", &[(T, 25565)], Some("Fabric")),
    ("/usr/bin/java", "java|-cp|libs/a.jar:libs/b.jar|net.fabricmc.loader.impl.launch.knot.KnotServer|nogui", &[(T, 25565)], Some("Fabric")),
    ("/usr/bin/java", "java|@user_jvm_args.txt|@libraries/net/minecraftforge/forge/1.20.1-47.2.0/unix_args.txt|nogui", &[(T, 25565)], Some("Forge")),
    ("/usr/bin/java", "java|@user_jvm_args.txt|@libraries/net/neoforged/neoforge/21.1.77/unix_args.txt|nogui", &[(T, 25565)], Some("NeoForge")),
    ("/usr/bin/java", "java|-jar|forge-1.12.2-14.23.5.2860.jar|nogui", &[(T, 25565)], Some("Forge")),
    ("/usr/bin/java", "java|-p|a.jar|--add-opens|a/b=c|cpw.mods.bootstraplauncher.BootstrapLauncher|--launchTarget|forgeserver", &[(T, 25565)], Some("Forge")),
    ("/usr/bin/java", "java|-Xmx1024M|-jar|minecraft_server.1.21.1.jar|nogui", &[(T, 25565)], Some("Minecraft")),
    ("/usr/bin/java", "java|-jar|server.jar|nogui", &[(T, 25565)], Some("Minecraft")),
    ("/usr/bin/java", "java|-Xms1G|-XX:+UseG1GC|-jar|velocity-3.3.0-SNAPSHOT-436.jar", &[(T, 25577)], Some("Velocity")),
    ("/usr/bin/java", "java|-jar|BungeeCord.jar", &[(T, 25577)], Some("BungeeCord")),
    ("/usr/bin/java", "java|-jar|waterfall-1.20-562.jar", &[(T, 25565)], Some("BungeeCord")),
    // Bedrock
    ("/srv/bedrock/bedrock_server", "./bedrock_server", &[(U, 19132), (U, 19133)], Some("Minecraft Bedrock")),
    ("/data/bedrock_server-1.21.2.02", "./bedrock_server-1.21.2.02", &[(U, 19132)], Some("Minecraft Bedrock")),
    ("/srv/pm/bin/php7/bin/php", "./bin/php7/bin/php|./PocketMine-MP.phar|--no-wizard", &[(U, 19132)], Some("PocketMine")),
    ("/usr/bin/java", "java|-jar|nukkit-1.0-SNAPSHOT.jar", &[(U, 19132)], Some("Nukkit")),
    // Source, GoldSrc
    ("/home/steam/tf2/srcds_linux", "/home/steam/tf2/srcds_linux|-game|tf|-console|+map|cp_granary|+maxplayers|24|+hostname|Granary 24/7|-port|27016", &[(U, 27016), (T, 27016), (U, 27006)], Some("Team Fortress 2")),
    ("/home/steam/gmod/srcds_linux", "./srcds_linux|-game|garrysmod|+gamemode|darkrp|+map|rp_downtown|+maxplayers|64", &[(U, 27015), (T, 27015)], Some("Garry's Mod")),
    ("/home/steam/gmod/bin/linux64/srcds", "bin/linux64/srcds|-game|garrysmod|+map|gm_construct", &[(U, 27015)], Some("Garry's Mod")),
    ("/home/steam/css/srcds_linux", "./srcds_linux|-game|cstrike|+map|de_dust2", &[(U, 27015)], Some("Counter-Strike Source")),
    ("/home/steam/csgo/srcds_linux", "./srcds_linux|-game|csgo|-usercon|+game_type|0", &[(U, 27015)], Some("Counter-Strike GO")),
    ("/home/steam/l4d2/srcds_linux", "./srcds_linux|-game|left4dead2|+map|c1m1_hotel", &[(U, 27015)], Some("Left 4 Dead 2")),
    ("/home/steam/ins/srcds_linux64", "./srcds_linux64|-game|insurgency|+map|market_coop", &[(U, 27015)], Some("Source")),
    ("/home/steam/hlds/hlds_linux", "./hlds_linux|-game|cstrike|+map|de_dust2|+maxplayers|16", &[(U, 27015)], Some("Counter-Strike")),
    ("/home/steam/hlds/hlds_linux", "./hlds_linux|-game|valve|+map|crossfire", &[(U, 27015)], Some("GoldSrc")),
    ("/home/steam/cs2/game/bin/linuxsteamrt64/cs2", "./game/bin/linuxsteamrt64/cs2|-dedicated|-usercon|+game_type|0|+map|de_inferno|-port|27025", &[(U, 27025)], Some("Counter-Strike 2")),
    ("/lib32/ld-linux.so.2", "./ld-linux.so.2|--library-path|bin|./srcds_linux|-game|tf|+map|pl_upward", &[(U, 27015)], Some("Team Fortress 2")),
    // Quake III family
    ("/usr/lib/ioquake3/ioq3ded", "/usr/lib/ioquake3/ioq3ded|+set|com_basegame|baseoa|+set|fs_basepath|/usr/lib/openarena-server|+set|com_homepath|.openarena|+set|dedicated|1|+set|net_port|27961|+set|sv_hostname|test-oa|+map|oa_dm1", &[(U, 27961)], Some("OpenArena")),
    ("/srv/oa/oa_ded.x86_64", "./oa_ded.x86_64|+set|dedicated|2|+exec|server.cfg", &[(U, 27960)], Some("OpenArena")),
    ("/srv/q3/ioq3ded.x86_64", "./ioq3ded.x86_64|+set|dedicated|2|+map|q3dm17", &[(U, 27960)], Some("Quake III")),
    ("/srv/q3/ioquake3.x86_64", "./ioquake3.x86_64|+set|dedicated|1|+map|q3dm17", &[(U, 27960)], Some("Quake III")),
    ("/srv/urt/Quake3-UrT-Ded.x86_64", "./Quake3-UrT-Ded.x86_64|+set|fs_game|q3ut4|+set|dedicated|2|+exec|server.cfg", &[(U, 27960)], Some("Urban Terror")),
    ("/srv/et/etlded.x86_64", "./etlded.x86_64|+set|dedicated|2|+map|oasis", &[(U, 27960)], Some("Enemy Territory")),
    // Teeworlds, Luanti, Factorio
    ("/usr/games/teeworlds-server", "/usr/games/teeworlds-server|sv_port 8305|sv_name My Tees", &[(U, 8305)], Some("Teeworlds")),
    ("/srv/tw/teeworlds_srv", "./teeworlds_srv|-f|ctf.cfg", &[(U, 8303)], Some("Teeworlds")),
    ("/srv/ddnet/DDNet-Server", "./DDNet-Server", &[(U, 8303), (U, 40123)], Some("DDNet")),
    ("/usr/lib/minetest/minetestserver", "/usr/lib/minetest/minetestserver|--config|/etc/minetest/minetest.conf|--logfile|/var/log/minetest/minetest.log|--world|/srv/worlds/alps|--gameid|minetest_game", &[(U, 30000)], Some("Luanti")),
    ("/usr/bin/luanti", "luanti|--server|--world|/srv/worlds/sea|--port|30005", &[(U, 30005)], Some("Luanti")),
    ("/opt/factorio/bin/x64/factorio", "/opt/factorio/bin/x64/factorio|--start-server|/opt/factorio/saves/belt.zip|--server-settings|/opt/factorio/data/server-settings.json", &[(U, 34197)], Some("Factorio")),
    ("/opt/factorio/bin/x64/factorio", "factorio|--port|34200|--start-server-load-latest|--console-log|/factorio/console.log", &[(U, 34200)], Some("Factorio")),
    // Unreal
    ("/srv/ark/ShooterGame/Binaries/Linux/ShooterGameServer", "./ShooterGameServer|TheIsland?listen?SessionName=My Ark?Port=7779?QueryPort=27016|-server|-log", &[(U, 7779), (U, 7780), (U, 27016)], Some("ARK")),
    ("/opt/wine/bin/wine64-preloader", "Z:\\srv\\asa\\ShooterGame\\Binaries\\Win64\\ArkAscendedServer.exe|TheIsland_WP?listen?SessionName=Asa|-WinLiveMaxPlayers=20|-port=7777", &[(U, 7777)], Some("ARK Ascended")),
    ("/srv/pal/Pal/Binaries/Linux/PalServer-Linux-Shipping", "/srv/pal/Pal/Binaries/Linux/PalServer-Linux-Shipping|Pal|-port=8212|-players=32|-servername=Friends", &[(U, 8212), (T, 25575)], Some("Palworld")),
    ("/srv/sf/Engine/Binaries/Linux/FactoryServer-Linux-Shipping", "FactoryServer-Linux-Shipping|FactoryGame|-Port=7777", &[(U, 7777), (T, 7777)], Some("Satisfactory")),
    ("/srv/x/Insurgency/Binaries/Linux/InsurgencyServer-Linux-Shipping", "./InsurgencyServer-Linux-Shipping|Farmhouse?Scenario=Scenario_Farmhouse_Checkpoint_Security|-Port=27102", &[(U, 27102), (U, 27131)], Some("Unreal")),
    ("/srv/arena/Arena/Binaries/Linux/ArenaServer", "./ArenaServer|Arena|/Game/Maps/Pit|-log|-port=7790", &[(U, 7790)], Some("Unreal")),
    ("/srv/squad/SquadGame/Binaries/Linux/SquadGameServer", "./SquadGameServer|SquadGame|Port=7787|QueryPort=27165", &[(U, 7787)], Some("Squad")),
    // Unity
    ("/srv/valheim/valheim_server.x86_64", "./valheim_server.x86_64|-nographics|-batchmode|-name|North Sea|-port|2456|-world|Sea|-password|x|-public|0", &[(U, 2456), (U, 2457)], Some("Valheim")),
    ("/usr/local/bin/box64", "box64|./valheim_server.x86_64|-name|Arm|-port|2466", &[(U, 2466)], Some("Valheim")),
    ("/srv/rust/RustDedicated", "./RustDedicated|-batchmode|+server.port|28025|+server.identity|main|+server.hostname|Weekly|+rcon.port|28026|-logfile|/srv/rust/out.log", &[(U, 28025), (T, 28026)], Some("Rust")),
    ("/srv/7d/7DaysToDieServer.x86_64", "./7DaysToDieServer.x86_64|-configfile=serverconfig.xml|-batchmode|-nographics|-dedicated|-logfile|out.txt", &[(U, 26900), (T, 26900)], Some("7 Days to Die")),
    ("/srv/u/Unturned_Headless.x86_64", "./Unturned_Headless.x86_64|-batchmode|-nographics|+secureserver/Main", &[(U, 27015)], Some("Unturned")),
    // gsmon's own
    ("/usr/bin/gsmon", "/usr/bin/gsmon|demo-server|--kind|sleeping|--port|40001", &[(U, 40001)], Some("gsmon demo")),
];

#[rustfmt::skip]
pub(super) const OTHERS: &[Row] = &[
    // Clients
    ("/usr/bin/java", "java|-Xmx2G|-cp|a.jar:b.jar|net.minecraft.client.main.Main|--username|Steve|--version|1.20.4", &[(U, 51234)], None),
    ("/usr/bin/java", "java|-cp|a.jar|net.fabricmc.loader.impl.launch.knot.KnotClient|--username|Steve", &[(T, 25565)], None),
    ("/usr/bin/java", "java|-p|a.jar|cpw.mods.bootstraplauncher.BootstrapLauncher|--launchTarget|forgeclient", &[], None),
    ("/usr/bin/java", "java|-jar|/usr/share/minecraft-launcher/minecraft-launcher.jar", &[], None),
    ("/usr/bin/java", "java|-cp|NewLaunch.jar|org.prismlauncher.EntryPoint", &[], None),
    ("/home/a/.steam/cs2/game/bin/linuxsteamrt64/cs2", "cs2|-novid|-fullscreen", &[(U, 27005)], None),
    ("/home/a/.steam/tf2/hl2_linux", "hl2_linux|-game|tf|-steam", &[(U, 27005)], None),
    ("/opt/factorio/bin/x64/factorio", "factorio|--mp-connect|203.0.113.5", &[(U, 34197)], None),
    ("/usr/games/minetest", "minetest|--go|--address|127.0.0.1|--port|30000", &[(U, 45000)], None),
    ("/usr/lib/ioquake3/ioquake3", "ioquake3|+connect|203.0.113.9", &[(U, 27960)], None),
    ("/home/a/valheim/valheim.x86_64", "valheim.x86_64|-console", &[(U, 2456)], None),
    ("/usr/games/teeworlds", "teeworlds", &[(U, 40000)], None),
    // Installers, launchers, wrappers
    ("/usr/bin/java", "java|-jar|forge-1.20.1-47.2.0-installer.jar|--installServer", &[], None),
    ("/usr/bin/java", "java|-jar|fabric-installer-1.0.0.jar|server", &[], None),
    ("/home/steam/steamcmd/linux32/steamcmd", "steamcmd|+login|anonymous|+app_update|740|+quit", &[(U, 27015)], None),
    ("/usr/bin/bash", "/bin/bash|./start.sh|-jar|paper.jar", &[], None),
    ("/usr/bin/bash", "/bin/bash|./srcds_run|-game|tf|+map|cp_granary", &[], None),
    ("/usr/bin/dash", "sh|/srv/pal/PalServer.sh|-port=8211", &[], None),
    ("/usr/bin/bash", "bash|-c|sleep 1; ./srcds_linux -game tf +map cp_granary -port 27015", &[(U, 27015)], None),
    ("/usr/bin/screen", "SCREEN|-dmS|mc|java|-jar|paper.jar|nogui", &[], None),
    ("/usr/bin/tmux", "tmux|new-session|-d|./valheim_server.x86_64|-port|2456", &[], None),
    ("/usr/bin/python3.11", "python3|/opt/proton/proton|run|ArkAscendedServer.exe|TheIsland_WP?listen", &[], None),
    ("/opt/wine/bin/wineserver64", "/opt/wine/bin/wineserver64", &[], None),
    ("/opt/wine/bin/wine64-preloader", "C:\\windows\\system32\\services.exe", &[], None),
    ("/usr/local/bin/mc-server-runner", "mc-server-runner|--stop-duration|60s|java|-jar|paper.jar|nogui", &[], None),
    // Tools and forwarders
    ("/usr/bin/grep", "grep|-r|minecraft|.", &[], None),
    ("/usr/bin/vim.basic", "vim|server.properties", &[], None),
    ("/usr/bin/tail", "tail|-F|/srv/mc/logs/latest.log", &[], None),
    ("/usr/bin/docker-proxy", "/usr/bin/docker-proxy|-proto|tcp|-host-ip|0.0.0.0|-host-port|25565|-container-ip|172.17.0.2|-container-port|25565", &[(T, 25565)], None),
    ("/usr/bin/nc.openbsd", "nc|-u|-l|27960", &[(U, 27960)], None),
    ("/usr/bin/socat", "socat|UDP-LISTEN:27015,fork|UDP:10.0.0.2:27015", &[(U, 27015)], None),
    ("/usr/bin/python3.11", "python3|-m|http.server|25565", &[(T, 25565)], None),
    ("/usr/sbin/nginx", "nginx: master process|/usr/sbin/nginx", &[(T, 25565)], None),
    // Other servers
    ("/usr/bin/java", "java|-Xmx1G|-cp|/opt/kafka/libs/kafka.jar|kafka.Kafka|config/server.properties", &[(T, 9092)], None),
    ("/usr/bin/java", "java|-jar|/opt/app/server.jar", &[(T, 8080)], None),
    ("/usr/bin/java", "java|-Dfile=paper.jar|-jar|jenkins.war", &[(T, 8080)], None),
    ("/usr/bin/php8.2", "php|artisan|serve", &[(T, 8000)], None),
    ("/srv/minio-server-linux-amd64", "minio-server-linux-amd64|server|/data", &[(T, 9000)], None),
    ("/opt/unreal/Engine/Binaries/Linux/UnrealTraceServer", "UnrealTraceServer|fork", &[(T, 1980)], None),
    ("/opt/unity/Editor/Unity", "Unity|-batchmode|-nographics|-projectPath|/p|-executeMethod|Build.Run|-quit", &[(U, 54997)], None),
    ("/usr/bin/gsmon", "gsmon|demo-bots|--port|40001", &[(U, 50000)], None),
    ("/usr/bin/gsmon", "gsmon|run|--config|/etc/gsmon.toml", &[(T, 9464)], None),
    ("/usr/sbin/dnsmasq", "dnsmasq", &[(U, 53), (T, 53)], None),
    ("/usr/bin/sleep", "sleep|srcds_linux", &[], None),
];
