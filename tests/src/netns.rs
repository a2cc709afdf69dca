//! Network namespaces of a test: made with ip(8), gone when dropped. Only addresses inside them are used.

use std::{fs::File, process::Command, thread};

use anyhow::{Result, bail};
use nix::sched::{CloneFlags, setns};

/// Runs a command; its words are split at spaces.
pub fn run(words: &str) -> Result<String> {
    let parts: Vec<&str> = words.split_ascii_whitespace().collect();
    let output = Command::new(parts[0]).args(&parts[1..]).output()?;
    if !output.status.success() {
        bail!("{words}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A namespace with its loopback up.
#[derive(Debug)]
pub struct Netns {
    /// Name, unique to this process.
    pub name: String,
}

impl Netns {
    /// Makes one.
    pub fn new(label: &str) -> Result<Self> {
        let name = format!("gsmon-{label}-{}", std::process::id());
        run(&format!("ip netns add {name}"))?;
        let netns = Self { name };
        netns.exec("ip link set lo up")?;
        Ok(netns)
    }

    /// Runs a command inside.
    pub fn exec(&self, words: &str) -> Result<String> {
        run(&format!("ip netns exec {} {words}", self.name))
    }

    /// Words in front of a command to run it inside.
    pub fn launcher(&self) -> Vec<String> {
        ["ip", "netns", "exec", &self.name].map(str::to_owned).to_vec()
    }

    /// Its path.
    pub fn path(&self) -> String {
        format!("/run/netns/{}", self.name)
    }

    /// Runs `make` on a thread inside; what it makes stays there.
    pub fn inside<T: Send>(&self, make: impl FnOnce() -> T + Send) -> T {
        let path = self.path();
        thread::scope(|scope| {
            let made = scope.spawn(|| {
                let namespace = File::open(path).expect("the namespace is there");
                setns(namespace, CloneFlags::CLONE_NEWNET).expect("a test that runs as root may enter");
                make()
            });
            made.join().expect("what is made inside does not panic")
        })
    }

    /// Connects it to the namespace of the test with a veth pair: `outer` (with `outer_address`) here, `inner` inside.
    pub fn connect(&self, outer: &str, outer_address: &str, inner: &str, inner_address: &str) -> Result<()> {
        run(&format!(
            "ip link add {outer} type veth peer name {inner} netns {}",
            self.name
        ))?;
        run(&format!("ip addr add {outer_address} dev {outer}"))?;
        run(&format!("ip link set {outer} up"))?;
        self.exec(&format!("ip addr add {inner_address} dev {inner}"))?;
        self.exec(&format!("ip link set {inner} up"))?;
        Ok(())
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        // Its veth pairs go with it.
        let _ = run(&format!("ip netns del {}", self.name));
    }
}
