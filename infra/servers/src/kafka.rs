//! Apache Kafka itself, from the Maven registry: one process that is broker and controller (KRaft).

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};

use crate::programs::{Install, needed, quietly};
use crate::{Program, Secured, Server, launch};

const VERSION: &str = "4.3.1";

const POM: &str = "\
<project><modelVersion>4.0.0</modelVersion><groupId>cartulary</groupId><artifactId>kafka</artifactId><version>1</version>
<dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>4.3.1</version></dependency>
<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
</dependencies></project>
";

/// Few partitions for Kafka's own topics: making the usual fifty takes longer than starting.
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

/// The heap is bounded, because this shares a laptop with everything else.
const JAVA: &[&str] = &["-Xms128m", "-Xmx512m", "-XX:+UseG1GC"];

/// Java, and the folder of Kafka's jars.
pub(super) fn programs(jars: &Path, install: Option<Install>) -> Result<(PathBuf, PathBuf)> {
    Ok((needed("java", "openjdk-17-jre-headless", install)?, libraries(jars, install)?))
}

pub(super) fn start(
    folder: &Path,
    jars: &Path,
    port: u16,
    install: Option<Install>,
    secured: Option<&Secured>,
) -> Result<Server> {
    let (java, libraries) = programs(jars, install)?;
    let home = folder.join("kafka");
    fs::create_dir_all(&home)?;
    let settings = home.join("server.properties");
    fs::write(&settings, settings_for(&home, port, secured)?)?;
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
        quietly(format)?;
    }
    let log = folder.join("kafka.log");
    let mut command = run("kafka.Kafka");
    command.arg(&settings);
    Ok(Server {
        program: Program::Kafka,
        pid: launch::detached(command, &log)?,
        port,
        variable: "CARTULARY_KAFKA_BROKERS".to_owned(),
        address: format!("127.0.0.1:{port}"),
        log: log.display().to_string(),
        known_by: settings.display().to_string(),
    })
}

fn settings_for(home: &Path, port: u16, secured: Option<&Secured>) -> Result<String> {
    let (data, controller) = (home.join("data"), launch::free_port(None)?);
    // Where callers have to show who they are, the broker has a listener for itself.
    let (listeners, locks) = match secured {
        None => (format!("PLAINTEXT://127.0.0.1:{port}"), String::new()),
        Some(secured) => {
            let inside = launch::free_port(None)?;
            (format!("CALLERS://127.0.0.1:{port},PLAINTEXT://127.0.0.1:{inside}"), locks(secured))
        }
    };
    let callers = if secured.is_some_and(|secured| secured.login.is_some()) { "SASL_SSL" } else { "SSL" };
    Ok(format!(
        "{SETTINGS}{locks}controller.quorum.voters=1@127.0.0.1:{controller}\n\
         listeners={listeners},CONTROLLER://127.0.0.1:{controller}\nadvertised.listeners={listeners}\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,CALLERS:{callers}\nlog.dirs={}\n",
        data.display()
    ))
}

/// What callers are shown, and have to show.
fn locks(secured: &Secured) -> String {
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

/// The folder of Kafka's jars; fetched once per clone and put in place whole.
#[expect(clippy::print_stdout, reason = "only a chore fetches, and it talks to the person who started it")]
fn libraries(parent: &Path, install: Option<Install>) -> Result<PathBuf> {
    let place = parent.join(format!("kafka-{VERSION}"));
    if place.is_dir() {
        return Ok(place);
    }
    if install.is_none() {
        bail!("Apache Kafka {VERSION} is not in {}; `cargo xtask up kafka` fetches it", place.display());
    }
    let maven = needed("mvn", "maven", install)?;
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
    quietly(fetch)?;
    match fs::rename(&draft, &place) {
        // Somebody else fetched it at the same time.
        Err(_) if place.is_dir() => fs::remove_dir_all(&draft)?,
        renamed => renamed?,
    }
    Ok(place)
}
