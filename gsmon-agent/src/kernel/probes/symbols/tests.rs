use proptest::prelude::*;

use super::*;

fn search<'a>(wanted: &'a str, names: &[(&str, u64)]) -> Search<'a> {
    let mut search = Search::new(wanted);
    for (name, address) in names {
        search.consider(name.as_bytes(), *address);
    }
    search
}

fn found(wanted: &str, names: &[(&str, u64)]) -> Result<u64, ProbeError> {
    search(wanted, names).found("/srv/server", true)
}

const NAMES: [(&str, u64); 7] = [
    ("main", 0x10),
    ("_ZN4Game6RewindEP6Playeri", 0x20),
    ("_ZN4Game6RewindEP6Playeri.cold", 0x28),
    ("_ZN4Game12RewindWeaponEv", 0x30),
    ("_ZN4game3lag6rewind17h0123456789abcdefE", 0x40),
    ("_ZN5other6RewindEv", 0x50),
    ("_ZN4Game4StepIiEEvT_", 0x60),
];

#[test]
fn a_name_is_taken_as_it_is_mangled_or_as_it_is_written() {
    for (wanted, address) in [
        ("main", 0x10),
        ("_ZN4Game6RewindEP6Playeri", 0x20),
        ("Game::Rewind", 0x20),
        ("Game::Rewind(Player*, int)", 0x20),
        ("RewindWeapon", 0x30),
        ("lag::rewind", 0x40),
        ("game::lag::rewind", 0x40),
        ("Game::Step", 0x60),
        ("Game::Step<int>", 0x60),
    ] {
        assert_eq!(found(wanted, &NAMES).unwrap(), address, "{wanted}");
    }
}

#[test]
fn several_functions_and_none_are_named_with_what_to_do() {
    let message = found("Rewind", &NAMES).unwrap_err().to_string();
    assert!(message.contains("means 2 functions of /srv/server"), "{message}");
    assert!(message.contains("_ZN5other6RewindEv"), "{message}");
    let message = found("Gama::Rewind", &NAMES).unwrap_err().to_string();
    assert!(message.contains("has no function `Gama::Rewind`"), "{message}");
    assert!(message.contains("Game::Rewind(Player*, int)"), "{message}");
    let message = search("Rewind", &[]).found("/srv/server", false).unwrap_err();
    assert!(message.to_string().contains("is stripped"), "{message}");
    assert!(message.to_string().contains("give offset"), "{message}");
}

#[test]
fn a_function_of_this_test_is_found_where_it_lies() {
    let path = std::env::current_exe().unwrap();
    let open = || File::open(&path).unwrap();
    let place = ProbePlace::Symbol("demo::lag::compensate_lag".into());
    let offset = resolve(open(), "test", &place, ProbeMeasure::Time).unwrap();
    // Where the loader has put it says the same.
    let address = crate::demo::lag::compensate_lag as *const () as u64;
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let expected = maps.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let start = u64::from_str_radix(start, 16).ok()?;
        let end = u64::from_str_radix(end, 16).ok()?;
        let in_file = u64::from_str_radix(fields.nth(1)?, 16).ok()?;
        (start..end).contains(&address).then(|| address - start + in_file)
    });
    assert_eq!(Some(offset), expected);
}

#[test]
fn an_address_outside_the_code_is_refused_with_where_the_code_is() {
    let file = File::open(std::env::current_exe().unwrap()).unwrap();
    let message = resolve(file, "test", &ProbePlace::Address(1), ProbeMeasure::Time).unwrap_err();
    assert!(
        message.to_string().contains("0x1 is no code of test"),
        "{message}"
    );
    assert!(message.to_string().contains("between 0x"), "{message}");
}

#[test]
fn what_is_no_elf_file_is_said_to_be_none() {
    let place = ProbePlace::Symbol("main".into());
    let message = resolve(
        File::open("/proc/self/cmdline").unwrap(),
        "x",
        &place,
        ProbeMeasure::Time,
    );
    assert!(message.unwrap_err().to_string().contains("no ELF file"));
    let message = resolve(File::open("/dev/zero").unwrap(), "x", &place, ProbeMeasure::Time);
    assert!(message.unwrap_err().to_string().contains("no regular file"));
}

/// The smallest file with a symbol: one segment of code, one symbol table.
fn small_elf() -> Vec<u8> {
    use object::elf::{FileHeader64, ProgramHeader64, SectionHeader64, Sym64};
    let (header, segment, section, symbol) = (
        size_of::<FileHeader64<Endianness>>(),
        size_of::<ProgramHeader64<Endianness>>(),
        size_of::<SectionHeader64<Endianness>>(),
        size_of::<Sym64<Endianness>>(),
    );
    let names = b"\0tick\0\0\0".to_vec();
    let segment_at = header;
    let symbols_at = segment_at + segment;
    let names_at = symbols_at + 2 * symbol;
    let sections_at = names_at + names.len();
    let mut file = Vec::new();
    let half = |file: &mut Vec<u8>, value: u16| file.extend(value.to_le_bytes());
    let word = |file: &mut Vec<u8>, value: u32| file.extend(value.to_le_bytes());
    let long = |file: &mut Vec<u8>, value: usize| file.extend((value as u64).to_le_bytes());
    file.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    half(&mut file, 3);
    half(&mut file, 62);
    word(&mut file, 1);
    long(&mut file, 0);
    long(&mut file, segment_at);
    long(&mut file, sections_at);
    word(&mut file, 0);
    for value in [header, segment, 1, section, 3, 2] {
        half(&mut file, value as u16);
    }
    word(&mut file, PT_LOAD);
    word(&mut file, PF_X);
    for value in [0x200, 0x1200, 0x1200, 0x100, 0x100, 0x1000] {
        long(&mut file, value);
    }
    file.extend(vec![0; symbol]);
    word(&mut file, 1);
    file.extend([STT_FUNC, 0]);
    half(&mut file, 1);
    long(&mut file, 0x1240);
    long(&mut file, 0x10);
    file.extend(&names);
    file.extend(vec![0; section]);
    for (kind, at, size, link, entry) in [
        (SHT_SYMTAB, symbols_at, 2 * symbol, 2, symbol),
        (elf::SHT_STRTAB, names_at, names.len(), 0, 0),
    ] {
        word(&mut file, 0);
        word(&mut file, kind);
        for value in [0, 0, at, size] {
            long(&mut file, value);
        }
        word(&mut file, link);
        word(&mut file, 0);
        long(&mut file, 8);
        long(&mut file, entry);
    }
    file
}

#[test]
fn an_address_in_memory_becomes_a_place_in_the_file() {
    let file = small_elf();
    let place = ProbePlace::Symbol("tick".into());
    assert_eq!(
        resolve_in(&file[..], "x", &place, ProbeMeasure::Time).unwrap(),
        0x240
    );
    let place = ProbePlace::Address(0x1280);
    assert_eq!(
        resolve_in(&file[..], "x", &place, ProbeMeasure::Time).unwrap(),
        0x280
    );
    let place = ProbePlace::Address(0x1300);
    assert!(resolve_in(&file[..], "x", &place, ProbeMeasure::Time).is_err());
}

proptest! {
    #[test]
    fn a_damaged_file_is_no_panic(
        changes in prop::collection::vec((0usize..600, any::<u8>()), 0..12),
        length in 0usize..600,
        name in "[a-z:<>(]{1,8}",
    ) {
        let mut file = small_elf();
        for (place, byte) in changes {
            let place = place % file.len();
            file[place] = byte;
        }
        file.truncate(length.max(5));
        let _ = resolve_in(&file[..], "x", &ProbePlace::Symbol(name), ProbeMeasure::Time);
        let _ = resolve_in(&file[..], "x", &ProbePlace::Address(0x1240), ProbeMeasure::Calls);
    }

    #[test]
    fn any_name_is_no_panic(wanted in "\\PC{1,40}", name in "(_Z|_R)?[A-Za-z0-9_<>():. ]{0,60}") {
        let _ = search(&wanted, &[(name.as_str(), 1)]).found("x", true);
    }
}
