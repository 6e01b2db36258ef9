//! `install`: a node from nothing but the repository's address and its root file.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use countersign_console::{Exit, Failure, Hint, Out, Progress};
use countersign_metadata::layout::limit;
use countersign_metadata::trust::Trust;
use countersign_metadata::{NodeSpec, Product, Version};
use countersign_updater::config::{self, Window};
use countersign_updater::fetch::fetch;
use countersign_updater::generation::{Generation, Launch, switch_to};
use countersign_updater::net::Repository;
use countersign_updater::policy::{self, Approved, Choice, Facts};
use countersign_updater::stage::{StagedVersion, stage};
use countersign_updater::state::data_dir;
use countersign_updater::{Config, Home, doctor, durable, shelf, trust_store};
use jiff::Timestamp;
use serde_json::json;

use crate::explain;
use crate::tell;

/// Install a node in a new directory
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The node's directory: missing or empty
    node: PathBuf,
    /// Address of the repository (http, https or file); repeat it for mirrors
    #[arg(long, required = true, value_name = "URL")]
    repository: Vec<Repository>,
    /// The repository's root file, from a person you trust
    #[arg(long, value_name = "FILE")]
    root: PathBuf,
    /// The product to run
    #[arg(long)]
    product: Product,
    /// Install this version instead of the newest
    #[arg(long)]
    version: Option<Version>,
    /// Draw the delay before each update from this window
    #[arg(long, default_value = "0s..24h", value_name = "MIN..MAX")]
    delay: Window,
    /// Open a listening socket of the release at another address
    #[arg(long, value_name = "NAME=ADDRESS:PORT", value_parser = listen)]
    listen: Vec<(String, SocketAddr)>,
    /// How often to look for releases
    #[arg(long, value_name = "TIME")]
    check_every: Option<String>,
    /// How long a release is watched in the shadow once it is ready
    #[arg(long, value_name = "TIME")]
    shadow_for: Option<String>,
    /// How long a release is watched after the swap
    #[arg(long, value_name = "TIME")]
    probation_for: Option<String>,
    /// Begin with the state in this directory (not there yet: refused)
    #[arg(long, value_name = "DIR", hide = true)]
    state_from: Option<PathBuf>,
}

fn listen(text: &str) -> Result<(String, SocketAddr), String> {
    let (name, address) = text.split_once('=').ok_or("it is NAME=ADDRESS:PORT")?;
    let address = address.parse().map_err(|_| format!("{address:?} is not ADDRESS:PORT"))?;
    Ok((name.to_owned(), address))
}

impl Args {
    pub(crate) fn run(self, out: Out) -> Result<Exit, Failure> {
        if self.state_from.is_some() {
            return Err(Failure::new(
                Exit::Usage,
                "install --state-from is not there yet: a node begins with an empty state",
            )
            .hint("install without it, stop the node, and copy the state into NODE/state/1"));
        }
        let root = self.root_bytes()?;
        let text = self.config_text();
        let file = self.node.join("countersign-updater.toml");
        let config = Config::from_text(&text, file).map_err(|error| tell::config(&error))?;
        let home = Home::create(&self.node).map_err(|error| tell::home(&error))?;
        pin(&home, &root).map_err(|error| tell::disk(&error))?;

        let spinner = Progress::spinner("verifying the repository");
        let now = Timestamp::now();
        let refreshed =
            trust_store::refresh(&home, &config, now).map_err(|error| tell::trust(&error))?;
        drop(spinner);
        let facts = Facts::of_new(&refreshed.reproduced, self.version.as_ref());
        let choice = policy::choose(&config, &refreshed.releases, facts);
        let approved = approved(choice, &self.product)?;
        let spec = approved.release().node.clone();
        let spec = spec.ok_or_else(|| Failure::new(Exit::Input, "the release is not a node"))?;
        let launch = Launch::new(&spec, &config.listen);
        check_sockets(&config, &spec, &launch)?;

        for (id, text) in &approved.release().actions {
            out.say(format!("{} asks of you: {text} ({id})", approved.release().version));
        }
        let staged = bring(&home, &config, approved)?;
        let generation = begin(&home, staged, launch)?;
        home.finish(&text).map_err(|error| tell::home(&error))?;
        report(out, &home, &config, &generation);
        Ok(Exit::Done)
    }

    fn root_bytes(&self) -> Result<Vec<u8>, Failure> {
        let root = durable::read(&self.root, limit::ROOT)
            .or_fail(Exit::Input, "the root file cannot be used")?
            .ok_or_else(|| {
                let file = self.root.display();
                Failure::new(Exit::Input, format!("there is no root file {file}"))
                    .hint("get it from a person you trust, not from the mirror")
            })?;
        Trust::from_root(&root).map_err(|error| {
            let what = format!("{} is not a valid root", self.root.display());
            Failure::caused(Exit::Untrusted, what, &error)
                .hint("get the root file from a person you trust, not from the mirror")
        })?;
        Ok(root)
    }

    /// The commented configuration of the new node.
    fn config_text(&self) -> String {
        let quote = |text: &dyn ToString| toml_string(&text.to_string());
        let mirrors: Vec<_> = self.repository.iter().map(|r| quote(r)).collect();
        let mut text = format!(
            "# What this node runs, and how it is kept up to date. docs/formats.md says more.\n\
             product = {}\n\
             # Mirrors, asked in this order.\n\
             repositories = [{}]\n\
             # Each update waits for a random time within this window.\n\
             delay = {}\n",
            quote(&self.product),
            mirrors.join(", "),
            quote(&self.delay),
        );
        if let Some(every) = &self.check_every {
            text.push_str(&format!("check-every = {}\n", quote(every)));
        }
        text.push_str("# \"manual\": only `countersign-updater apply` ends a hold-off.\nmode = \"automatic\"\n");
        if !self.listen.is_empty() {
            text.push_str(
                "\n# Addresses of the release's listening sockets on this machine.\n[listen]\n",
            );
        }
        for (name, address) in &self.listen {
            text.push_str(&format!("{} = {}\n", quote(name), quote(address)));
        }
        let memory = doctor::memory_limit_missing();
        if self.shadow_for.is_some() || memory.is_some() {
            text.push_str("\n[shadow]\n");
        }
        if let Some(window) = &self.shadow_for {
            text.push_str(&format!("for = {}\n", quote(window)));
        }
        if let Some(reason) = memory {
            let reason = reason.replace('\n', " ");
            text.push_str(&format!(
                "# This machine cannot bound memory: {reason}\nmemory = \"none\"\n"
            ));
        }
        if let Some(window) = &self.probation_for {
            text.push_str(&format!("\n[probation]\nfor = {}\n", quote(window)));
        }
        text
    }
}

fn toml_string(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// Pins the root. What an unfinished install trusted below another root is forgotten.
fn pin(home: &Home, root: &[u8]) -> Result<(), durable::DiskError> {
    use durable::OnDisk;
    let path = home.pinned_root();
    if durable::read(&path, limit::ROOT)?.is_some_and(|before| before != root) {
        let trust = home.trust();
        for entry in fs::read_dir(&trust).on_disk("read", &trust)? {
            let file = entry.on_disk("read", &trust)?.path();
            fs::remove_file(&file).on_disk("remove", &file)?;
        }
    }
    durable::write(&path, root)
}

fn approved(choice: Choice, product: &Product) -> Result<Approved, Failure> {
    let Choice { approved, decisions, .. } = choice;
    approved.ok_or_else(|| {
        let mut sentence = format!("the repository has no release of {product} for this node");
        for decision in decisions.iter().take(5) {
            sentence.push_str(&format!("\n  {}", explain::sentence(decision)));
        }
        Failure::new(Exit::Verdict, sentence)
            .hint("--version asks for one version; the platform is this machine's")
    })
}

/// The names must be the release's, and the addresses free.
fn check_sockets(config: &Config, spec: &NodeSpec, launch: &Launch) -> Result<(), Failure> {
    if let Some(name) = config.listen.keys().find(|name| !spec.listen.contains_key(*name)) {
        let names: Vec<_> = spec.listen.keys().map(String::as_str).collect();
        return Err(Failure::new(Exit::Usage, format!("the release has no socket {name:?}"))
            .hint(format!("its sockets are: {}", names.join(", "))));
    }
    for (name, address) in &launch.listen {
        TcpListener::bind(address).map_err(|error| {
            Failure::caused(Exit::Host, format!("cannot listen on {address} ({name})"), &error)
                .hint(format!(
                    "stop what uses it, or move the socket: --listen {name}=127.0.0.1:PORT"
                ))
        })?;
    }
    Ok(())
}

fn bring(home: &Home, config: &Config, approved: Approved) -> Result<StagedVersion, Failure> {
    let target = approved.target();
    let bar = Progress::bytes(&target.release().file_name(), target.length());
    let fetched = fetch(home, config, approved, &mut |bytes| bar.add(bytes))
        .map_err(|error| tell::fetch(&error))?;
    bar.now("unpacking");
    // For others only, if the configuration asks for it: this node can do without.
    let _not_kept = shelf::keep(home, config, &fetched);
    stage(home, fetched).map_err(|error| tell::stage(&error))
}

/// The first generation, on an empty state.
fn begin(home: &Home, staged: StagedVersion, launch: Launch) -> Result<Generation, Failure> {
    let state = home.state(1);
    data_dir::make(&state).map_err(|error| tell::disk(&error))?;
    private(&state).or_fail(Exit::Host, "the state directory cannot be made private")?;
    let last = Generation::last_number(home).map_err(|error| tell::generation(&error))?;
    let release = staged.release();
    let areas = release.node.iter().flat_map(|node| &node.areas);
    let generation = Generation {
        number: last + 1,
        product: release.product.clone(),
        version: release.version.clone(),
        binary: *staged.identity(),
        state: 1,
        areas: areas.map(|(area, spec)| (area.clone(), spec.schema)).collect(),
        held: BTreeMap::new(),
        protocol: release.protocol,
        launch,
    };
    generation.write(home).map_err(|error| tell::generation(&error))?;
    switch_to(home, generation.number).map_err(|error| tell::generation(&error))?;
    Ok(generation)
}

fn private(path: &Path) -> std::io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(0o700))
}

fn report(out: Out, home: &Home, config: &Config, generation: &Generation) {
    let node = home.path().display();
    let Generation { product, version, binary, number, .. } = generation;
    out.say(format!(
        "Installed {product} {version} in {node} (generation {number}, artifact {}).",
        binary.short()
    ));
    for (name, address) in &generation.launch.listen {
        out.say(format!("  listens on {address} ({name})"));
    }
    out.say(format!("  updates wait {} before they are swapped in", config.delay));
    if config.shadow.memory.is_none() {
        out.say("  the shadow's memory is not bounded: this machine gives no cgroup (see doctor)");
    }
    out.say("\nNext, each in a terminal or service of its own:");
    out.say(format!("  countersign-updater supervise {node}"));
    out.say(format!("  countersign-updater run {node}"));
    out.say(format!("and to look: countersign-updater status {node}"));
    out.json(&json!({
        "node": home.path(),
        "product": product,
        "version": version,
        "artifact": binary,
        "generation": number,
        "listen": generation.launch.listen.iter().cloned().collect::<BTreeMap<_, _>>(),
        "delay": { "min-ms": config.delay.min.as_millis() as u64, "max-ms": config.delay.max.as_millis() as u64 },
        "check-every": config::duration_text(config.check_every),
    }));
}
