//! Publishing to an S3-compatible store: `moto_server`, started by the test.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use countersign_metadata::layout;
use countersign_metadata::trust::{Source, SourceError, Trust};
use jiff::Timestamp;
use serde_json::Value;

use crate::site::{PROGRAM, Run, Site};

pub(crate) const BUCKET: &str = "/releases";

/// An object store of its own for one test.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
    log: std::path::PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Server {
    pub(crate) fn start(site: &Site) -> Self {
        let program = std::env::var("MOTO_SERVER").unwrap_or_else(|_| "moto_server".to_owned());
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let log = site.path("moto.log");
        let child = Command::new(&program)
            .args(["-H", "127.0.0.1", "-p", &free.port().to_string()])
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn();
        let missing = |error| {
            format!(
                "this test needs an object store, and {program} cannot be run ({error}): .ci/install \
                 installs it, or set MOTO_SERVER to the path of moto's moto_server"
            )
        };
        let child = child.map_err(missing).unwrap();
        let this = Self { child, address: free.to_string(), log };
        let deadline = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(&this.address).is_err() {
            assert!(Instant::now() < deadline, "moto_server does not listen");
            std::thread::yield_now();
        }
        let (status, _) = this.request("PUT", BUCKET);
        assert_eq!(status, 200);
        this
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> (u16, Vec<u8>) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let host = &self.address;
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n");
        // Whose it is, this server does not check; a bucket on the web would be readable by all.
        let head = format!("{head}Authorization: AWS reader:x\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let head = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
        let status = String::from_utf8_lossy(&answer[9..12]).parse().unwrap();
        (status, answer[head + 4..].to_vec())
    }

    /// Paths that were put, in their order.
    fn puts(&self) -> Vec<String> {
        let log = fs::read_to_string(&self.log).unwrap();
        let paths = log.lines().filter_map(|line| line.split_once("\"PUT ")?.1.split('?').next());
        paths.filter_map(|p| Some(p.strip_prefix("/releases/")?.to_owned())).collect()
    }

    fn run(&self, site: &Site, arguments: &[&str]) -> Run {
        self.run_at(site, arguments, "tree", &self.address)
    }

    /// A run that publishes below a prefix, by way of an address.
    pub(crate) fn command(
        &self,
        site: &Site,
        arguments: &[&str],
        prefix: &str,
        address: &str,
    ) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .args(arguments)
            .args(["--to", &format!("s3:/{BUCKET}/{prefix}")])
            .args(["--endpoint", &format!("http://{address}"), "--json"])
            .env("AWS_ACCESS_KEY_ID", "an-id")
            .env("AWS_SECRET_ACCESS_KEY", "a-secret")
            .current_dir(site.dir.path());
        command
    }

    pub(crate) fn run_at(
        &self,
        site: &Site,
        arguments: &[&str],
        prefix: &str,
        address: &str,
    ) -> Run {
        let output = self.command(site, arguments, prefix, address).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(!text.contains("a-secret") && !text.contains("X-Amz"), "{text}");
        let json: Value = serde_json::from_str(&text).unwrap();
        Run { code: output.status.code().unwrap(), json }
    }

    fn client(&self, site: &Site) -> usize {
        self.client_at(site, "tree")
    }

    /// How many releases a fresh client sees below a prefix, each with its file.
    pub(crate) fn client_at(&self, site: &Site, prefix: &str) -> usize {
        let root = fs::read(site.path("REPO/public/metadata/1.root.json")).unwrap();
        let mut trust = Trust::from_root(&root).unwrap();
        let mut source = Objects(self, prefix.to_owned());
        trust.refresh(Timestamp::now(), &mut source).unwrap();
        let product = "demo".parse().unwrap();
        let releases = trust.releases(&product, Timestamp::now(), &mut source).unwrap();
        for target in &releases.verified {
            let path = format!("{BUCKET}/{prefix}/{}", target.served_at());
            let (status, bytes) = self.request("GET", &path);
            assert_eq!((status, bytes.len() as u64), (200, target.length()));
        }
        releases.verified.len()
    }
}

struct Objects<'a>(&'a Server, String);

impl Source for Objects<'_> {
    fn fetch(&mut self, path: &str, _: u64) -> Result<Option<Vec<u8>>, SourceError> {
        let (status, bytes) = self.0.request("GET", &format!("{BUCKET}/{}/{path}", self.1));
        assert!(matches!(status, 200 | 404), "{status}");
        Ok((status == 200).then_some(bytes))
    }
}

#[test]
fn a_repository_is_published_to_an_object_store_with_the_timestamp_last() {
    let site = Site::new();
    let server = Server::start(&site);
    site.init();
    site.sign("0001-init", &[1, 2]);
    let signer = Site::signer(9);
    let publish = ["publish", "--repo", "REPO", "--signer", &signer];
    let run = server.run(&site, &publish);
    assert_eq!(run.code, 0, "{}", run.json);
    assert_eq!(server.client(&site), 0);

    site.build("OUT", "1.0.0");
    site.draft("OUT");
    site.sign("0002-demo-1.0.0-linux-x86_64", &[1, 2]);
    let before = server.puts().len();
    let run = server.run(&site, &publish);
    assert_eq!(run.code, 0, "{}", run.json);
    assert_eq!(server.client(&site), 1);
    let puts = server.puts().split_off(before);
    assert_eq!(puts.last().unwrap(), "tree/metadata/timestamp.json");
    assert_eq!(puts.iter().filter(|p| p.ends_with("timestamp.json")).count(), 1);
    let copied = run.json["copied"].as_u64().unwrap();
    assert!(puts.len() as u64 == copied && puts.len() > 6, "{copied}: {puts:#?}");
    assert_eq!(run.json["guarded"], true);
    assert!(!puts.iter().any(|p| p.ends_with("1.targets.json")), "what is there is not put again");

    // An object that is missing or torn is put again by the next run.
    let torn = format!("{BUCKET}/tree/{}", layout::metadata("demo", 2));
    assert_eq!(server.request("DELETE", &torn).0, 204);
    let run = server.run(&site, &["publish", "--repo", "REPO", "2", "--signer", &signer]);
    assert_eq!((run.code, &run.json["copied"]), (0, &1.into()), "{}", run.json);
    assert_eq!(server.client(&site), 1);

    // A directory that was restored from a backup does not roll the store back.
    let timestamp = site.path("REPO/public").join(layout::TIMESTAMP);
    let old = fs::read(&timestamp).unwrap();
    let refresh = ["refresh", "--repo", "REPO", "--signer", &signer];
    assert_eq!(server.run(&site, &refresh).code, 0);
    fs::write(&timestamp, old).unwrap();
    let run = server.run(&site, &["publish", "--repo", "REPO", "2", "--signer", &signer]);
    assert_eq!(run.code, 1, "{}", run.json);
    assert_eq!(server.client(&site), 1);
}

#[test]
fn an_object_store_that_says_no_is_told_without_secrets_and_finished_later() {
    let site = Site::new();
    let server = Server::start(&site);
    site.init();
    site.sign("0001-init", &[1, 2]);
    let signer = Site::signer(9);
    let publish = ["publish", "--repo", "REPO", "1", "--signer", &signer];
    assert_eq!(server.request("DELETE", BUCKET).0, 204);
    let run = server.run(&site, &publish);
    assert_eq!(run.code, 5, "{}", run.json);
    assert!(site.client().is_ok(), "the directory is published all the same");
    assert_eq!(server.request("PUT", BUCKET).0, 200);
    let run = server.run(&site, &publish);
    assert_eq!((run.code, &run.json["published"]), (0, &"before".into()));
    assert_eq!(server.client(&site), 0);

    let endpoint = format!("http://{}", server.address);
    let without = [&publish[..], &["--to", "s3://releases", "--endpoint", &endpoint]].concat();
    let run = site.run(&without);
    assert_eq!(run.code, 4, "no credentials: {}", run.json);
    assert_eq!(
        site.raw(&[&publish[..], &["--to", "s3://releases"]].concat()).status.code(),
        Some(2)
    );
}
