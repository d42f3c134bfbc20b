//! `cargo xtask bench memory`: the measuring stick against a real server.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::args::Args;
use crate::setup::{self, Group};
use crate::{dirs, proc, python, test};

/// A figure that is compared with its goal; goals are those of the first release's acceptance.
struct Figure {
    name: String,
    value: f64,
    goal: f64,
    /// Whether less is better.
    at_most: bool,
}

pub(crate) fn main(mut args: Args) -> Result<ExitCode> {
    let only = args.value("--only")?;
    let store = args.value("--store")?.unwrap_or_else(|| "sqlite".into());
    let limit = args.number("--limit")?;
    let scenario = args.value("--scenario")?;
    let verbose = args.flag("--verbose");
    args.finish()?;
    let wants = |part: &str| only.as_deref().is_none_or(|o| o == part);
    if !["scenarios", "locomo", "beam"].into_iter().any(wants) {
        bail!("--only wants scenarios, locomo or beam");
    }
    let parts = setup::ensure(&groups(&store)?)?;
    test::build_server()?;
    let stick = stick("sqlite")?;
    let shim = Shim::start(&store)?;
    let mut figures = Vec::new();
    if wants("scenarios") {
        for scale in ["1", "0.4"] {
            proc::heading(&format!("scenarios, window x {scale}"));
            figures.extend(scenarios(&stick, &shim, scale, scenario.as_deref(), verbose)?.figures);
        }
    }
    for (part, dataset) in [("locomo", &LOCOMO), ("beam", &BEAM)] {
        if wants(part) {
            figures.extend(retrieval(&stick, &shim, &parts["bench"], dataset, limit)?);
        }
    }
    Ok(if print(&figures) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The scenarios at the full window and LoCoMo, as a leg of `cargo xtask test`: what takes minutes. The rest is for `bench memory`.
pub(crate) fn leg(packages: &Path) -> Result<proc::Teed> {
    let stick = stick("sqlite")?;
    let shim = Shim::start("sqlite")?;
    let played = scenarios(&stick, &shim, "1", None, false)?;
    let mut figures = played.figures;
    figures.extend(retrieval(&stick, &shim, packages, &LOCOMO, None)?);
    let success = print(&figures);
    let text = format!("test result: {} passed; {} failed; 0 ignored\n", played.passed, played.of - played.passed);
    Ok(proc::Teed { success, text })
}

/// What a store needs from the set-up.
fn groups(store: &str) -> Result<Vec<Group>> {
    let mut groups = vec![Group::Embed, Group::Bench];
    match store {
        "sqlite" => {}
        "postgres" => groups.push(Group::Postgres),
        "qdrant" => groups.extend([Group::Postgres, Group::Qdrant]),
        other => bail!("there is no store {other} here: sqlite, postgres or qdrant (on Postgres, every vector in Qdrant)"),
    }
    Ok(groups)
}

/// The scenarios on the other stores, and the first questions of each conversation of LoCoMo and BEAM on all: what the others find may differ from what SQLite finds by two
/// points of R@10. `bench memory --store` asks all questions.
pub(crate) fn other_stores(packages: &Path) -> Result<proc::Teed> {
    const QUESTIONS: u64 = 120;
    const POINTS: f64 = 0.02;
    let first = |stick: &Path, shim: &Shim| -> Result<Vec<(&str, f64)>> {
        let of = |dataset: &Dataset| Ok((dataset.title, retrieval(stick, shim, packages, dataset, Some(QUESTIONS))?[0].value));
        [LOCOMO, BEAM].iter().map(of).collect()
    };
    let wanted = first(&stick("sqlite")?, &Shim::start("sqlite")?)?;
    let on = |store: &str| -> Result<(Vec<Figure>, String)> {
        let (stick, shim) = (stick(store)?, Shim::start(store)?);
        proc::heading(&format!("scenarios on {store}"));
        let played = scenarios(&stick, &shim, "1", None, false)?;
        let mut figures: Vec<Figure> = played.figures.into_iter().map(|f| Figure { name: format!("{store}: {}", f.name), ..f }).collect();
        for ((title, value), (_, wanted)) in first(&stick, &shim)?.into_iter().zip(&wanted) {
            let name = format!("{store}: {title} R@10, {QUESTIONS} questions each (SQLite {wanted:.3})");
            figures.push(Figure { name, value, goal: wanted - POINTS, at_most: false });
        }
        Ok((figures, format!("test result: {} passed; {} failed; 0 ignored\n", played.passed, played.of - played.passed)))
    };
    // At the same time: neither keeps two cores busy.
    let both = std::thread::scope(|scope| {
        let running = ["postgres", "qdrant"].map(|store| scope.spawn(move || on(store)));
        running.map(|thread| thread.join().unwrap_or_else(|_| bail!("a store's run panicked")))
    });
    let (mut figures, mut text) = (Vec::new(), String::new());
    for result in both {
        let (found, told) = result?;
        figures.extend(found);
        text.push_str(&told);
    }
    Ok(proc::Teed { success: print(&figures), text })
}

/// An evidence-retrieval data set and its goals.
struct Dataset {
    name: &'static str,
    title: &'static str,
    recall_at_10: f64,
    recall_at_1000_tokens: f64,
}

const LOCOMO: Dataset = Dataset { name: "locomo", title: "LoCoMo", recall_at_10: 0.82, recall_at_1000_tokens: 0.87 };
const BEAM: Dataset = Dataset { name: "beam100K", title: "BEAM 100K", recall_at_10: 0.65, recall_at_1000_tokens: 0.52 };

/// A copy of the stick, for one run at a time: its runners write results beside themselves, and the original is not ours.
fn stick(run: &str) -> Result<PathBuf> {
    let from =
        dirs::shared_bench().context("the measuring stick is not there: expected ../shared/bench beside the checkout, or SID_BENCH_DIR")?;
    let to = dirs::target().join("bench-memory").join(run);
    copy(&from, &to)?;
    Ok(to)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            if entry.file_name() != "results" && entry.file_name() != "__pycache__" {
                copy(&path, &target)?;
            }
        } else {
            std::fs::write(&target, std::fs::read(&path)?)?;
        }
    }
    Ok(())
}

/// The shim with its server; ends with us.
struct Shim {
    child: Child,
    url: String,
}

impl Shim {
    fn start(store: &str) -> Result<Self> {
        let mut command = python::script("tests/memory/shim.py");
        let mut child = command
            .args(["--port", "0", "--until-eof", "--store", store])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the shim")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("stdout is piped")).read_line(&mut line)?;
        let url = line.split_whitespace().find(|w| w.starts_with("http://")).map(str::to_owned);
        let Some(url) = url else {
            let _ = child.kill();
            bail!("the shim did not start: {line}");
        };
        Ok(Self { child, url: url.trim_end_matches('/').to_owned() })
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        // Its standard input closes: it stops its server and ends.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

struct Played {
    passed: u64,
    of: u64,
    figures: Vec<Figure>,
}

fn scenarios(stick: &Path, shim: &Shim, scale: &str, only: Option<&str>, verbose: bool) -> Result<Played> {
    let out = stick.join(format!("scenarios-{scale}.json"));
    let _ = std::fs::remove_file(&out);
    let mut command = python::python();
    command.current_dir(stick).args(["scenario_runner.py", "--split", "dev", "--adapter", "http", "--window-scale", scale]);
    command.args(["--url", &format!("{}/scenario", shim.url)]).arg("--out").arg(&out);
    if let Some(id) = only {
        command.args(["--only", id]);
    }
    if verbose {
        command.arg("-v");
    }
    // Its exit code says whether everything passed; the file says how much.
    let _ = proc::tee(&mut command)?;
    let result = read(&out)?;
    let number = |key: &str| result[key].as_u64().unwrap_or(0);
    let too_large = fails(&result, |f| f.contains("tokens in a window of") || f.starts_with("step") && f.contains("tokens >"));
    let unanswered = fails(&result, |f| f.contains("gave no answer") || f.contains("turn failed"));
    let at = |what: &str| format!("scenarios x {scale}: {what}");
    #[allow(clippy::cast_precision_loss, reason = "dozens at most")]
    let figure = |what: &str, value: u64, goal: u64, at_most| Figure { name: at(what), value: value as f64, goal: goal as f64, at_most };
    Ok(Played {
        passed: number("passed"),
        of: number("of"),
        figures: vec![
            figure("passed", number("passed"), number("of"), false),
            figure("leaks", number("leaks"), 0, true),
            figure("prompts over the window", too_large, 0, true),
            figure("turns without an answer", unanswered, 0, true),
        ],
    })
}

/// How many recorded failures are of a kind.
fn fails(result: &Value, is: impl Fn(&str) -> bool) -> u64 {
    let rows = result["rows"].as_array().into_iter().flatten();
    rows.flat_map(|r| r["fails"].as_array().into_iter().flatten()).filter_map(Value::as_str).filter(|f| is(f)).count() as u64
}

fn retrieval(stick: &Path, shim: &Shim, packages: &Path, dataset: &Dataset, limit: Option<u64>) -> Result<Vec<Figure>> {
    let Dataset { name, title, .. } = dataset;
    proc::heading(&format!("{title}: evidence retrieval"));
    let out = stick.join("results");
    let mut command = python::python();
    command.current_dir(stick).env("PYTHONPATH", packages).env("OPENBLAS_NUM_THREADS", "1").env("OMP_NUM_THREADS", "1");
    command.args(["run_retrieval.py", "--split", "dev", "--dataset", name, "--backend", "http"]);
    command.args(["--url", &format!("{}/bench", shim.url)]).arg("--out").arg(&out);
    if let Some(limit) = limit {
        command.args(["--limit", &limit.to_string()]);
    }
    if !proc::tee(&mut command)?.success {
        bail!("the retrieval run of {title} failed");
    }
    let all = &read(&out.join(format!("{name}-dev-http.json")))?["all"];
    let figure = |what: &str, key: &str, goal| Figure {
        name: format!("{title} {what}"),
        value: all[key].as_f64().unwrap_or(0.0),
        goal,
        at_most: false,
    };
    Ok(vec![
        figure("R@10", "recall@10", dataset.recall_at_10),
        figure("R@1000t", "recall@1000tok", dataset.recall_at_1000_tokens),
        figure("MRR", "mrr", 0.0),
    ])
}

fn read(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| format!("no result was written to {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))
}

impl Figure {
    fn is_met(&self) -> bool {
        if self.at_most { self.value <= self.goal } else { self.value >= self.goal }
    }
}

fn print(figures: &[Figure]) -> bool {
    println!("\n{:<44} {:>8} {:>9}", "", "measured", "goal");
    for f in figures {
        let sign = if f.at_most { "<=" } else { ">=" };
        let whole = f.goal.fract() == 0.0 && f.value.fract() == 0.0;
        let show = |v: f64| if whole { format!("{v:.0}") } else { format!("{v:.3}") };
        let goal = if f.goal == 0.0 && !f.at_most { String::new() } else { format!("{sign} {}", show(f.goal)) };
        println!("{:<44} {:>8} {:>9}  {}", f.name, show(f.value), goal, if f.is_met() { "" } else { "MISSED" });
    }
    figures.iter().all(Figure::is_met)
}
