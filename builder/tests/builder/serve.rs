//! A web server of files on loopback, and the registries that one can be.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use aws_lc_rs::digest;
use base64::Engine as _;
use countersign_metadata::Sha256;
use serde_json::json;

type Files = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

/// Serves files until the test ends.
pub(crate) struct Server {
    base: String,
    files: Files,
    dir: tempfile::TempDir,
}

impl Server {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let files = Files::default();
        let shared = Arc::clone(&files);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let files = Arc::clone(&shared);
                std::thread::spawn(move || answer(stream, &files));
            }
        });
        Self { base, files, dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn put(&self, path: &str, bytes: impl Into<Vec<u8>>) -> String {
        self.files.lock().unwrap().insert(path.to_owned(), bytes.into());
        format!("{}{path}", self.base)
    }

    pub(crate) fn host(&self) -> &str {
        self.base.strip_prefix("http://").unwrap()
    }

    /// An npm package that exports a text; its integrity.
    pub(crate) fn npm(&self, name: &str, version: &str, text: &str) -> String {
        let manifest = json!({ "name": name, "version": version, "main": "index.js" });
        let archive = targz(&[
            ("package/package.json", &manifest.to_string()),
            ("package/index.js", &format!("module.exports = {text:?}\n")),
        ]);
        self.npm_archive(name, version, archive)
    }

    /// This machine's npm, as the registry would have it; its version.
    pub(crate) fn npm_itself(&self) -> String {
        let said = |arguments: &[&str]| {
            let output = Command::new("npm").args(arguments).output().unwrap();
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        };
        let version = said(&["--version"]);
        let root = said(&["root", "--global"]);
        let packed = Command::new("tar")
            .args([
                "-czhf",
                "-",
                "--mode=u+w,-s",
                "--transform=s,^npm,package,",
                "-C",
                &root,
                "npm",
            ])
            .output()
            .unwrap();
        assert!(packed.status.success());
        self.npm_archive("npm", &version, packed.stdout);
        version
    }

    pub(crate) fn npm_archive(&self, name: &str, version: &str, archive: Vec<u8>) -> String {
        let integrity = integrity(&archive);
        let last = name.rsplit('/').next().unwrap();
        let tarball = self.put(&format!("/{name}/-/{last}-{version}.tgz"), archive);
        let page = json!({ "name": name, "dist-tags": { "latest": version }, "versions": { version: {
            "name": name, "version": version, "dist": { "tarball": tarball, "integrity": integrity },
        } } });
        self.put(&format!("/{}", name.replace('/', "%2f")), page.to_string());
        integrity
    }

    /// A file of a Python package; its digest.
    pub(crate) fn pypi(&self, name: &str, file: &str, bytes: Vec<u8>) -> Sha256 {
        let sha256 = Sha256::of(&bytes);
        self.put(&format!("/files/{file}"), bytes);
        let page = json!({ "meta": { "api-version": "1.0" }, "name": name, "files": [
            { "filename": file, "url": format!("../../files/{file}"), "hashes": { "sha256": sha256 } },
        ] });
        // Sources as a page of links, wheels as JSON: both are spoken.
        if !file.ends_with(".whl") {
            let link = format!("<a href=\"../../files/{file}#sha256={sha256}\">{file}</a><br/>");
            self.put(&format!("/simple/{name}/"), format!("<!DOCTYPE html>\n{link}\n"));
            return sha256;
        }
        self.put(&format!("/simple/{name}/"), page.to_string());
        sha256
    }

    /// A crate of one function; cargo's configuration for it, as a home of its own.
    pub(crate) fn krate(&self, name: &str, version: &str, files: &[(&str, &str)]) -> PathBuf {
        let manifest =
            format!("[package]\nname = \"{name}\"\nversion = \"{version}\"\nedition = \"2021\"\n");
        let top = format!("{name}-{version}");
        let mut all = vec![(format!("{top}/Cargo.toml"), manifest)];
        all.extend(files.iter().map(|(n, t)| (format!("{top}/{n}"), (*t).to_owned())));
        let all: Vec<(&str, &str)> = all.iter().map(|(n, t)| (&**n, &**t)).collect();
        let archive = targz(&all);
        let line = json!({ "name": name, "vers": version, "deps": [], "features": {}, "yanked": false,
                           "cksum": Sha256::of(&archive) });
        let place = format!("/index/{}/{}/{name}", &name[..2], &name[2..4]);
        self.put(&place, format!("{line}\n"));
        self.put(&format!("/dl/{name}/{version}/download"), archive);
        self.put("/index/config.json", json!({ "dl": format!("{}/dl", self.base) }).to_string());
        let home = self.dir.path().join("cargo");
        std::fs::create_dir_all(&home).unwrap();
        let config = format!(
            "[source.crates-io]\nreplace-with = \"here\"\n[source.here]\nregistry = \"sparse+{}/index/\"\n",
            self.base
        );
        std::fs::write(home.join("config.toml"), config).unwrap();
        home
    }

    /// The variables that make this machine's clients ask here.
    pub(crate) fn clients(&self) -> Vec<(String, String)> {
        let dir = self.dir.path();
        let at = |name: &str| dir.join(name).display().to_string();
        std::fs::write(dir.join("sources.list"), format!("deb {} stable main\n", self.base))
            .unwrap();
        let apt = format!(
            "Dir::Etc::sourcelist \"{}\";\nDir::Etc::sourceparts \"/dev/null\";\n",
            at("sources.list")
        );
        std::fs::write(dir.join("apt.conf"), apt).unwrap();
        [
            ("npm_config_registry", format!("{}/", self.base)),
            ("npm_config_cache", at("npm-cache")),
            ("PIP_INDEX_URL", format!("{}/simple", self.base)),
            ("CARGO_HOME", at("cargo")),
            ("APT_CONFIG", at("apt.conf")),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}

fn answer(stream: TcpStream, files: &Files) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut request = String::new();
    let _hung_up = reader.read_line(&mut request);
    let mut header = String::new();
    while reader.read_line(&mut header).is_ok_and(|n| n > 2) {
        header.clear();
    }
    let path = request.split(' ').nth(1).unwrap_or_default();
    let path = path.replace("%2F", "%2f").replace("%40", "@");
    let found = files.lock().unwrap().get(&path).cloned();
    let (status, bytes) = match found {
        Some(bytes) => ("200 OK", bytes),
        None => ("404 Not Found", Vec::new()),
    };
    let mut stream = stream;
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n",
        bytes.len()
    );
    let _hung_up = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&bytes));
}

pub(crate) fn integrity(bytes: &[u8]) -> String {
    let sha512 = digest::digest(&digest::SHA512, bytes);
    let text = base64::engine::general_purpose::STANDARD.encode(sha512.as_ref());
    format!("sha512-{text}")
}

pub(crate) fn tar(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, text) in files {
        let mut header = tar::Header::new_ustar();
        header.set_path(name).unwrap();
        header.set_size(text.len() as u64);
        header.set_mode(if name.ends_with("configure") { 0o755 } else { 0o644 });
        header.set_cksum();
        builder.append(&header, text.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

pub(crate) fn targz(files: &[(&str, &str)]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&tar(files)).unwrap();
    gzip.finish().unwrap()
}

pub(crate) fn zip(files: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, text) in files {
        writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(text.as_bytes()).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// What a stock program makes of bytes.
pub(crate) fn piped(program: &str, arguments: &[&str], bytes: &[u8]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in");
    std::fs::write(&path, bytes).unwrap();
    let file = std::fs::File::open(&path).unwrap();
    let output = Command::new(program).args(arguments).stdin(file).output().unwrap();
    assert!(output.status.success(), "{program}");
    output.stdout
}

/// Runs git in a directory.
pub(crate) fn git(dir: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=t", "-c", "user.email=t@example.org", "-C"])
        .arg(dir)
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
