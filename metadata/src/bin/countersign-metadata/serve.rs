//! `serve`: a small static server with ranges, for tests and small sites. The runtime lives in this file alone.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::task::Poll;
use std::time::Duration;

use countersign_console::{Exit, Failure, Hint, Out};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tower_http::services::ServeDir;

use crate::repository::Repository;

/// Serve a repository over HTTP until TERM or INT
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Directory to serve
    #[arg(required_unless_present = "repo")]
    dir: Option<PathBuf>,
    /// Work directory of a repository, to serve what it publishes
    #[arg(long, conflicts_with = "dir")]
    repo: Option<PathBuf>,
    /// Address to listen on; port 0 takes any free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8000")]
    listen: SocketAddr,
}

impl Args {
    pub(crate) fn run(self, out: Out) -> Result<Exit, Failure> {
        let dir = match (self.dir, self.repo) {
            (Some(dir), _) => dir,
            (None, Some(repo)) => Repository::open(&repo)?.public(),
            (None, None) => return Err(Failure::new(Exit::Usage, "there is nothing to serve")),
        };
        if !dir.is_dir() {
            return Err(Failure::new(Exit::Input, format!("{} is no directory", dir.display())));
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .or_fail(Exit::Host, "cannot start the server")?;
        let ended = runtime.block_on(serve(dir, self.listen, out));
        // A slow reader does not hold the end up.
        runtime.shutdown_timeout(Duration::from_secs(1));
        ended
    }
}

async fn serve(dir: PathBuf, listen: SocketAddr, out: Out) -> Result<Exit, Failure> {
    let listener = TcpListener::bind(listen).await.map_err(|error| {
        Failure::caused(Exit::Host, format!("cannot listen on {listen}"), &error)
            .hint("choose another address with --listen; port 0 takes any free one")
    })?;
    let address = listener.local_addr().or_fail(Exit::Host, "cannot listen")?;
    let what = "cannot wait for signals";
    let mut signals = [
        signal(SignalKind::terminate()).or_fail(Exit::Host, what)?,
        signal(SignalKind::interrupt()).or_fail(Exit::Host, what)?,
    ];
    let router = axum::Router::new().fallback_service(ServeDir::new(&dir));
    tokio::spawn(async move { axum::serve(listener, router).await });
    out.say(format!("Serving {} at http://{address}", dir.display()));
    out.json(&json!({ "dir": dir, "url": format!("http://{address}") }));
    poll_fn(|context| {
        let came = signals.iter_mut().any(|signal| signal.poll_recv(context).is_ready());
        if came { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    Ok(Exit::Done)
}
