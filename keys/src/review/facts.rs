//! A release in words: name and value, row by row, nothing left out.

use countersign_metadata::node::{Check, CommandNumber, HttpNumber, Number, Ready};
use countersign_metadata::release::{Blob, EnvironmentKind, Urgency};
use countersign_metadata::{Delta, Release};

use super::printable;

type Fact = (String, String);

/// Everything that a release says about itself.
pub(crate) fn facts(release: &Release) -> Vec<Fact> {
    let mut rows = Rows(Vec::new());
    rows.add("artifact", blob(&release.artifact));
    rows.add("source", blob(&release.source));
    rows.add("recipe", format!("sha256 {}", release.recipe));
    rows.add("lock", format!("sha256 {}", release.lock));
    let kind = match release.environment.kind {
        EnvironmentKind::Host => "the machine's own toolchain",
        EnvironmentKind::Debian => "locked Debian packages",
        EnvironmentKind::Oci => "a container image's layers",
    };
    rows.add("environment", format!("{kind}, sha256 {}", release.environment.sha256));
    for input in &release.inputs {
        rows.add("input", format!("{}, {}", printable(&input.name), blob(&input.blob)));
    }
    node(release, &mut rows);
    if let Some(version) = &release.follows {
        rows.add("follows", format!("{version} or later, directly"));
    }
    if let Some((oldest, newest)) = release.protocol {
        rows.add("protocol", format!("speaks versions {oldest} to {newest}"));
    }
    let urgency = match release.urgency {
        Urgency::Low => "low",
        Urgency::Normal => "normal",
        Urgency::Urgent => "urgent: nodes wait less",
    };
    rows.add("urgency", urgency);
    for version in &release.revokes {
        rows.add("REVOKES", format!("{version}: nodes must leave it"));
    }
    for (id, text) in &release.actions {
        rows.add("OPERATORS", format!("must first: {} ({id})", printable(text)));
    }
    if !release.notes.is_empty() {
        rows.add("notes", printable(&release.notes));
    }
    rows.0
}

fn node(release: &Release, rows: &mut Rows) {
    let Some(node) = &release.node else {
        return rows.add("runs", "nothing: it is not a node");
    };
    rows.add("runs", words(&node.command));
    for (name, address) in &node.listen {
        rows.add("listens on", format!("{address} ({})", printable(name)));
    }
    let allowed: Vec<_> = node.connects_to.iter().map(|d| printable(d)).collect();
    let nothing = "nothing".to_owned();
    rows.add("connects to", if allowed.is_empty() { nothing } else { allowed.join(", ") });
    rows.add(
        "is ready",
        match (node.ready, &node.ready_line) {
            (Ready::Notify, _) => "when it says so (sd_notify)".to_owned(),
            (Ready::Connect, _) => "when its first socket answers".to_owned(),
            (Ready::Log, line) => {
                format!("when a line matches {:?}", line.as_deref().unwrap_or_default())
            }
        },
    );
    if let Some(health) = &node.health {
        let (path, listen) = (printable(&health.path), printable(&health.listen));
        rows.add("is healthy", format!("when {path} on {listen} answers 200"));
    }
    for (name, check) in &node.checks {
        rows.add("is checked by", format!("{}: {}", printable(name), check_text(check)));
    }
    if node.overlap {
        rows.add("overlaps", "two versions may run on one state at once");
    }
    for lock in &node.locks {
        rows.add("locks", printable(lock));
    }
    if let Some(checkpoint) = &node.checkpoint {
        rows.add("checkpoint", words(checkpoint));
    }
    rows.add("stops within", format!("{} s", node.stop_grace));
    for (area, spec) in &node.areas {
        let migrate = spec.migrate.as_deref().map(words);
        let how = migrate.map(|m| format!(", migrated by: {m}")).unwrap_or_default();
        let reads: Vec<_> = spec.reads.iter().map(ToString::to_string).collect();
        let reads = match reads.as_slice() {
            [] => String::new(),
            some => format!(", reads {} too", some.join(" and ")),
        };
        let secret = if spec.secret { ", secret" } else { "" };
        rows.add("state area", format!("{area}, schema {}{reads}{how}{secret}", spec.schema));
    }
    for (name, value) in &node.environment {
        rows.add("sets", format!("{}={}", printable(name), printable(value)));
    }
}

fn check_text(check: &Check) -> String {
    let at = |path: &str, listen: &str| format!("{} on {}", printable(path), printable(listen));
    match check {
        Check::Http { listen, path } => format!("{} answers 200", at(path, listen)),
        Check::Tcp { listen } => format!("{} takes connections", printable(listen)),
        Check::Command { command } => format!("{} succeeds", words(command)),
        Check::Log { line, within } => format!("a line matches {line:?} within {within} s"),
        Check::Height { from, within } => {
            let number = match from {
                Number::Http(HttpNumber { listen, path, pointer }) => {
                    format!("{} of {}", printable(pointer), at(path, listen))
                }
                Number::Command(CommandNumber { command }) => words(command),
            };
            format!("{number} grows within {within} s")
        }
    }
}

/// The file as served, and the deltas: what they make is checked against the release by whoever applies them.
pub(crate) fn served(blob: &Blob, deltas: &[Delta]) -> Vec<Fact> {
    let delta = |delta: &Delta| {
        let what = format!("from artifact {}: {}", delta.from.short(), self::blob(&delta.blob()));
        ("delta".to_owned(), what)
    };
    let whole = ("served as".to_owned(), self::blob(blob));
    std::iter::once(whole).chain(deltas.iter().map(delta)).collect()
}

/// Rows that differ: name, before, after. `nothing` stands where a row is only on one side.
pub(crate) fn difference(was: &Release, now: &Release) -> Vec<(String, String, String)> {
    let (mut was, now) = (facts(was), facts(now));
    let mut rows = Vec::new();
    for (name, to) in now {
        if let Some(same) = was.iter().position(|(n, v)| (n, v) == (&name, &to)) {
            was.remove(same);
            continue;
        }
        let before = was.iter().position(|(n, _)| *n == name).map(|at| was.remove(at).1);
        rows.push((name, before.unwrap_or_else(|| "nothing".to_owned()), to));
    }
    rows.extend(was.into_iter().map(|(name, from)| (name, from, "nothing".to_owned())));
    rows
}

struct Rows(Vec<Fact>);

impl Rows {
    fn add(&mut self, name: &str, value: impl Into<String>) {
        self.0.push((name.to_owned(), value.into()));
    }
}

fn blob(blob: &Blob) -> String {
    format!("sha256 {}, {} bytes", blob.sha256, blob.length)
}

fn words(command: &[String]) -> String {
    let quoted = command.iter().map(|word| {
        let plain = !word.is_empty() && !word.contains(char::is_whitespace);
        if plain { printable(word) } else { format!("{word:?}") }
    });
    quoted.collect::<Vec<_>>().join(" ")
}
