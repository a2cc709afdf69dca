//! Joins and the connections that they belong to.

use super::*;

#[test]
fn one_player_over_all_his_lines() {
    let log = [
        net(
            22,
            680,
            "NotifyAcceptingConnection accepted from: 203.0.113.133:49090",
        ),
        net(
            22,
            681,
            "NotifyAcceptingConnection accepted from: 203.0.113.133:49090",
        ),
        added(22, 681, "203.0.113.133:49090"),
        net(
            23,
            686,
            "Login request: ?Name=OldPlayer??PlayerId=7 userId: NULL:RYZEN platform: NULL",
        ),
        net(
            24,
            710,
            "Join request: /Game/Maps/Level01?Name=OldPlayer?SplitscreenCount=1",
        ),
        net(24, 710, "Join succeeded: OldPlayer"),
        net(
            40,
            443,
            "UChannel::Close: Sending CloseBunch. ChIndex == 0. Name: [UChannel] ChIndex: 0, Closing: 0 [UNetConnection] RemoteAddr: 203.0.113.133:49090, Name: IpConnection_1, Driver: GameNetDriver IpNetDriver_0, IsServer: YES, PC: PC_C_2, Owner: PC_C_2, UniqueId: NULL:RYZEN",
        ),
        net(
            40,
            443,
            "UNetConnection::Close: [UNetConnection] RemoteAddr: 203.0.113.133:49090, Name: IpConnection_1, Driver: GameNetDriver IpNetDriver_0, IsServer: YES, PC: PC_C_2, Owner: PC_C_2, UniqueId: NULL:RYZEN, Channels: 8, Time: 2026.05.22-20.35.40",
        ),
        net(
            40,
            443,
            "UNetDriver::RemoveClientConnection - Removed address 203.0.113.133:49090 from MappedClientConnections for: [UNetConnection] RemoteAddr: 203.0.113.133:49090, Name: IpConnection_1, Driver: GameNetDriver IpNetDriver_0, IsServer: YES, PC: PC_C_2, Owner: PC_C_2, UniqueId: NULL:RYZEN",
        ),
    ];
    let whole = PlayerRef {
        platform_id: Some("RYZEN".into()),
        name: Some("OldPlayer".into()),
        ..at("203.0.113.133", 49090)
    };
    assert_eq!(
        all(&log),
        [
            Fact::PlayerConnecting(at("203.0.113.133", 49090)),
            Fact::PlayerKnown(whole.clone()),
            Fact::PlayerJoined(whole.clone()),
            left(whole),
        ]
    );
}

#[test]
fn several_at_once_are_paired_or_left_without_address() {
    let log = [
        added(1, 1, "198.51.100.1:1001"),
        added(1, 1, "198.51.100.2:1002"),
        net(2, 9, "Login request: ?Name=Anna userId: EOS:0002aa platform: EOS"),
        net(2, 9, "Login request: ?Name=Ben userId: EOS:0002bb platform: EOS"),
        net(3, 20, "Join succeeded: Ben"),
        net(3, 21, "Join succeeded: Anna"),
        // Both connections are taken by now, so the next one is unambiguous.
        added(4, 40, "198.51.100.3:1003"),
        net(
            5,
            50,
            "Login request: ?Name=Cleo userId: EOS:0002cc platform: EOS",
        ),
        net(6, 60, "Join succeeded: Cleo"),
        net(
            7,
            70,
            "UNetConnection::Close: [UNetConnection] RemoteAddr: 198.51.100.2:1002, PC: BP_PlayerController_C_2",
        ),
    ];
    let person = |name: &str, id: &str| PlayerRef {
        platform_id: Some(id.into()),
        ..PlayerRef::named(name)
    };
    let cleo = PlayerRef {
        platform_id: Some("0002cc".into()),
        name: Some("Cleo".into()),
        ..at("198.51.100.3", 1003)
    };
    assert_eq!(
        all(&log),
        [
            Fact::PlayerConnecting(at("198.51.100.1", 1001)),
            Fact::PlayerConnecting(at("198.51.100.2", 1002)),
            Fact::PlayerKnown(person("Anna", "0002aa")),
            Fact::PlayerKnown(person("Ben", "0002bb")),
            Fact::PlayerJoined(person("Ben", "0002bb")),
            Fact::PlayerJoined(person("Anna", "0002aa")),
            Fact::PlayerConnecting(at("198.51.100.3", 1003)),
            Fact::PlayerKnown(cleo.clone()),
            Fact::PlayerJoined(cleo),
            left(at("198.51.100.2", 1002)),
        ]
    );
}

#[test]
fn squad_pairs_by_frame_and_states_its_tick() {
    let controller = "BP_PlayerController_C /Game/Maps/Narva/Narva_AAS_v1.Narva_AAS_v1:PersistentLevel.BP_PlayerController_C_21";
    let eos = "0002bb228e4d4363ada0c139b11a9ece";
    let log = [
        added(1, 1, "203.0.113.4:1001"),
        added(1, 1, "203.0.113.5:1002"),
        format!(
            "[2026.05.22-20.35.09:000][100]LogSquad: PostLogin: NewPlayer: {controller} (IP: 203.0.113.5 | Online IDs: EOS: {eos} steam: 76561198000000000)"
        ),
        net(9, 100, "Join succeeded: [TAG] Ben"),
        "[2026.05.22-20.35.10:000][101]LogSquad: USQGameState: Server Tick Rate: 49.9".to_owned(),
        net(
            19,
            200,
            &format!(
                "UNetDriver::RemoveClientConnection - Removed address 203.0.113.5:1002 from MappedClientConnections for: [UNetConnection] RemoteAddr: 203.0.113.5:1002, Name: RedpointEOSIpNetConnection_2147249600, Driver: Name:GameNetDriver Def:GameNetDriver RedpointEOSNetDriver_2147482319, IsServer: YES, PC: BP_PlayerController_C_21, Owner: BP_PlayerController_C_21, UniqueId: RedpointEOS:{eos}"
            ),
        ),
    ];
    let ben = PlayerRef {
        platform_id: Some(eos.into()),
        ..at("203.0.113.5", 1002)
    };
    let named = PlayerRef {
        name: Some("[TAG] Ben".into()),
        ..ben.clone()
    };
    let facts = all(&log);
    assert_eq!(
        facts[2..],
        [
            Fact::PlayerKnown(ben),
            Fact::PlayerJoined(named.clone()),
            Fact::Tick {
                rate_hz: Some(49.9),
                time_ns: None
            },
            left(named),
        ]
    );
}

#[test]
fn who_never_joined_does_not_leave() {
    let close = "UNetConnection::Close: [UNetConnection] RemoteAddr: 192.0.2.9:5, Name: IpConnection_0, Driver: GameNetDriver IpNetDriver_0, IsServer: YES, PC: NULL, Owner: NULL, UniqueId: INVALID";
    assert_eq!(all(&[added(1, 1, "192.0.2.9:5"), net(2, 2, close)]).len(), 1);
    assert_eq!(all(&[net(2, 2, close)]), []);
    assert_eq!(
        all(&[net(
            2,
            2,
            "UNetDriver::RemoveClientConnection - Removed address 192.0.2.9:5 from MappedClientConnections for: x"
        )]),
        []
    );
    // A controller proves a join from before the log was read; said once.
    let known = close.replace("PC: NULL", "PC: BP_PC_C_7");
    assert_eq!(
        all(&[net(2, 2, &known), net(2, 2, &known)]),
        [left(at("192.0.2.9", 5))]
    );
    // Queue beacons have connections that are no players'; a client's own line is not the server's.
    let beacon = known.replace(
        "GameNetDriver IpNetDriver_0",
        "BeaconNetDriver Def:BeaconNetDriver",
    );
    assert_eq!(all(&[net(2, 2, &beacon)]), []);
    assert_eq!(
        all(&[net(2, 2, &known.replace("IsServer: YES", "IsServer: NO"))]),
        []
    );
    assert_eq!(
        all(&[net(
            1,
            1,
            &format!("{ADDED}192.0.2.9:5, Name: X, Driver: BeaconNetDriver IpNetDriver_1, IsServer: YES")
        )]),
        []
    );
}

#[test]
fn timeouts_and_steam_sockets() {
    let log = [
        added(1, 1, "76561198000000001:7777"),
        net(
            2,
            2,
            "Login request: ?SteamAuthTicket=14?Name=Gen userId: Steam:UNKNOWN [0x110000100000001] platform: Steam",
        ),
        net(3, 3, "Join succeeded: Gen"),
        net(
            9,
            9,
            "Warning: UNetConnection::Tick: Connection TIMED OUT. Closing connection.. Elapsed: 60.00, Threshold: 60.00, [UNetConnection] RemoteAddr: 76561198000000001:7777, Name: SteamNetConnection_1, Driver: GameNetDriver SteamNetDriver_0, IsServer: YES, PC: X, Owner: X",
        ),
        net(
            9,
            9,
            "UNetConnection::Close: [UNetConnection] RemoteAddr: 76561198000000001:7777, Name: SteamNetConnection_1, Driver: GameNetDriver SteamNetDriver_0, IsServer: YES, PC: X, Owner: X",
        ),
    ];
    let steam = |id: &str| PlayerRef {
        platform_id: Some(id.into()),
        ..PlayerRef::named("Gen")
    };
    assert_eq!(
        all(&log),
        [
            Fact::PlayerConnecting(PlayerRef::identified("76561198000000001")),
            Fact::PlayerKnown(steam("76561197960265729")),
            Fact::PlayerJoined(steam("76561197960265729")),
            Fact::PlayerLeft {
                player: steam("76561197960265729"),
                reason: Some("timed out".into())
            },
        ]
    );
}

#[test]
fn unanswered_connections_are_forgotten() {
    let mut log = Log::default();
    let flood: Vec<String> = (0..5000u32)
        .map(|n| {
            net(
                1,
                1,
                &format!(
                    "NotifyAcceptingConnection accepted from: 10.0.{}.{}:99",
                    n / 250,
                    n % 250
                ),
            )
        })
        .collect();
    let lines: Vec<&str> = flood.iter().map(String::as_str).collect();
    read(&mut log, &lines);
    // Forged requests do not stand in the way of a connection that the driver has.
    let facts = read(
        &mut log,
        &[
            &added(2, 2, "192.0.2.1:7"),
            &net(3, 3, "Login request: ?Name=Real userId: EOS:aa platform: EOS"),
            &net(4, 4, "Join succeeded: Real"),
        ],
    );
    let Some(Fact::PlayerJoined(real)) = facts.last() else {
        panic!("{facts:?}");
    };
    assert_eq!(
        (real.address, real.port),
        (Some("192.0.2.1".parse().unwrap()), Some(7))
    );
}

#[test]
fn long_names_are_paired_through_the_engines_cut() {
    let log = [
        added(1, 1, "192.0.2.1:7"),
        added(1, 1, "192.0.2.2:7"),
        net(
            2,
            2,
            "Login request: ?Name=ANameOfMoreThanTwentyLetters userId: EOS:aa platform: EOS",
        ),
        net(2, 2, "Login request: ?Name=Other userId: EOS:bb platform: EOS"),
        net(4, 4, "Join succeeded: ANameOfMoreThanTwent"),
    ];
    let facts = all(&log);
    assert_eq!(
        facts.last(),
        Some(&Fact::PlayerJoined(PlayerRef {
            platform_id: Some("aa".into()),
            ..PlayerRef::named("ANameOfMoreThanTwent")
        }))
    );
}
