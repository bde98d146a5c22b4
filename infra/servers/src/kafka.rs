//! Apache Kafka from Maven Central: one process that is broker and controller (KRaft).

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};

use crate::programs::{Install, required, run_quietly};
use crate::{Instance, Program, Secured, Server, launch};

const VERSION: &str = "4.3.1";

const POM: &str = "\
<project><modelVersion>4.0.0</modelVersion><groupId>cartulary</groupId><artifactId>kafka</artifactId><version>1</version>
<dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>4.3.1</version></dependency>
<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
</dependencies></project>
";

/// Few partitions for Kafka's internal topics: creating the default fifty takes longer than starting.
const SETTINGS: &str = "\
process.roles=broker,controller
node.id=1
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
";

/// Options of Java. The heap is bounded, as Kafka shares a laptop with other servers.
const JAVA: &[&str] = &["-Xms128m", "-Xmx512m", "-XX:+UseG1GC"];

/// Path of Java, and folder of Kafka's jars.
pub(super) fn programs(jars: &Path, install: Option<Install>) -> Result<(PathBuf, PathBuf)> {
    Ok((required("java", "openjdk-17-jre-headless", install)?, libraries(jars, install)?))
}

pub(super) fn start(instance: &Instance<'_>, jars: &Path, install: Option<Install>) -> Result<Server> {
    let &Instance { folder, host, port, secured } = instance;
    let (java, libraries) = programs(jars, install)?;
    let home = folder.join("kafka");
    fs::create_dir_all(&home)?;
    let settings = home.join("server.properties");
    fs::write(&settings, settings_for(&home, instance)?)?;
    let run = |class: &str| {
        let mut command = Command::new(&java);
        command.args(JAVA).arg("-cp").arg(libraries.join("*")).arg(class);
        command
    };
    if !home.join("data/meta.properties").exists() {
        let mut format = run("kafka.tools.StorageTool");
        format.args(["format", "--cluster-id", "Y2FydHVsYXJ5LWthZmth", "--config"]).arg(&settings);
        if let Some(Secured { login: Some((user, password)), .. }) = secured {
            for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
                format.args(["--add-scram", &format!("{mechanism}=[name={user},password={password}]")]);
            }
        }
        run_quietly(format)?;
    }
    let log = folder.join("kafka.log");
    let mut command = run("kafka.Kafka");
    command.arg(&settings);
    Ok(Server {
        program: Program::Kafka,
        pid: launch::detached(command, &log)?,
        host,
        port,
        variable: "CARTULARY_KAFKA_BROKERS".to_owned(),
        address: format!("{host}:{port}"),
        log: log.display().to_string(),
        known_by: settings.display().to_string(),
    })
}

fn settings_for(home: &Path, &Instance { host, port, secured, .. }: &Instance<'_>) -> Result<String> {
    let internal_port = || launch::free_port(Ipv4Addr::LOCALHOST, None);
    let (data, controller) = (home.join("data"), internal_port()?);
    // If callers have to authenticate, the broker gets an internal listener without authentication.
    let (listeners, security) = match secured {
        None => (format!("PLAINTEXT://{host}:{port}"), String::new()),
        Some(secured) => {
            (format!("CALLERS://{host}:{port},PLAINTEXT://127.0.0.1:{}", internal_port()?), security_settings(secured))
        }
    };
    let callers = if secured.is_some_and(|secured| secured.login.is_some()) { "SASL_SSL" } else { "SSL" };
    Ok(format!(
        "{SETTINGS}{security}controller.quorum.voters=1@127.0.0.1:{controller}\n\
         listeners={listeners},CONTROLLER://127.0.0.1:{controller}\nadvertised.listeners={listeners}\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,CALLERS:{callers}\nlog.dirs={}\n",
        data.display()
    ))
}

/// TLS and authentication of the listener for callers.
fn security_settings(secured: &Secured) -> String {
    let Secured { identity, authority, login } = secured;
    let mut settings = vec![
        "ssl.keystore.type=PEM".to_owned(),
        format!("ssl.keystore.location={}", identity.display()),
        "ssl.truststore.type=PEM".to_owned(),
        format!("ssl.truststore.location={}", authority.display()),
    ];
    match login {
        None => settings.push("ssl.client.auth=required".to_owned()),
        Some((user, password)) => {
            let module = "org.apache.kafka.common.security";
            settings.push("sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512".to_owned());
            settings.push(format!(
                "plain.sasl.jaas.config={module}.plain.PlainLoginModule required user_{user}=\"{password}\";"
            ));
            for mechanism in ["scram-sha-256", "scram-sha-512"] {
                settings.push(format!("{mechanism}.sasl.jaas.config={module}.scram.ScramLoginModule required;"));
            }
        }
    }
    settings.iter().map(|setting| format!("listener.name.callers.{setting}\n")).collect()
}

/// Folder of Kafka's jars. They are fetched once per clone into a draft folder, which is then renamed.
#[expect(clippy::print_stdout, reason = "only project tasks fetch, and they print for the person who started them")]
fn libraries(parent: &Path, install: Option<Install>) -> Result<PathBuf> {
    let folder = parent.join(format!("kafka-{VERSION}"));
    if folder.is_dir() {
        return Ok(folder);
    }
    if install.is_none() {
        bail!("Apache Kafka {VERSION} is not in {}; `cargo xtask up kafka` fetches it", folder.display());
    }
    let maven = required("mvn", "maven", install)?;
    println!("servers: fetching Apache Kafka {VERSION} with Maven (44 MB, once)");
    let draft = parent.join(format!("kafka-{VERSION}.{}", std::process::id()));
    fs::create_dir_all(&draft)?;
    fs::write(draft.join("pom.xml"), POM)?;
    let mut fetch = Command::new(maven);
    fetch.current_dir(&draft).args([
        "-q",
        "-B",
        "-Dstyle.color=never",
        "dependency:copy-dependencies",
        "-DoutputDirectory=.",
    ]);
    run_quietly(fetch)?;
    match fs::rename(&draft, &folder) {
        // Another process has fetched it meanwhile.
        Err(_) if folder.is_dir() => fs::remove_dir_all(&draft)?,
        renamed => renamed?,
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_get_the_address_of_the_network_and_the_controller_listens_on_loopback() {
        let instance =
            Instance { folder: Path::new("/x"), host: Ipv4Addr::new(10, 0, 0, 2), port: 9092, secured: None };
        let settings = settings_for(Path::new("/x/kafka"), &instance).expect("a free port");
        let line = |begin: &str| settings.lines().find_map(|line| line.strip_prefix(begin)).unwrap_or_default();
        assert_eq!(line("advertised.listeners=PLAINTEXT://"), "10.0.0.2:9092", "{settings}");
        let controller = line("controller.quorum.voters=1@");
        assert!(controller.starts_with("127.0.0.1:"), "{settings}");
        assert_eq!(line("listeners="), format!("PLAINTEXT://10.0.0.2:9092,CONTROLLER://{controller}"), "{settings}");
    }
}
