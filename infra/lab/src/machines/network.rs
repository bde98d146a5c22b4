//! Simulated machines: network namespaces of this kernel, each connected to a bridge by a veth pair. The bridge is in a
//! namespace of its own as well, so the network of the host is not changed.

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

/// Folder of the named namespaces.
const NAMESPACES: &str = "/run/netns";
/// Name of the network device of a machine.
const DEVICE: &str = "eth0";
const BRIDGE: &str = "bridge";
/// Delay of each packet in each direction, if the kernel has `netem`.
pub(super) const DELAY_MS: u32 = 1;

/// A simulated machine.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    pub(super) name: &'static str,
    pub(super) address: Ipv4Addr,
    namespace: String,
}

/// The machines and their network, which are removed when this is dropped.
pub(super) struct Network {
    /// External callers; also holds the bridge.
    pub(super) callers: Machine,
    /// PostgreSQL, Kafka and Redis.
    pub(super) servers: Machine,
    pub(super) nodes: [Machine; 3],
}

impl Machine {
    fn new(name: &'static str, number: u8) -> Self {
        let namespace = format!("cartulary-{}-{name}", std::process::id());
        Self { name, address: Ipv4Addr::new(10, 213, 0, number), namespace }
    }

    /// MAC address of its network device.
    fn mac_address(&self) -> String {
        format!("02:00:00:00:00:{:02x}", self.address.octets()[3])
    }

    /// A command that runs in this machine's namespace, without the CARTULARY_* variables of this process.
    pub(super) fn command(&self, program: &Path) -> AsyncCommand {
        let mut command = fleet::command("ip");
        command.args(["netns", "exec", &self.namespace]).arg(program);
        command
    }

    /// Runs a function on a new thread in this machine's namespace. Threads and processes that it starts are in it too.
    pub(super) async fn run_inside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (machine, (sender, receiver)) = (self.clone(), oneshot::channel());
        thread::spawn(move || sender.send(machine.enter().and_then(|()| work())).ok());
        receiver.await.with_context(|| format!("the thread on {} panicked", self.name))?
    }

    /// Moves the current thread into this namespace, and with it the threads that it starts later.
    fn enter(&self) -> Result<()> {
        let namespace = File::open(Path::new(NAMESPACES).join(&self.namespace))?;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
            .with_context(|| format!("{} cannot be entered", self.namespace))
    }

    fn create(&self) -> Result<()> {
        run("ip", &["netns", "add", &self.namespace])?;
        run("ip", &["-n", &self.namespace, "link", "set", "lo", "up"])
    }

    /// Kills the processes that still run in the namespace, and deletes it.
    fn remove(&self) -> Result<()> {
        if !Path::new(NAMESPACES).join(&self.namespace).exists() {
            return Ok(());
        }
        let output = Command::new("ip").args(["netns", "pids", &self.namespace]).output()?;
        for pid in String::from_utf8_lossy(&output.stdout).split_whitespace() {
            // It may have ended in the meantime.
            run("kill", &["-s", "KILL", pid]).ok();
        }
        run("ip", &["netns", "del", &self.namespace])
    }
}

impl Network {
    /// Creates namespaces, bridge and links. Needs root.
    pub(super) fn create() -> Result<Self> {
        ensure!(is_root(), "only root can create network namespaces; run this command as root");
        ensure!(on_path("ip").is_some(), "`ip` is missing; install the Debian package `iproute2`");
        let network = Self {
            callers: Machine::new("callers", 1),
            servers: Machine::new("servers", 2),
            nodes: [Machine::new("node-1", 11), Machine::new("node-2", 12), Machine::new("node-3", 13)],
        };
        network.create_links()?;
        Ok(network)
    }

    fn create_links(&self) -> Result<()> {
        let bridge_namespace = self.callers.namespace.as_str();
        self.callers.create()?;
        run(
            "ip",
            &["-n", bridge_namespace, "link", "add", BRIDGE, "address", &self.callers.mac_address(), "type", "bridge"],
        )?;
        run("ip", &["-n", bridge_namespace, "address", "add", &format!("{}/24", self.callers.address), "dev", BRIDGE])?;
        run("ip", &["-n", bridge_namespace, "link", "set", BRIDGE, "up"])?;
        for machine in self.with_devices() {
            let namespace = machine.namespace.as_str();
            machine.create()?;
            run(
                "ip",
                &[
                    "-n",
                    bridge_namespace,
                    "link",
                    "add",
                    machine.name,
                    "type",
                    "veth",
                    "peer",
                    "name",
                    DEVICE,
                    "netns",
                    namespace,
                ],
            )?;
            run("ip", &["-n", namespace, "link", "set", DEVICE, "address", &machine.mac_address()])?;
            run("ip", &["-n", bridge_namespace, "link", "set", machine.name, "master", BRIDGE, "up"])?;
            run("ip", &["-n", namespace, "address", "add", &format!("{}/24", machine.address), "dev", DEVICE])?;
            run("ip", &["-n", namespace, "link", "set", DEVICE, "up"])?;
        }
        self.add_static_neighbours()
    }

    /// Adds permanent neighbour entries on every machine. Without ARP, an isolated machine gets no error from a failed
    /// address resolution, and loses its packets silently as behind a real router.
    fn add_static_neighbours(&self) -> Result<()> {
        let all: Vec<&Machine> = self.with_devices().chain([&self.callers]).collect();
        for (from, to) in all.iter().flat_map(|from| all.iter().map(move |to| (from, to))) {
            if from.name != to.name {
                let (namespace, address, mac_address) = (&from.namespace, to.address.to_string(), to.mac_address());
                let device = if from.name == self.callers.name { BRIDGE } else { DEVICE };
                run("ip", &["-n", namespace, "neighbour", "replace", &address, "lladdr", &mac_address, "dev", device])?;
            }
        }
        Ok(())
    }

    /// Delays what nodes and servers send. Fails if this kernel has no `netem`.
    pub(super) fn delay(&self) -> Result<()> {
        ensure!(on_path("tc").is_some(), "`tc` is missing");
        let delay = format!("{DELAY_MS}ms");
        self.with_devices().try_for_each(|machine| {
            run("tc", &["-n", &machine.namespace, "qdisc", "add", "dev", DEVICE, "root", "netem", "delay", &delay])
        })
    }

    /// Sets the bridge end of a node's link down, so that the node sees that it has no connection.
    pub(super) fn link_down(&self, node: &Machine) -> Result<()> {
        run("ip", &["-n", &self.callers.namespace, "link", "set", node.name, "down"])
    }

    pub(super) fn link_up(&self, node: &Machine) -> Result<()> {
        run("ip", &["-n", &self.callers.namespace, "link", "set", node.name, "up"])
    }

    /// Drops all packets to and from a node while its link stays up, as when a switch further away fails.
    pub(super) fn detach_from_bridge(&self, node: &Machine) -> Result<()> {
        run("ip", &["-n", &self.callers.namespace, "link", "set", node.name, "nomaster"])
    }

    pub(super) fn attach_to_bridge(&self, node: &Machine) -> Result<()> {
        run("ip", &["-n", &self.callers.namespace, "link", "set", node.name, "master", BRIDGE])
    }

    fn with_devices(&self) -> impl Iterator<Item = &Machine> {
        std::iter::once(&self.servers).chain(&self.nodes)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for machine in self.with_devices().chain([&self.callers]) {
            if let Err(error) = machine.remove() {
                tracing::warn!(%error, "{} could not be removed", machine.namespace);
            }
        }
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output =
        Command::new(program).args(arguments).output().with_context(|| format!("{program} cannot be started"))?;
    let message = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {}: {}", arguments.join(" "), message.trim());
    Ok(())
}
