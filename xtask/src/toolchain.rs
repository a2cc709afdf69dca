//! Finding a compiler with library sources and a linker for the BPF target.
//!
//! Debian's `rustc-web` with `rust-web-src` first, since it is what the committed object was built with; else a rustup
//! nightly with `rust-src`.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// Compiler, its sources, and the linker.
#[derive(Clone, Debug)]
pub struct Toolchain {
    /// rustc to use.
    pub rustc: PathBuf,
    /// Its library sources.
    pub sources: PathBuf,
    /// bpf-linker to use.
    pub linker: PathBuf,
    /// Exact versions.
    pub versions: Versions,
}

/// What decides the bytes of the object, besides its sources.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// `rustc --version`.
    pub rustc: String,
    /// LLVM of rustc.
    pub rustc_llvm: String,
    /// `bpf-linker --version`.
    pub bpf_linker: String,
    /// Version of llvm-objcopy.
    pub objcopy: String,
}

/// What to install, for error messages.
const HOW: &str = "on Debian: apt-get install rustc-web rust-web-src llvm-22 llvm-22-dev, then \
    LLVM_PREFIX=/usr/lib/llvm-22 cargo install bpf-linker --version 0.13.0 --locked --no-default-features --features llvm-22; \
    elsewhere: rustup toolchain install nightly --component rust-src, and cargo install bpf-linker";

impl Toolchain {
    /// Looks for one.
    pub fn find() -> Result<Self> {
        let linker = on_path("bpf-linker").with_context(|| format!("bpf-linker is not installed; {HOW}"))?;
        let candidates = [Some(PathBuf::from("/usr/bin/rustc")), nightly()];
        for rustc in candidates.into_iter().flatten().filter(|path| path.exists()) {
            let sysroot = output(Command::new(&rustc).args(["--print", "sysroot"]))?;
            let sources = Path::new(&sysroot).join("lib/rustlib/src/rust/library");
            if !sources.join("core/Cargo.toml").exists() {
                continue;
            }
            let verbose = output(Command::new(&rustc).arg("-vV"))?;
            let llvm = verbose
                .lines()
                .find_map(|line| line.strip_prefix("LLVM version: "))
                .unwrap_or("unknown");
            let objcopy = output(Command::new(objcopy()?).arg("--version"))?;
            let objcopy = objcopy
                .lines()
                .find(|line| line.contains("version"))
                .unwrap_or("unknown")
                .trim()
                .to_owned();
            return Ok(Self {
                versions: Versions {
                    rustc: verbose.lines().next().unwrap_or_default().to_owned(),
                    rustc_llvm: llvm.to_owned(),
                    bpf_linker: output(Command::new(&linker).arg("--version"))?,
                    objcopy,
                },
                rustc,
                sources,
                linker,
            });
        }
        bail!("no Rust compiler with library sources was found; {HOW}")
    }
}

fn nightly() -> Option<PathBuf> {
    output(Command::new("rustup").args(["which", "--toolchain", "nightly", "rustc"]))
        .ok()
        .map(PathBuf::from)
}

/// llvm-objcopy, under the names it goes by.
pub fn objcopy() -> Result<PathBuf> {
    ["llvm-objcopy-22", "llvm-objcopy"]
        .into_iter()
        .find_map(on_path)
        .with_context(|| format!("llvm-objcopy is not installed; {HOW}"))
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(home()?.join(".cargo")));
    std::env::split_paths(&path)
        .chain(home.map(|home| home.join("bin")))
        .map(|directory| directory.join(program))
        .find(|path| path.exists())
}

/// The user's home.
pub fn home() -> Option<PathBuf> {
    std::env::var_os("HOME").map(PathBuf::from)
}

fn output(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
