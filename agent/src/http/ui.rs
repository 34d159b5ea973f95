//! The web UI: a single page in the binary, or the operator's own files from `ui_config.dir`.
//!
//! The page reads nothing but the public API, so that it shows what its token may see. Its links
//! are relative: it works below any `ui_config.content_path` and behind a proxy that adds a prefix.

use super::Head;
use super::answer::{HTML, Payload, Reply, TEXT};
use super::options::unescape;
use crate::agent::Shared;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use sha2::{Digest, Sha256};
use std::io::{ErrorKind, Read};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

const INDEX: &str = include_str!("../../ui/index.html");

/// The built-in files beside the page.
const FILES: &[(&str, &[u8])] = &[
    ("app.js", include_bytes!("../../ui/app.js")),
    ("style.css", include_bytes!("../../ui/style.css")),
    ("icon.svg", include_bytes!("../../ui/icon.svg")),
];

/// The page's mark for the way from the document to the UI's own files.
const BASE_MARK: &str = "<base href=\"./\">";
/// The page's mark for the way from the UI's files to the root of the API.
const ROOT_MARK: &str = "data-root=\"../\"";

/// What the built-in page may do: its own scripts and styles, requests to its own agent, no frame
/// around it, no text turned into markup.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; base-uri 'self'; form-action 'none'; frame-ancestors 'none'; object-src 'none'; \
     require-trusted-types-for 'script'",
);

/// A file of `ui_config.dir` is read whole; larger ones are no part of a web page.
const FILE_MAX: u64 = 32 << 20;

/// Answers a request for the UI; `None` when the UI is off or the path is not below its own.
pub async fn answer(shared: &Arc<Shared>, head: &Head) -> Option<Reply> {
    let config = shared.config();
    let ui = &config.ui;
    let path = head.uri.path();
    // A directory to serve turns the UI on by itself, as in Consul.
    if !(ui.enabled || ui.dir.is_some()) || !is_below(&ui.content_path, path) {
        return None;
    }
    if head.method != Method::GET && head.method != Method::HEAD {
        let text = format!("method {} not allowed", head.method);
        let reply = Reply::text(StatusCode::METHOD_NOT_ALLOWED, text);
        return Some(reply.with(header::ALLOW, HeaderValue::from_static("GET,HEAD")));
    }
    let reply = if ui.dir.is_some() {
        let (config, path) = (config.clone(), path.to_owned());
        let read = move || {
            page(
                &config.ui.content_path,
                &path,
                config.ui.dir.as_deref().map(Path::new),
            )
        };
        let broken = |_| {
            Some(Reply::text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the file could not be read",
            ))
        };
        tokio::task::spawn_blocking(read)
            .await
            .unwrap_or_else(broken)?
    } else {
        page(&ui.content_path, path, None)?
    };
    Some(revalidate(reply, &head.headers))
}

/// The answer for `path` (as it came, percent-encoded) with the UI at `content_path` (with `/` at
/// both ends): a file, or the page itself for a path without one, since the page has views and not
/// files. `None` when the path is not the UI's. With `dir` it reads from disk.
pub fn page(content_path: &str, path: &str, dir: Option<&Path>) -> Option<Reply> {
    if !is_below(content_path, path) {
        return None;
    }
    let Some(rest) = path.strip_prefix(content_path) else {
        return Some(match HeaderValue::from_str(content_path) {
            Ok(to) => {
                Reply::bare(StatusCode::MOVED_PERMANENTLY, Bytes::new()).with(header::LOCATION, to)
            }
            Err(_) => not_found("not a path"),
        });
    };
    let Some(name) = unescape(rest, false) else {
        return Some(Reply::text(StatusCode::BAD_REQUEST, "400 Bad Request"));
    };
    Some(match dir {
        Some(dir) => from_dir(dir, content_path, rest, &name),
        None => match FILES.iter().find(|(file, _)| *file == name) {
            Some((file, body)) => found(Bytes::from_static(body), content_type(file)),
            None => found(placed(INDEX, content_path, rest), HTML),
        }
        .with(header::CONTENT_SECURITY_POLICY, POLICY)
        .with(
            header::REFERRER_POLICY,
            HeaderValue::from_static("no-referrer"),
        ),
    })
}

/// Whether the UI answers this path. Without a path of its own it leaves the API's alone.
fn is_below(content_path: &str, path: &str) -> bool {
    if content_path == "/" {
        return path != "/v1" && !path.starts_with("/v1/");
    }
    path.starts_with(content_path) || content_path.strip_suffix('/') == Some(path)
}

/// The page with its relative links set for a document that is `rest` below `content_path`.
fn placed(index: &str, content_path: &str, rest: &str) -> Bytes {
    let base = format!(
        "<base href=\"./{}\">",
        "../".repeat(rest.matches('/').count())
    );
    let depth = content_path.matches('/').count().saturating_sub(1);
    let root = format!("data-root=\"./{}\"", "../".repeat(depth));
    Bytes::from(
        index
            .replacen(BASE_MARK, &base, 1)
            .replacen(ROOT_MARK, &root, 1),
    )
}

fn found(body: Bytes, kind: HeaderValue) -> Reply {
    let digest = Sha256::digest(&body);
    // Weak, since the same tag also stands for the compressed body.
    let tag = digest[..12]
        .iter()
        .fold(String::from("W/\""), |tag, byte| format!("{tag}{byte:02x}"))
        + "\"";
    let reply = Reply::bare(StatusCode::OK, body)
        .with(header::CONTENT_TYPE, kind)
        .with(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"))
        .with(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
    match HeaderValue::from_str(&tag) {
        Ok(tag) => reply.with(header::ETAG, tag),
        Err(_) => reply,
    }
}

fn not_found(text: &'static str) -> Reply {
    Reply::text(StatusCode::NOT_FOUND, text).with(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    )
}

/// The operator's file `name`, else their `index.html`. Nothing outside `dir` is read, whether by
/// `..`, by an absolute path or by a symbolic link. Their page gets no content security policy of
/// ours: it may need scripts that ours would stop; `http_config.response_headers` can set one.
fn from_dir(dir: &Path, content_path: &str, rest: &str, name: &str) -> Reply {
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    if name.contains(['\\', '\0'])
        || name.starts_with('/')
        || !Path::new(name).components().all(plain)
    {
        return not_found("no such file");
    }
    let Ok(dir) = dir.canonicalize() else {
        return not_found(
            "ui_config.dir cannot be read: check that it exists and that the agent may open it",
        );
    };
    let file = match within(&dir, name) {
        Within::File(path) if !name.is_empty() => Some(path),
        Within::Outside => return not_found("no such file"),
        _ => None,
    };
    let (path, is_index) = match file {
        Some(path) => (path, name == "index.html"),
        None => match within(&dir, "index.html") {
            Within::File(path) => (path, true),
            _ => return not_found("ui_config.dir has no index.html"),
        },
    };
    let Some(body) = read(&path) else {
        return not_found("the file cannot be read, or is too large for a web page");
    };
    if is_index && let Ok(text) = std::str::from_utf8(&body) {
        return found(placed(text, content_path, rest), HTML);
    }
    found(Bytes::from(body), content_type(name))
}

enum Within {
    File(PathBuf),
    Outside,
    Missing,
}

/// Where `name` is once its links are followed; `dir` is canonical.
fn within(dir: &Path, name: &str) -> Within {
    match dir.join(name).canonicalize() {
        Ok(path) if !path.starts_with(dir) => Within::Outside,
        // Only a file is opened: a pipe would hold the reader.
        Ok(path) if path.is_file() => Within::File(path),
        Ok(_) => Within::Missing,
        // A file with a path below it, or no such file: no file of the page, so a view of it.
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Within::Missing
        }
        Err(_) => Within::Outside,
    }
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    let read = std::fs::File::open(path)
        .ok()?
        .take(FILE_MAX + 1)
        .read_to_end(&mut body)
        .ok()?;
    (read as u64 <= FILE_MAX).then_some(body)
}

fn content_type(name: &str) -> HeaderValue {
    let extension = name
        .rsplit_once('.')
        .map_or("", |(_, e)| e)
        .to_ascii_lowercase();
    HeaderValue::from_static(match extension.as_str() {
        "html" | "htm" => return HTML,
        "txt" => return TEXT,
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        "woff" => "font/woff",
        "woff2" => "font/woff2",
        "wasm" => "application/wasm",
        _ => "application/octet-stream",
    })
}

/// 304 when the client has this body already: RFC 9110, section 13.1.2.
fn revalidate(reply: Reply, asked: &HeaderMap) -> Reply {
    let Some(tag) = reply
        .headers
        .get(header::ETAG)
        .and_then(|v| v.to_str().ok())
    else {
        return reply;
    };
    let bare = tag.trim_start_matches("W/");
    let same = |known: &str| known == "*" || known.trim_start_matches("W/") == bare;
    let mut known = asked
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','));
    if !known.any(|k| same(k.trim())) {
        return reply;
    }
    let mut reply = reply.status(StatusCode::NOT_MODIFIED);
    reply.headers.remove(header::CONTENT_TYPE);
    reply.body = Payload::Whole(Bytes::new());
    reply
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn text(reply: &Reply) -> String {
        match &reply.body {
            Payload::Whole(body) => String::from_utf8_lossy(body).into_owned(),
            Payload::Shared(_) | Payload::Stream(_) => unreachable!("the UI has neither"),
        }
    }

    fn header_of<'r>(reply: &'r Reply, name: &str) -> &'r str {
        reply.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    /// A directory of its own for a test, removed at its end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new() -> Scratch {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let unique = format!(
                "lictor-ui-{}-{}",
                std::process::id(),
                COUNT.fetch_add(1, Ordering::Relaxed)
            );
            let path = std::env::temp_dir().join(unique);
            std::fs::create_dir_all(path.join("www/assets")).unwrap();
            std::fs::write(path.join("secret.txt"), "secret").unwrap();
            std::fs::write(path.join("www/index.html"), "<base href=\"./\">own").unwrap();
            std::fs::write(path.join("www/assets/a b.css"), "css").unwrap();
            Scratch(path)
        }

        fn www(&self) -> PathBuf {
            self.0.join("www")
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn files_and_views_below_the_path() {
        for (path, kind) in [
            ("/ui/", "text/html; charset=utf-8"),
            ("/ui/index.html", "text/html; charset=utf-8"),
            ("/ui/dc1/services/web", "text/html; charset=utf-8"),
            ("/ui/app.js", "text/javascript; charset=utf-8"),
            ("/ui/style.css", "text/css; charset=utf-8"),
            ("/ui/icon.svg", "image/svg+xml"),
        ] {
            let reply = page("/ui/", path, None).unwrap();
            assert_eq!(reply.status, StatusCode::OK, "{path}");
            assert_eq!(header_of(&reply, "content-type"), kind, "{path}");
            assert_eq!(
                header_of(&reply, "x-content-type-options"),
                "nosniff",
                "{path}"
            );
            assert_eq!(header_of(&reply, "cache-control"), "no-cache", "{path}");
            assert!(
                header_of(&reply, "content-security-policy").starts_with("default-src 'self';"),
                "{path}"
            );
            assert!(header_of(&reply, "etag").starts_with("W/\""), "{path}");
        }
    }

    #[test]
    fn other_paths_are_not_the_uis() {
        for path in ["/", "/v1/kv/x", "/uix", "/u", "/other/ui/"] {
            assert!(page("/ui/", path, None).is_none(), "{path}");
        }
        for path in ["/v1", "/v1/nothing"] {
            assert!(page("/", path, None).is_none(), "{path}");
        }
        assert!(page("/", "/", None).is_some());
        assert!(page("/", "/v1x", None).is_some());
    }

    #[test]
    fn the_path_without_its_slash_is_redirected() {
        let reply = page("/a/ui/", "/a/ui", None).unwrap();
        assert_eq!(reply.status, StatusCode::MOVED_PERMANENTLY);
        assert_eq!(header_of(&reply, "location"), "/a/ui/");
    }

    #[test]
    fn links_lead_to_the_files_and_the_api_from_any_depth() {
        for (content_path, path, base, root) in [
            ("/ui/", "/ui/", "./", "./../"),
            ("/ui/", "/ui/nodes", "./", "./../"),
            ("/ui/", "/ui/dc1/nodes/n1", "./../../", "./../"),
            ("/a/b/", "/a/b/dc1/kv", "./../", "./../../"),
            ("/", "/", "./", "./"),
        ] {
            let html = text(&page(content_path, path, None).unwrap());
            assert!(
                html.contains(&format!("<base href=\"{base}\">")),
                "{path}: {base}"
            );
            assert!(
                html.contains(&format!("data-root=\"{root}\"")),
                "{path}: {root}"
            );
        }
    }

    #[test]
    fn the_page_is_small_and_asks_nobody_else() {
        let total: usize = INDEX.len() + FILES.iter().map(|(_, body)| body.len()).sum::<usize>();
        assert!(total < 65_000, "{total}");
        assert!(
            !INDEX.contains("http://") && !INDEX.contains("https://") && !INDEX.contains("<style")
        );
        assert!(
            !INDEX.contains(" onclick=") && !INDEX.contains(" style="),
            "the policy would stop them"
        );
        let script = std::str::from_utf8(FILES[0].1).unwrap();
        for forbidden in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
        ] {
            assert!(!script.contains(forbidden), "{forbidden}");
        }
    }

    #[test]
    fn a_known_body_is_not_sent_again() {
        let reply = page("/ui/", "/ui/app.js", None).unwrap();
        let tag = header_of(&reply, "etag").to_owned();
        let mut asked = HeaderMap::new();
        asked.insert(
            header::IF_NONE_MATCH,
            HeaderValue::from_str(&format!("\"x\", {tag}")).unwrap(),
        );
        let again = revalidate(reply, &asked);
        assert_eq!(
            (again.status, text(&again)),
            (StatusCode::NOT_MODIFIED, String::new())
        );
        assert_eq!(header_of(&again, "etag"), tag);
        asked.insert(
            header::IF_NONE_MATCH,
            HeaderValue::from_static("W/\"other\""),
        );
        let other = revalidate(page("/ui/", "/ui/app.js", None).unwrap(), &asked);
        assert_eq!(other.status, StatusCode::OK);
        assert!(!text(&other).is_empty());
    }

    #[test]
    fn the_operators_files() {
        let scratch = Scratch::new();
        let get = |path: &str| page("/ui/", path, Some(&scratch.www())).unwrap();
        let css = get("/ui/assets/a%20b.css");
        assert_eq!(
            (text(&css).as_str(), header_of(&css, "content-type")),
            ("css", "text/css; charset=utf-8")
        );
        assert_eq!(header_of(&css, "content-security-policy"), "");
        for path in [
            "/ui/",
            "/ui/index.html",
            "/ui/nodes",
            "/ui/assets",
            "/ui/app.js",
        ] {
            assert_eq!(text(&get(path)), "<base href=\"./\">own", "{path}");
        }
        assert_eq!(
            text(&get("/ui/dc1/services/web")),
            "<base href=\"./../../\">own"
        );
        std::fs::remove_file(scratch.www().join("index.html")).unwrap();
        assert_eq!(get("/ui/").status, StatusCode::NOT_FOUND);
        assert_eq!(
            page("/ui/", "/ui/", Some(&scratch.0.join("none")))
                .unwrap()
                .status,
            StatusCode::NOT_FOUND
        );
    }

    #[test]
    fn nothing_outside_the_directory() {
        let scratch = Scratch::new();
        let secret = scratch.0.join("secret.txt");
        let absolute = format!("/ui/{}", secret.display());
        let encoded = format!("/ui/{}", secret.display().to_string().replace('/', "%2f"));
        for path in [
            "/ui/../secret.txt",
            "/ui/%2e%2e/secret.txt",
            "/ui/assets/..%2f..%2fsecret.txt",
            "/ui/..%5csecret.txt",
            "/ui/assets/%00",
            absolute.as_str(),
            encoded.as_str(),
        ] {
            let reply = page("/ui/", path, Some(&scratch.www())).unwrap();
            assert_eq!(reply.status, StatusCode::NOT_FOUND, "{path}");
            assert!(!text(&reply).contains("secret"), "{path}");
        }
        assert_eq!(
            page("/ui/", "/ui/%zz", None).unwrap().status,
            StatusCode::BAD_REQUEST
        );
    }

    #[cfg(unix)]
    #[test]
    fn links_stay_inside_the_directory() {
        use std::os::unix::fs::symlink;
        let scratch = Scratch::new();
        symlink(scratch.0.join("secret.txt"), scratch.www().join("out.txt")).unwrap();
        symlink(&scratch.0, scratch.www().join("up")).unwrap();
        symlink("assets/a b.css", scratch.www().join("in.css")).unwrap();
        let get = |path: &str| page("/ui/", path, Some(&scratch.www())).unwrap();
        assert_eq!(get("/ui/out.txt").status, StatusCode::NOT_FOUND);
        assert_eq!(get("/ui/up/secret.txt").status, StatusCode::NOT_FOUND);
        assert_eq!(text(&get("/ui/in.css")), "css");
        std::fs::remove_file(scratch.www().join("index.html")).unwrap();
        symlink(
            scratch.0.join("secret.txt"),
            scratch.www().join("index.html"),
        )
        .unwrap();
        assert_eq!(get("/ui/").status, StatusCode::NOT_FOUND);
        // The directory itself may be a link.
        symlink(scratch.www(), scratch.0.join("link")).unwrap();
        assert_eq!(
            text(&page("/ui/", "/ui/in.css", Some(&scratch.0.join("link"))).unwrap()),
            "css"
        );
    }
}
