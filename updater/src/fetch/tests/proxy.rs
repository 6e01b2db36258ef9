//! Through a real proxy, which alone knows where the mirror is.

use super::*;
use crate::fixture::proxy::Proxy;

#[test]
fn a_mirror_behind_the_operators_proxy_is_asked_through_it_and_one_on_this_machine_is_not() {
    let bench = bench();
    let good = bench.mirror(Mischief::None);
    let proxy = Proxy::to(&good.url);
    let more = format!("[fetch]\nproxy = \"{}\"", proxy.url);
    let fetch = |url: &str| {
        let config = config(&[url], &more);
        fetch(&bench.home, &config, bench.approved.clone(), &mut |_| {})
    };
    let path = fetch("http://mirror.test/").unwrap().path;
    let target = bench.approved.target();
    let line = format!("GET http://mirror.test/{} HTTP/1.1", target.served_at());
    assert_eq!(*proxy.asked.lock().unwrap(), [line]);
    fs::remove_file(&path).unwrap();
    fetch(&good.url).unwrap();
    assert_eq!(proxy.asked.lock().unwrap().len(), 1);
    fs::remove_file(&path).unwrap();
    // A tunnel for HTTPS: the proxy learns the host and nothing else.
    fetch("https://mirror.test/").unwrap_err();
    let asked = proxy.asked.lock().unwrap().clone();
    assert_eq!(asked.last().unwrap(), "CONNECT mirror.test:443 HTTP/1.1");
}

#[test]
fn a_proxy_that_is_down_is_a_mirror_that_cannot_be_reached() {
    let bench = bench();
    let config = config(&["http://mirror.test/"], "[fetch]\nproxy = \"http://127.0.0.1:1\"");
    let error = fetch(&bench.home, &config, bench.approved.clone(), &mut |_| {}).unwrap_err();
    assert!(error.retry() && error.to_string().contains("cannot be reached"), "{error}");
}
