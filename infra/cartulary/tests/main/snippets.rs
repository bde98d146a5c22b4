//! Every shell snippet that the README shows or `cartulary dev` prints is run as it stands, by a real shell with curl,
//! beside a real `cartulary dev`.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::{env, fs};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

const README: &str = include_str!("../../../../README.md");
const CARTULARY: &str = env!("CARGO_BIN_EXE_cartulary");
/// Last line of what `dev` prints.
const LAST_LINE: &str = "Ctrl-C stops it";
/// Printed between the outputs of two snippets.
const MARKER: &str = "-- next snippet --";

/// A folder in which `cartulary dev` runs, until it is dropped.
struct Project {
    folder: PathBuf,
    engine: Child,
    /// Output of the engine.
    output: String,
}

impl Project {
    fn start() -> Result<Self> {
        let folder = env::temp_dir().join(format!("cartulary-snippets-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let mut engine = command(CARTULARY, &folder)
            .arg("dev")
            .env("CARTULARY_LISTEN", "127.0.0.1:0")
            .stdout(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(engine.stdout.take().context("its output is piped")?).lines();
        let mut output = String::new();
        while !output.contains(LAST_LINE) {
            let line = lines.next().with_context(|| format!("dev ended after printing {output:?}"))??;
            output += &line;
            output += "\n";
        }
        Ok(Self { folder, engine, output })
    }

    /// Runs snippets one after the other in one shell, as a reader would paste them.
    fn paste(&self, snippets: &[&str]) -> Result<Vec<String>> {
        let script = snippets.join(&format!("\necho; echo '{MARKER}'\n"));
        let output = command("sh", &self.folder).args(["-ec", &format!(". ./.cartulary/env\n{script}")]).output()?;
        ensure!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?.split(MARKER).map(|text| text.trim().to_owned()).collect())
    }

    /// Starts a snippet that runs until it is stopped.
    fn follow(&self, snippet: &str) -> Result<Stream> {
        let script = format!(". ./.cartulary/env\nexec {}", snippet.trim_start_matches(". ./.cartulary/env").trim());
        let mut process = command("sh", &self.folder).args(["-ec", &script]).stdout(Stdio::piped()).spawn()?;
        let lines = BufReader::new(process.stdout.take().context("its output is piped")?);
        Ok(Stream { process, lines })
    }

    fn succeeds(&self, arguments: &[&str]) -> Result<String> {
        let output = command(CARTULARY, &self.folder).args(arguments).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
        Ok(text)
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let _ = Command::new("sh").args(["-c", &format!("kill -INT {}", self.engine.id())]).status();
        let _ = self.engine.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Server-sent events of a running snippet.
struct Stream {
    process: Child,
    lines: BufReader<ChildStdout>,
}

impl Stream {
    /// The data of the next event.
    fn next(&mut self) -> Result<Value> {
        let mut line = String::new();
        loop {
            line.clear();
            ensure!(self.lines.read_line(&mut line)? > 0, "the stream ended");
            if let Some(data) = line.strip_prefix("data:") {
                let data: Value = serde_json::from_str(data.trim())?;
                ensure!(data["errors"].is_null(), "{data}");
                return Ok(data);
            }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = self.lines.read_to_end(&mut Vec::new());
    }
}

/// A program in a folder, without settings of this process.
fn command(program: &str, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder);
    for (name, _) in env::vars().filter(|(name, _)| name.starts_with("CARTULARY_")) {
        command.env_remove(name);
    }
    command
}

#[test]
fn every_snippet_of_the_readme_and_of_dev_works_as_it_stands() -> Result<()> {
    let project = Project::start()?;
    printed_snippets(&project)?;
    readme_snippets(&project)?;
    // These subcommands find the running engine by the file that it wrote into this folder.
    ensure!(project.succeeds(&["doctor"])?.contains("up to date"));
    // With the URL of its database alone, the rest is found there too.
    let env = fs::read_to_string(project.folder.join(".cartulary/env"))?;
    let url = env.lines().find_map(|line| line.strip_prefix("export CARTULARY_DATABASE_URL='")?.strip_suffix('\''));
    let mut doctor = command(CARTULARY, &project.folder);
    let doctor = doctor.arg("doctor").env("CARTULARY_DATABASE_URL", url.context("a URL")?).output()?;
    ensure!(doctor.status.success(), "{}", String::from_utf8_lossy(&doctor.stdout));
    ensure!(project.succeeds(&["token", "--monitor"])?.trim().len() == 43);
    ensure!(project.succeeds(&["replay", "digest", "StockLevel"])?.contains("1 rows"));
    project.succeeds(&["token", "--role", "operator"]).map(drop)
}

/// The two snippets that `dev` prints: one watches the stock, the other changes it.
fn printed_snippets(project: &Project) -> Result<()> {
    let snippets: Vec<_> = project.output.split("\n\n").filter(|text| text.starts_with(". ")).collect();
    let [watch, change] = snippets.as_slice() else { anyhow::bail!("dev prints {} snippets", snippets.len()) };
    let mut stream = project.follow(watch)?;
    let on_hand = |data: &Value| data["data"]["stockLevels"]["rows"][0]["onHand"].clone();
    assert_eq!(on_hand(&stream.next()?), 10);
    let answers = project.paste(&[change])?;
    assert_eq!(json(&answers[0])?["outcome"], "accepted");
    assert_eq!(on_hand(&stream.next()?), 9);
    Ok(())
}

fn readme_snippets(project: &Project) -> Result<()> {
    let blocks = README.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let (streams, queries): (Vec<_>, Vec<_>) =
        blocks.filter(|block| block.contains("curl -s")).partition(|block| block.contains("curl -sN"));
    let [create, publish, queried, list] = project.paste(&queries)?.try_into().ok().context("four snippets")?;
    assert_eq!(json(&create)?["outcome"], "accepted");
    assert_eq!(publish, "", "its output is kept in TOKEN");
    let names = |text: &str| Ok::<_, anyhow::Error>(json(text)?["data"]["products"]["edges"].to_string());
    assert!(names(&queried)?.contains(r#""status":"published""#) && names(&queried)?.contains("Teapot"), "{queried}");
    assert!(names(&list)?.contains("Teapot"), "{list}");
    let again = json(&project.paste(&queries[..1])?[0])?;
    assert_eq!((&again["outcome"], &again["receipt"]["replayed"]), (&"accepted".into(), &true.into()));
    ensure!(streams.len() == 1, "{} subscriptions", streams.len());
    let first = project.follow(streams[0])?.next()?;
    ensure!(first["data"]["stockLevels"]["rows"][0]["available"] == 9, "{first}");
    Ok(())
}

fn json(text: &str) -> Result<Value> {
    serde_json::from_str(text).with_context(|| format!("{text:?} is not JSON"))
}
