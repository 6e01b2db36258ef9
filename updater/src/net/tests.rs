//! Mirrors that stall, hang up, trickle and never end.

use super::*;
use crate::fixture::mirror::{self, Mischief};

fn hasty() -> Patience {
    let short = Duration::from_millis(300);
    let (connect, total) = (Duration::from_secs(10), Duration::from_mins(1));
    Patience { connect, idle: short, total, trickle: Some(short) }
}

fn serve(mischief: Mischief) -> (tempfile::TempDir, Mirror) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("targets")).unwrap();
    std::fs::write(dir.path().join("targets/a"), "0123456789").unwrap();
    let url = mirror::Mirror::serve(dir.path(), mischief).url;
    (dir, Mirror::with_patience(&url.parse().unwrap(), &Proxy::Direct, hasty()).unwrap())
}

#[test]
fn a_mirror_that_stalls_or_hangs_up_is_cut_off() {
    for mischief in [Mischief::StallAfter(4), Mischief::CutAfter(4)] {
        let (_dir, mirror) = serve(mischief);
        let error = mirror.get("targets/a", 10).unwrap_err();
        assert!(matches!(error, NetError::CutOff { after: 4, .. }), "{error:?}");
        assert!(error.retry());
    }
}

#[test]
fn an_endless_answer_ends_at_the_limit() {
    let (_dir, mirror) = serve(Mischief::Endless);
    let error = mirror.get("targets/a", 1 << 20).unwrap_err();
    assert!(matches!(error, NetError::TooLong { .. }) && !error.retry());
}

#[test]
fn a_slow_trickle_ends_at_the_deadline() {
    let (_dir, mirror) = serve(Mischief::Endless);
    let now = Patience { total: Duration::ZERO, ..hasty() };
    let mirror = Mirror::with_patience(mirror.repository(), &Proxy::Direct, now).unwrap();
    let mut body = mirror.open("targets/a", 0, None, 10).unwrap().unwrap();
    assert!(matches!(body.next(&mut [0; 4]), Err(NetError::TooSlow { after: 0, .. })));
}

#[test]
fn answers_other_than_yes_are_told_apart() {
    let (_dir, mirror) = serve(Mischief::Unavailable);
    assert!(mirror.get("targets/b", 10).unwrap().is_none());
    let error = mirror.get("targets/a", 10).unwrap_err();
    assert!(matches!(error, NetError::Status { status: 503, .. }) && error.retry());
    let nobody = Mirror::new(&"http://127.0.0.1:1/".parse().unwrap()).unwrap();
    assert!(matches!(nobody.get("a", 10), Err(NetError::Unreachable { .. })));
}

#[test]
fn a_web_server_goes_on_from_a_byte_that_was_asked_for() {
    let (_dir, mirror) = serve(Mischief::None);
    let mut body = mirror.open("targets/a", 7, None, 10).unwrap().unwrap();
    let mut rest = [0; 8];
    assert_eq!((body.starts_at(), body.next(&mut rest).unwrap()), (7, 3));
    assert_eq!(&rest[..3], b"789");
}

#[test]
fn addresses_are_http_https_or_directories() {
    for good in ["http://127.0.0.1:8000", "https://example.org/a/b", "file:///media/usb"] {
        let repository: Repository = good.parse().unwrap();
        assert_eq!(repository.to_string(), format!("{good}/"));
        assert_eq!(
            repository.to_string().parse::<Repository>().unwrap().to_string(),
            format!("{good}/")
        );
    }
    for bad in ["", "releases", "/srv", "ftp://x/", "https://me:pw@x/", "http://x/?a=b"] {
        assert!(bad.parse::<Repository>().is_err(), "{bad}");
    }
}

#[test]
fn a_path_never_leaves_the_repository() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a"), "0123456789").unwrap();
    let address = format!("file://{}", dir.path().display());
    let mirror = Mirror::new(&address.parse().unwrap()).unwrap();
    for bad in ["../a", "/etc/passwd", "a//b", "./a", "", "%2e%2E/a", "a/%2e", "a%00", "%", "%+1"] {
        assert!(matches!(mirror.get(bad, 10), Err(NetError::BadPath(_))), "{bad}");
    }
    assert_eq!(mirror.get("a", 10).unwrap().unwrap(), b"0123456789");
    assert!(matches!(mirror.get("a", 9), Err(NetError::TooLong { max: 9, .. })));
    assert!(mirror.get("b", 10).unwrap().is_none());
    let mut body = mirror.open("a", 8, None, 10).unwrap().unwrap();
    let mut rest = [0; 8];
    assert_eq!((body.starts_at(), body.next(&mut rest).unwrap()), (8, 2));
}

#[test]
fn a_directory_that_is_gone_is_unreachable_and_not_empty() {
    let mirror = Mirror::new(&"file:///nowhere-at-all".parse().unwrap()).unwrap();
    let error = mirror.get("metadata/timestamp.json", 10).unwrap_err();
    assert!(matches!(error, NetError::Unreachable { .. }) && error.retry());
}

#[test]
fn a_name_that_holds_a_slash_is_asked_for_as_one_segment() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("metadata")).unwrap();
    let path = "metadata/1...%2Fa%3F%23%25.json";
    std::fs::write(dir.path().join(path), "found").unwrap();
    let web = mirror::Mirror::serve(dir.path(), Mischief::None);
    let directory = format!("file://{}", dir.path().display());
    for address in [&web.url, &directory] {
        let mirror = Mirror::new(&address.parse().unwrap()).unwrap();
        assert_eq!(mirror.get(path, 10).unwrap().unwrap(), b"found", "{address}");
    }
    assert_eq!(*web.asked.lock().unwrap(), [format!("{path}@0")]);
}

#[test]
fn a_trickle_is_given_up_unless_nobody_else_has_it() {
    let (dir, mirror) = serve(Mischief::Trickle);
    std::fs::write(dir.path().join("targets/long"), [7; 60]).unwrap();
    let (idle, trickle) = (Duration::from_secs(20), Some(Duration::from_millis(100)));
    let patience = Patience { idle, trickle, ..hasty() };
    let mirror = Mirror::with_patience(mirror.repository(), &Proxy::Direct, patience).unwrap();
    let error = mirror.get("targets/long", 60).unwrap_err();
    assert!(matches!(error, NetError::TooSlow { .. }) && error.retry(), "{error}");
    assert_eq!(mirror.patient().get("targets/long", 60).unwrap().unwrap(), [7; 60]);
}

#[test]
fn another_range_than_the_one_asked_for_is_not_taken() {
    let (_dir, mirror) = serve(Mischief::OtherRange);
    let Err(error) = mirror.open("targets/a", 7, None, 10) else { panic!("it was taken") };
    assert!(matches!(error, NetError::OtherRange { from: 7, .. }), "{error}");
}

#[test]
fn a_refusal_tells_how_long_to_stay_away() {
    let refuse = |retry_after| Mischief::Refuse { status: 429, retry_after, all: true };
    for retry_after in [Some(90), None] {
        let (_dir, mirror) = serve(refuse(retry_after));
        let error = mirror.get("metadata/timestamp.json", 10).unwrap_err();
        let NetError::Status { status: 429, retry_after: told, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(told, retry_after.map(Duration::from_secs));
    }
}

#[test]
fn proxies_are_addresses_without_passwords() {
    assert_eq!("none".parse::<Proxy>().unwrap(), Proxy::Direct);
    for good in ["http://proxy:3128", "https://127.0.0.1:1/"] {
        assert!(matches!(good.parse().unwrap(), Proxy::Through(_)), "{good}");
    }
    for bad in ["", "proxy:3128", "ftp://proxy/", "socks5://proxy", "http://me:secret@proxy/"] {
        let error = bad.parse::<Proxy>().unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }
}
