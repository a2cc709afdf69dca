//! Keys, pseudonyms, prefixes.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use proptest::prelude::*;

use super::{super::*, mode, set_mode, write_private};
use crate::games::PlayerRef;

fn counting_key() -> PseudonymKey {
    PseudonymKey::from_bytes(&std::array::from_fn(|index| index as u8))
}

#[test]
fn pseudonyms_are_what_another_implementation_computes() {
    // Python's hmac over the same bytes.
    let key = counting_key();
    let address = RawIdentity::Address("192.0.2.7".parse().unwrap());
    for (identity, expected) in [
        (
            RawIdentity::PlatformId("76561197960287930"),
            "p-gxmd86k7awafhtwmjaec",
        ),
        (RawIdentity::Name("Ann"), "p-yhwaf96dbfmwqyr6s62c"),
        (address, "p-byvr171qztnxq6exdk3h"),
        (
            RawIdentity::Address("::ffff:192.0.2.7".parse().unwrap()),
            "p-byvr171qztnxq6exdk3h",
        ),
    ] {
        assert_eq!(key.pseudonym(&identity).to_string(), expected);
    }
}

#[test]
fn a_hundred_thousand_players_have_as_many_pseudonyms() {
    let key = counting_key();
    let mut seen = HashSet::new();
    for index in 0..50_000_u32 {
        let text = format!("player {index}");
        assert!(seen.insert(key.pseudonym(&RawIdentity::Name(&text))));
        assert!(
            seen.insert(key.pseudonym(&RawIdentity::PlatformId(&text))),
            "kinds do not mix"
        );
    }
    assert_eq!(seen.len(), 100_000);
    // The first bits are as different as the last: half of them set on average.
    let texts: Vec<String> = seen.iter().map(ToString::to_string).collect();
    for position in 2..22 {
        let kinds: HashSet<u8> = texts.iter().map(|text| text.as_bytes()[position]).collect();
        assert_eq!(kinds.len(), 32, "position {position}");
    }
}

#[test]
fn the_strongest_identity_counts() {
    let player = PlayerRef::named("Ann").with_address("::ffff:192.0.2.7".parse().unwrap(), Some(1));
    assert_eq!(RawIdentity::of(&player), Some(RawIdentity::Name("Ann")));
    let player = PlayerRef {
        platform_id: Some("7".into()),
        ..player
    };
    assert_eq!(RawIdentity::of(&player), Some(RawIdentity::PlatformId("7")));
    let player = PlayerRef::default().with_address("::ffff:192.0.2.7".parse().unwrap(), None);
    assert_eq!(
        RawIdentity::of(&player),
        Some(RawIdentity::Address("192.0.2.7".parse().unwrap()))
    );
    assert_eq!(RawIdentity::of(&PlayerRef::in_slot(4)), None);
}

#[test]
fn nothing_secret_shows_in_debug() {
    let address = RawIdentity::Address("192.0.2.7".parse().unwrap());
    let shown = format!(
        "{:?} {:?} {:?} {:?} {:?}",
        counting_key(),
        RawIdentity::Name("Ann"),
        RawIdentity::PlatformId("7656"),
        address,
        Selector::new("Ann"),
    );
    assert!(
        !shown.contains("Ann") && !shown.contains("7656") && !shown.contains("192"),
        "{shown}"
    );
}

#[test]
fn a_key_is_made_once_and_private() {
    let state = tempfile::tempdir().unwrap();
    let directory = state.path().join("a/gsmon");
    assert!(PseudonymKey::load(&directory).unwrap().is_none());
    let name = RawIdentity::Name("Ann");
    // Many at once: all get the same one.
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let directory = directory.clone();
            std::thread::spawn(move || PseudonymKey::load_or_create(&directory).unwrap().pseudonym(&name))
        })
        .collect();
    let made: HashSet<Pseudonym> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert_eq!(made.len(), 1);
    let again = PseudonymKey::load(&directory).unwrap().unwrap();
    assert!(made.contains(&again.pseudonym(&name)));
    let file = directory.join("privacy.key");
    assert_eq!((mode(&directory), mode(&file)), (0o700, 0o600));
    assert_eq!(std::fs::read(&file).unwrap().len(), 32);
    let elsewhere = PseudonymKey::load_or_create(state.path()).unwrap();
    assert!(
        !made.contains(&elsewhere.pseudonym(&name)),
        "each host has its own"
    );
}

#[test]
fn a_key_that_cannot_be_trusted_is_refused_and_stays() {
    let state = tempfile::tempdir().unwrap();
    let directory = state.path();
    PseudonymKey::load_or_create(directory).unwrap();
    let file = directory.join("privacy.key");
    let refused = || {
        let before = std::fs::read(&file).ok();
        let message = PseudonymKey::load_or_create(directory).unwrap_err().to_string();
        assert_eq!(std::fs::read(&file).ok(), before);
        message
    };
    for open in [0o640, 0o604, 0o620, 0o601] {
        set_mode(&file, open);
        let message = refused();
        assert!(
            message.contains(&format!("{open:04o}")) && message.contains("chmod 0600"),
            "{message}"
        );
    }
    for bytes in [0, 1, 31, 33, 4_096] {
        write_private(&file, &vec![7; bytes]);
        assert!(refused().contains(&format!("({bytes} bytes instead of 32)")));
    }
    write_private(&file, &[7; 5_000]);
    assert!(refused().contains("larger than"));
    // A link could lead anywhere.
    let other = directory.join("other");
    write_private(&other, &[7; 32]);
    std::fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink(&other, &file).unwrap();
    assert!(refused().contains("cannot read"));
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    assert!(refused().contains("no regular file"));
}

#[test]
fn prefixes_are_networks() {
    for (address, prefix) in [
        ("192.0.2.7", "192.0.2.0/24"),
        ("255.255.255.255", "255.255.255.0/24"),
        ("::ffff:192.0.2.7", "192.0.2.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1::/48"),
        ("::1", "::/48"),
        // 192.0.2.7 as 6to4: its last byte is not in the prefix either.
        ("2002:c000:207:1::1", "2002:c000:200::/40"),
    ] {
        let made = AddressPrefix::from(address.parse::<IpAddr>().unwrap());
        assert_eq!(made.to_string(), prefix);
        assert_eq!(serde_json::to_string(&made).unwrap(), format!("\"{prefix}\""));
    }
}

proptest! {
    #[test]
    fn a_prefix_says_nothing_of_the_rest(address in any::<IpAddr>(), low in any::<u128>()) {
        let prefix = AddressPrefix::from(address);
        // Any other host part gives the same prefix, and the network is its own prefix.
        let other = match address.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & !0xff | low as u32 & 0xff)),
            IpAddr::V6(address) => {
                let host = u128::MAX >> prefix.bits();
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !host | low & host))
            }
        };
        // Unless it is now one of IPv4, which is another family.
        if other.to_canonical().is_ipv4() == address.to_canonical().is_ipv4() {
            prop_assert_eq!(AddressPrefix::from(other), prefix);
        }
        let expected = match address.to_canonical() {
            IpAddr::V4(_) => 24,
            IpAddr::V6(address) if address.segments()[0] == 0x2002 => 40,
            IpAddr::V6(_) => 48,
        };
        prop_assert_eq!(prefix.bits(), expected);
        if let IpAddr::V4(address) = address {
            prop_assert_eq!(AddressPrefix::from(IpAddr::V6(address.to_ipv6_mapped())), prefix);
        }
    }

    #[test]
    fn other_networks_have_other_prefixes(one in any::<u32>(), two in any::<u32>()) {
        let prefix = |bits| AddressPrefix::from(IpAddr::V4(Ipv4Addr::from_bits(bits)));
        prop_assert_eq!(prefix(one) == prefix(two), one >> 8 == two >> 8);
    }

    #[test]
    fn pseudonyms_are_stable_under_a_key_and_different_under_another(
        one in any::<[u8; 32]>(), two in any::<[u8; 32]>(), name in ".{0,40}", other in ".{0,40}",
    ) {
        let make = |key: &[u8; 32], name: &str| PseudonymKey::from_bytes(key).pseudonym(&RawIdentity::Name(name));
        prop_assert_eq!(make(&one, &name), make(&one, &name));
        prop_assert_eq!(make(&one, &name) == make(&two, &name), one == two);
        prop_assert_eq!(make(&one, &name) == make(&one, &other), name == other);
        let text = make(&one, &name).to_string();
        prop_assert_eq!(text.len(), 22);
        prop_assert_eq!(text.parse::<Pseudonym>(), Ok(make(&one, &name)));
        let json = serde_json::to_string(&make(&one, &name)).unwrap();
        prop_assert_eq!(serde_json::from_str::<Pseudonym>(&json).unwrap(), make(&one, &name));
    }

    #[test]
    fn text_is_a_pseudonym_or_not(text in "(p-)?[0-9a-zA-Z\\PC]{0,24}") {
        if let Ok(pseudonym) = text.parse::<Pseudonym>() {
            prop_assert_eq!(pseudonym.to_string(), text);
        }
    }
}

#[test]
fn a_shared_key_is_read_and_never_made() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fleet.key");
    let message = PseudonymKey::read_shared(&path).unwrap_err().to_string();
    assert!(
        message.contains("head -c 32") && message.contains("fleet.key"),
        "{message}"
    );
    assert!(!path.exists());
    let bytes: [u8; 32] = std::array::from_fn(|index| index as u8);
    write_private(&path, &bytes);
    let key = PseudonymKey::read_shared(&path).unwrap();
    let name = RawIdentity::Name("Ann");
    assert_eq!(key.pseudonym(&name), counting_key().pseudonym(&name));
    assert_eq!(key.fingerprint(), counting_key().fingerprint());
    assert_ne!(
        key.fingerprint(),
        PseudonymKey::from_bytes(&[7; 32]).fingerprint()
    );
    set_mode(&path, 0o644);
    let message = PseudonymKey::read_shared(&path).unwrap_err().to_string();
    assert!(message.contains("chmod 0600"), "{message}");
    set_mode(&path, 0o600);
    write_private(&path, &bytes[1..]);
    let message = PseudonymKey::read_shared(&path).unwrap_err().to_string();
    assert!(message.contains("31 bytes"), "{message}");
}
