//! Machines that are network namespaces of this kernel, each with one cable to a bridge. The bridge has a namespace of its
//! own too, so that nothing is touched which was there before.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use servers::programs::{is_root, on_path};
use tokio::process::Command as AsyncCommand;
use tokio::sync::oneshot;

use crate::fleet;

/// Where namespaces have their names.
const NAMED: &str = "/run/netns";
/// What a machine's end of its cable is called.
const CARD: &str = "eth0";
const BRIDGE: &str = "bridge";
/// How long a cable holds everything back that goes into one of its ends, where the kernel can do that.
pub(super) const DELAY_MS: u32 = 1;

/// A machine of its own, as far as anybody on the network can tell.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    pub(super) name: &'static str,
    pub(super) address: Ipv4Addr,
    namespace: String,
}

/// Who is on the network. All of it is taken away when this is dropped.
pub(super) struct Network {
    /// Whoever calls from outside, and the bridge.
    pub(super) callers: Machine,
    /// PostgreSQL, Kafka and Redis, as somebody else would run them.
    pub(super) servers: Machine,
    pub(super) nodes: [Machine; 3],
}

impl Machine {
    fn new(name: &'static str, number: u8) -> Self {
        let namespace = format!("cartulary-{}-{name}", std::process::id());
        Self { name, address: Ipv4Addr::new(10, 213, 0, number), namespace }
    }

    /// The address of its network card.
    fn card(&self) -> String {
        format!("02:00:00:00:00:{:02x}", self.address.octets()[3])
    }

    /// A program that is to run there, with nothing set of what is set for a person's own engine.
    pub(super) fn command(&self, program: &Path) -> AsyncCommand {
        let mut command = fleet::command("ip");
        command.args(["netns", "exec", &self.namespace]).arg(program);
        command
    }

    /// Does something there, on a thread of its own; what it starts is there as well.
    pub(super) async fn inside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (machine, (tell, told)) = (self.clone(), oneshot::channel());
        thread::spawn(move || tell.send(machine.enter().and_then(|()| work())).ok());
        told.await.with_context(|| format!("what was to be done on {} broke off", self.name))?
    }

    /// From now on this thread is there, and so are those that it starts.
    fn enter(&self) -> Result<()> {
        let namespace = File::open(Path::new(NAMED).join(&self.namespace))?;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
            .with_context(|| format!("{} cannot be entered", self.namespace))
    }

    fn make(&self) -> Result<()> {
        run("ip", &["netns", "add", &self.namespace])?;
        run("ip", &["-n", &self.namespace, "link", "set", "lo", "up"])
    }

    /// Ends what still runs there, and takes it away.
    fn clear(&self) -> Result<()> {
        if !Path::new(NAMED).join(&self.namespace).exists() {
            return Ok(());
        }
        let found = Command::new("ip").args(["netns", "pids", &self.namespace]).output()?;
        for pid in String::from_utf8_lossy(&found.stdout).split_whitespace() {
            // It may have ended meanwhile.
            run("kill", &["-s", "KILL", pid]).ok();
        }
        run("ip", &["netns", "del", &self.namespace])
    }
}

impl Network {
    /// Makes it. Only root can.
    pub(super) fn make() -> Result<Self> {
        ensure!(is_root(), "network namespaces can only be made by root; start this again as root");
        ensure!(on_path("ip").is_some(), "`ip` is missing; the Debian package is called `iproute2`");
        let network = Self {
            callers: Machine::new("callers", 1),
            servers: Machine::new("servers", 2),
            nodes: [Machine::new("node-1", 11), Machine::new("node-2", 12), Machine::new("node-3", 13)],
        };
        network.lay_cables()?;
        Ok(network)
    }

    fn lay_cables(&self) -> Result<()> {
        let hub = self.callers.namespace.as_str();
        self.callers.make()?;
        run("ip", &["-n", hub, "link", "add", BRIDGE, "address", &self.callers.card(), "type", "bridge"])?;
        run("ip", &["-n", hub, "address", "add", &format!("{}/24", self.callers.address), "dev", BRIDGE])?;
        run("ip", &["-n", hub, "link", "set", BRIDGE, "up"])?;
        for machine in self.with_cards() {
            let there = machine.namespace.as_str();
            machine.make()?;
            run("ip", &["-n", hub, "link", "add", machine.name, "type", "veth", "peer", "name", CARD, "netns", there])?;
            run("ip", &["-n", there, "link", "set", CARD, "address", &machine.card()])?;
            run("ip", &["-n", hub, "link", "set", machine.name, "master", BRIDGE, "up"])?;
            run("ip", &["-n", there, "address", "add", &format!("{}/24", machine.address), "dev", CARD])?;
            run("ip", &["-n", there, "link", "set", CARD, "up"])?;
        }
        self.introduce()
    }

    /// Tells everybody the cards of all others once and for all: who is cut off does not find out from its neighbours.
    fn introduce(&self) -> Result<()> {
        let all: Vec<&Machine> = self.with_cards().chain([&self.callers]).collect();
        for (from, to) in all.iter().flat_map(|from| all.iter().map(move |to| (from, to))) {
            if from.name != to.name {
                let (there, address, card) = (&from.namespace, to.address.to_string(), to.card());
                let device = if from.name == self.callers.name { BRIDGE } else { CARD };
                run("ip", &["-n", there, "neighbour", "replace", &address, "lladdr", &card, "dev", device])?;
            }
        }
        Ok(())
    }

    /// Holds back for a moment what nodes and servers send. An error where this kernel cannot.
    pub(super) fn delay(&self) -> Result<()> {
        ensure!(on_path("tc").is_some(), "`tc` is missing");
        let delay = format!("{DELAY_MS}ms");
        self.with_cards().try_for_each(|machine| {
            run("tc", &["-n", &machine.namespace, "qdisc", "add", "dev", CARD, "root", "netem", "delay", &delay])
        })
    }

    /// Pulls the cable of a node out of the bridge.
    pub(super) fn unplug(&self, node: &Machine) -> Result<()> {
        run("ip", &["-n", &self.callers.namespace, "link", "set", node.name, "down"])
    }

    pub(super) fn plug(&self, node: &Machine) -> Result<()> {
        run("ip", &["-n", &self.callers.namespace, "link", "set", node.name, "up"])
    }

    /// Loses everything that goes to or from a node, without a word to anybody, as a switch further away would.
    pub(super) fn silence(&self, node: &Machine) -> Result<()> {
        run("ip", &["-n", &self.callers.namespace, "link", "set", node.name, "nomaster"])
    }

    pub(super) fn hear(&self, node: &Machine) -> Result<()> {
        run("ip", &["-n", &self.callers.namespace, "link", "set", node.name, "master", BRIDGE])
    }

    fn with_cards(&self) -> impl Iterator<Item = &Machine> {
        std::iter::once(&self.servers).chain(&self.nodes)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for machine in self.with_cards().chain([&self.callers]) {
            if let Err(error) = machine.clear() {
                tracing::warn!(%error, "{} stays behind", machine.namespace);
            }
        }
    }
}

fn run(program: &str, words: &[&str]) -> Result<()> {
    let answer = Command::new(program).args(words).output().with_context(|| format!("{program} cannot be run"))?;
    let said = String::from_utf8_lossy(&answer.stderr);
    ensure!(answer.status.success(), "{program} {}: {}", words.join(" "), said.trim());
    Ok(())
}
