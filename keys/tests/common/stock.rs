//! Stock programs of other houses, each found or asked for by the name of its package.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::program::{Desk, Ended, run};

/// Runs a stock program on the desk.
pub(crate) fn stock(desk: &Desk, words: &str, input: &[u8]) -> Ended {
    let words: Vec<_> = words.split(' ').collect();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).current_dir(desk.path("")).envs(desk.environment());
    installed(words[0]);
    run(&mut command, input)
}

/// Fails with a clear sentence where a program is missing.
fn installed(program: &str) {
    let package = match program {
        "minisign" => "minisign",
        "signify-openbsd" => "signify-openbsd",
        "openssl" => "openssl",
        "softhsm2-util" => "softhsm2",
        "pkcs11-tool" => "opensc",
        "ssh-agent" | "ssh-add" | "ssh-keygen" => "openssh-client",
        other => panic!("no test uses {other}"),
    };
    #[expect(clippy::disallowed_methods, reason = "the search path is no secret")]
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    assert!(found, "this test needs the program {program}: apt-get install {package}");
}

/// A public key in PEM, and the secret in `NAME.pem`.
pub(crate) fn openssl_key(desk: &Desk, name: &str, algorithm: &str) {
    stock(desk, &format!("openssl genpkey -algorithm {algorithm} -out {name}.pem"), b"").done();
    super::program::mode(&desk.path(&format!("{name}.pem")), 0o600);
    stock(desk, &format!("openssl pkey -in {name}.pem -pubout -out {name}.public"), b"").done();
}

/// `openssl genpkey` for P-256.
pub(crate) const P256: &str = "EC -pkeyopt ec_paramgen_curve:P-256";

/// An SSH agent with a key of its own: `NAME`, `NAME.pub`.
pub(crate) struct Agent(Child);

impl Agent {
    pub(crate) fn start(desk: &mut Desk, name: &str, kind: &str) -> Self {
        let socket = desk.path("agent.socket");
        installed("ssh-agent");
        let mut agent = Command::new("ssh-agent");
        let agent = agent.arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).spawn().unwrap();
        let agent = Self(agent);
        desk.set("SSH_AUTH_SOCK", &socket);
        let deadline = Instant::now() + Duration::from_secs(30);
        while !socket.exists() {
            assert!(Instant::now() < deadline, "the agent does not listen");
            std::thread::yield_now();
        }
        stock(desk, &format!("ssh-keygen -q -t {kind} -N  -C {name}@desk -f {name}"), b"").done();
        stock(desk, &format!("ssh-add -q {name}"), b"").done();
        // From here on only the agent has it.
        std::fs::remove_file(desk.path(name)).unwrap();
        agent
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _gone_already = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// The PIN of every token here, and the name of the file that holds it.
pub(crate) const PIN: &str = "7654321";

/// A token "desk" in SoftHSM. Gives the library's path; the PIN lies in the file `pin`.
pub(crate) fn token(desk: &mut Desk) -> PathBuf {
    installed("softhsm2-util");
    let arch = format!("/usr/lib/{}-linux-gnu/softhsm/libsofthsm2.so", std::env::consts::ARCH);
    let library = ["/usr/lib/softhsm/libsofthsm2.so", &arch].map(PathBuf::from);
    let library = library.into_iter().find(|path| path.exists());
    let library = library.expect("SoftHSM's library is where Debian puts it");
    std::fs::create_dir(desk.path("tokens")).unwrap();
    let config = format!("directories.tokendir = {}\n", desk.path("tokens").display());
    let config = desk.put("softhsm2.conf", config);
    desk.set("SOFTHSM2_CONF", &config);
    super::program::mode(&desk.put("pin", PIN), 0o600);
    let init =
        format!("softhsm2-util --init-token --free --label desk --so-pin 1234567 --pin {PIN}");
    stock(desk, &init, b"").done();
    library
}

/// Makes a key in the token, of the kind that pkcs11-tool calls `kind`, and `NAME.public` (DER).
pub(crate) fn token_key(desk: &Desk, library: &std::path::Path, name: &str, kind: &str, id: u8) {
    let tool = format!("pkcs11-tool --module {} --token-label desk", library.display());
    let make = format!(
        "{tool} --login --pin {PIN} --keypairgen --key-type {kind} --label {name} --id {id:02x}"
    );
    stock(desk, &make, b"").done();
    let read = format!("{tool} --read-object --type pubkey --id {id:02x} -o {name}.public");
    stock(desk, &read, b"").done();
}
