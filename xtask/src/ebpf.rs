//! `cargo xtask ebpf`: the kernel object, reproducibly.
//!
//! The same source gives the same bytes in any folder with any CARGO_HOME: paths are remapped, debug sections are
//! stripped, BTF stays. The versions of everything that decides the bytes are recorded beside the object; where they
//! differ, a check says that it cannot check.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    root,
    toolchain::{Toolchain, Versions, home, objcopy},
};

#[derive(clap::Args)]
#[command(after_help = "Exit codes of --check: 0 same, 1 differs, 3 cannot check (other toolchain).")]
pub struct EbpfArgs {
    /// Rebuild elsewhere and compare with the committed object.
    #[arg(long)]
    check: bool,
    /// Build in two folders with two CARGO_HOMEs and compare.
    #[arg(long, conflicts_with = "check")]
    check_reproducible: bool,
}

const OBJECT: &str = "gsmon-agent/src/kernel/gsmon.bpf.o";
const RECORD: &str = "gsmon-agent/src/kernel/gsmon.bpf.toml";

/// Stands beside the object.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    /// Of the object.
    sha256: String,
    /// What built it.
    toolchain: Versions,
}

pub fn run(args: &EbpfArgs) -> Result<ExitCode> {
    let toolchain = Toolchain::find()?;
    eprintln!(
        "using {} with {}",
        toolchain.versions.rustc, toolchain.versions.bpf_linker
    );
    if args.check_reproducible {
        return check_reproducible(&toolchain);
    }
    if args.check {
        return check(&toolchain);
    }
    let bytes = build(&toolchain, &root(), None, &root().join("target/ebpf"))?;
    let record = Record {
        sha256: sha256(&bytes),
        toolchain: toolchain.versions,
    };
    fs::write(root().join(OBJECT), &bytes)?;
    fs::write(
        root().join(RECORD),
        format!("# Written by `cargo xtask ebpf`.\n{}", toml::to_string(&record)?),
    )?;
    println!("{OBJECT}: {} bytes, sha256 {}", bytes.len(), record.sha256);
    Ok(ExitCode::SUCCESS)
}

fn check(toolchain: &Toolchain) -> Result<ExitCode> {
    let committed = fs::read(root().join(OBJECT)).with_context(|| format!("{OBJECT} is missing"))?;
    let record: Record = toml::from_str(&fs::read_to_string(root().join(RECORD))?)?;
    if sha256(&committed) != record.sha256 {
        println!("differs: {OBJECT} is not the object that {RECORD} speaks of; run `cargo xtask ebpf`");
        return Ok(ExitCode::from(1));
    }
    if record.toolchain != toolchain.versions {
        println!(
            "cannot check: found {:?}, pinned {:?}",
            toolchain.versions, record.toolchain
        );
        return Ok(ExitCode::from(3));
    }
    let target = tempfile::tempdir()?;
    let built = build(toolchain, &root(), None, target.path())?;
    if built == committed {
        println!("same: sha256 {}", record.sha256);
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "differs: built {}, committed {}; run `cargo xtask ebpf` and commit",
        sha256(&built),
        record.sha256
    );
    Ok(ExitCode::from(1))
}

fn check_reproducible(toolchain: &Toolchain) -> Result<ExitCode> {
    let mut hashes = Vec::new();
    for name in ["here", "a/rather/longer/place"] {
        let place = tempfile::tempdir()?;
        let sources = place.path().join(name);
        for part in ["gsmon-ebpf", "gsmon-common"] {
            copy_sources(&root().join(part), &sources.join(part))?;
        }
        // gsmon-common inherits from the workspace above it.
        for file in ["Cargo.toml", "Cargo.lock"] {
            fs::copy(root().join(file), sources.join(file))?;
        }
        let cargo_home = place.path().join("cargo-home");
        fs::create_dir_all(&cargo_home)?;
        let original = std::env::var_os("CARGO_HOME")
            .map(PathBuf::from)
            .or_else(|| Some(home()?.join(".cargo")));
        for config in ["config.toml", "config"] {
            if let Some(original) = original
                .as_ref()
                .map(|home| home.join(config))
                .filter(|path| path.exists())
            {
                fs::copy(original, cargo_home.join(config))?;
            }
        }
        let bytes = build(
            toolchain,
            &sources,
            Some(&cargo_home),
            &place.path().join("target"),
        )?;
        println!("{} in {}", sha256(&bytes), sources.display());
        hashes.push(sha256(&bytes));
    }
    Ok(if hashes[0] == hashes[1] {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

fn copy_sources(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_name() == "target" {
            continue;
        }
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_sources(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Lays out what is built as one small workspace in `stage`. Cargo names crates by their path relative to the workspace
/// root; from gsmon-ebpf's own workspace, gsmon-common would lie outside and be named by its absolute path, and the
/// object would depend on where the checkout is.
fn stage(sources: &Path, stage: &Path) -> Result<()> {
    for part in ["gsmon-ebpf", "gsmon-common"] {
        let target = stage.join(part);
        if target.exists() {
            fs::remove_dir_all(&target)?;
        }
        copy_sources(&sources.join(part).join("src"), &target.join("src"))?;
    }
    let top: toml::Table = toml::from_str(&fs::read_to_string(sources.join("Cargo.toml"))?)?;
    let package = &top["workspace"]["package"];
    let common = format!(
        "[package]\nname = \"gsmon-common\"\nversion = {}\nedition = {}\n",
        package["version"], package["edition"]
    );
    fs::write(stage.join("gsmon-common/Cargo.toml"), common)?;
    let mut kernel: toml::Table =
        toml::from_str(&fs::read_to_string(sources.join("gsmon-ebpf/Cargo.toml"))?)?;
    kernel.remove("workspace");
    let mut root: toml::Table =
        toml::from_str("workspace = { resolver = \"3\", members = [\"gsmon-ebpf\", \"gsmon-common\"] }")?;
    if let Some(profile) = kernel.remove("profile") {
        root.insert("profile".into(), profile);
    }
    fs::write(stage.join("gsmon-ebpf/Cargo.toml"), toml::to_string(&kernel)?)?;
    fs::write(stage.join("Cargo.toml"), toml::to_string(&root)?)?;
    fs::copy(sources.join("gsmon-ebpf/Cargo.lock"), stage.join("Cargo.lock"))?;
    Ok(())
}

/// Builds the object from the checkout at `sources`.
fn build(toolchain: &Toolchain, sources: &Path, cargo_home: Option<&Path>, target: &Path) -> Result<Vec<u8>> {
    let home_in_use = match cargo_home {
        Some(path) => path.to_owned(),
        None => std::env::var_os("CARGO_HOME")
            .map(PathBuf::from)
            .or_else(|| Some(home()?.join(".cargo")))
            .context("neither CARGO_HOME nor HOME is set")?,
    };
    let staged = target.join("stage");
    stage(sources, &staged)?;
    let flags = [
        "-C debuginfo=2".to_owned(),
        "-C link-arg=--btf".to_owned(),
        remap(&toolchain.sources, "/rust"),
        remap(&home_in_use, "/cargo"),
        // The last match counts: the stage lies inside the target directory.
        remap(target, "/target"),
        remap(&staged, "/gsmon"),
    ];
    let mut command = Command::new("cargo");
    // The outer cargo sets variables that would bend this build.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let outer = [
            "CARGO",
            "RUSTUP_TOOLCHAIN",
            "RUSTC",
            "RUSTFLAGS",
            "LD_LIBRARY_PATH",
        ];
        if outer.iter().any(|prefix| text.starts_with(prefix)) && text != "CARGO_HOME" {
            command.env_remove(&name);
        }
    }
    let status = command
        .current_dir(staged.join("gsmon-ebpf"))
        .args([
            "build",
            "--release",
            "--locked",
            "-Z",
            "build-std=core",
            "--target",
            "bpfel-unknown-none",
        ])
        .arg("--target-dir")
        .arg(target)
        .env("RUSTC", &toolchain.rustc)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &toolchain.linker)
        .env("CARGO_HOME", &home_in_use)
        .env("RUSTFLAGS", flags.join(" "))
        .status()?;
    if !status.success() {
        bail!("the kernel crate does not build");
    }
    let linked = target.join("bpfel-unknown-none/release/gsmon");
    let stripped = target.join("gsmon.bpf.o");
    let status = Command::new(objcopy()?)
        .arg("--strip-debug")
        .arg(&linked)
        .arg(&stripped)
        .status()?;
    if !status.success() {
        bail!("llvm-objcopy failed");
    }
    let bytes = fs::read(&stripped)?;
    for path in [sources, &home_in_use, target, &toolchain.sources] {
        let text = path.as_os_str().as_encoded_bytes();
        if bytes.windows(text.len()).any(|window| window == text) {
            bail!(
                "the object holds the path {}: it would not be reproducible",
                path.display()
            );
        }
    }
    Ok(bytes)
}

fn remap(from: &Path, to: &str) -> String {
    format!("--remap-path-prefix={}={to}", from.display())
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
