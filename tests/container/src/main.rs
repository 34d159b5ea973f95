//! The program in the containers of tests.
//!
//! ```text
//! serve <port> [<ms>]   answers "ok" to every HTTP request; ends that long after SIGTERM
//! stubborn <port>       the same, and SIGTERM does nothing
//! exit <code>           ends
//! err <text> <code>     writes to standard error and ends
//! flood <bytes> <code>  writes so many bytes to standard output and ends
//! eat <bytes>           takes and uses so much memory
//! hang                  goes on for ever
//! there <path>          ends with 0 if there is such a file, else with 1
//! make <path>, remove <path>
//! get <host:port>       ends with 0 if a server answers there
//! ```

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::exit;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

static TERMINATED: AtomicBool = AtomicBool::new(false);

extern "C" fn on_term(_: libc::c_int) {
    TERMINATED.store(true, Ordering::Relaxed);
}

fn serve(port: &str, grace: Option<Duration>) -> ! {
    if let Some(grace) = grace {
        // SAFETY: the handler only stores to an atomic.
        unsafe { libc::signal(libc::SIGTERM, on_term as *const () as libc::sighandler_t) };
        std::thread::spawn(move || {
            while !TERMINATED.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(5));
            }
            std::thread::sleep(grace);
            exit(0);
        });
    }
    let listener = match TcpListener::bind(format!("0.0.0.0:{port}")) {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("{port}: {error}");
            exit(3);
        }
    };
    for io in listener.incoming() {
        let Ok(mut io) = io else { continue };
        std::thread::spawn(move || {
            let _ = io.read(&mut [0; 4096]);
            let _ = io
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
        });
    }
    exit(0);
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse().unwrap_or(99);
    let code = match args[..] {
        ["serve", port] => serve(port, Some(Duration::ZERO)),
        ["serve", port, ms] => serve(port, Some(Duration::from_millis(ms.parse().unwrap_or(0)))),
        ["stubborn", port] => serve(port, None),
        ["exit", code] => number(code),
        ["err", text, code] => {
            eprintln!("{text}");
            number(code)
        }
        ["flood", bytes, code] => {
            let mut left: usize = bytes.parse().unwrap_or(0);
            let mut out = std::io::stdout().lock();
            while left > 0 {
                let part = left.min(4096);
                if out.write_all(&vec![b'x'; part]).is_err() {
                    exit(98);
                }
                left -= part;
            }
            number(code)
        }
        ["eat", bytes] => {
            let mut eaten = Vec::new();
            let wanted: usize = bytes.parse().unwrap_or(0);
            while eaten.len() < wanted / 4096 {
                eaten.push([1u8; 4096]);
            }
            i32::from(std::hint::black_box(&eaten).is_empty())
        }
        ["hang"] => loop {
            std::thread::sleep(Duration::from_secs(1));
        },
        ["there", path] => i32::from(!std::path::Path::new(path).exists()),
        ["make", path] => i32::from(std::fs::write(path, "").is_err()),
        ["remove", path] => i32::from(std::fs::remove_file(path).is_err()),
        ["get", at] => i32::from(TcpStream::connect(at).is_err()),
        _ => 97,
    };
    exit(code);
}
