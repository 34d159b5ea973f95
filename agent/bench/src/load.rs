//! Load: wrk for HTTP, dnsperf for DNS, and the disk on its own.

use crate::Result;
use crate::process::{Bench, Server};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::time::{Duration, Instant};

/// What a server managed, or what it took.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Answers in a second, or the cost.
    pub value: f64,
    /// The same by the server's processor time: answers for each second of it, or milliseconds of
    /// it. Hardly moves with what else the machine does.
    pub by_cpu: Option<f64>,
}

/// A rate, and how many answers that were.
type Counted = (f64, f64);

fn during(servers: &[&Server], load: impl FnOnce() -> Result<Counted>) -> Result<Sample> {
    let cpu = || servers.iter().map(|s| s.cpu()).sum::<Result<f64>>();
    let before = cpu()?;
    let (value, answers) = load()?;
    let by_cpu = Some(answers / (cpu()? - before).max(0.01));
    Ok(Sample { value, by_cpu })
}

/// GETs of one path, or whatever the script says.
pub fn http(
    bench: &Bench,
    server: &Server,
    path: &str,
    connections: u32,
    script: Option<&str>,
) -> Result<Sample> {
    http_of(bench, &[server], path, connections, script)
}

/// The same for several servers that are one: the first is asked, and the processor time is that of
/// all.
pub fn http_of(
    bench: &Bench,
    servers: &[&Server],
    path: &str,
    connections: u32,
    script: Option<&str>,
) -> Result<Sample> {
    let mut wrk = Command::new("wrk");
    wrk.args([
        "-t1",
        &format!("-c{connections}"),
        &format!("-d{}s", bench.seconds),
    ]);
    if let Some(script) = script {
        let file = bench.dir.join("load.lua");
        std::fs::write(&file, script)?;
        wrk.arg("-s").arg(file);
    }
    wrk.arg(format!("http://127.0.0.1:{}{path}", servers[0].port));
    during(servers, || {
        let out = wrk.output()?;
        let text = String::from_utf8_lossy(&out.stdout);
        let rate = number(&text, "Requests/sec:").ok_or_else(|| format!("wrk: {text}"))?;
        let bad = number(&text, "Non-2xx or 3xx responses:").unwrap_or(0.0);
        if bad > 0.0 || rate == 0.0 {
            return Err(format!("{bad} bad answers: {text}").into());
        }
        let whole = text
            .lines()
            .find_map(|l| l.split_once(" requests in ")?.0.trim().parse().ok());
        Ok((rate, whole.ok_or_else(|| format!("wrk: {text}"))?))
    })
}

/// One question, over and over, on 16 sockets with 200 in flight.
pub fn dns(bench: &Bench, server: &Server, question: &str) -> Result<Sample> {
    let file = bench.dir.join("questions");
    std::fs::write(&file, format!("{question}\n"))?;
    let mut dnsperf = Command::new("dnsperf");
    dnsperf.args([
        "-s",
        "127.0.0.1",
        "-p",
        &server.dns.to_string(),
        "-l",
        &bench.seconds.to_string(),
    ]);
    dnsperf
        .args(["-c", "16", "-T", "1", "-q", "200", "-t", "1", "-d"])
        .arg(file);
    during(&[server], || {
        let out = dnsperf.output()?;
        let text = String::from_utf8_lossy(&out.stdout);
        let rate =
            number(&text, "Queries per second:").ok_or_else(|| format!("dnsperf: {text}"))?;
        let sent = number(&text, "Queries sent:").unwrap_or(0.0);
        let good = number(&text, "NOERROR").unwrap_or(0.0);
        if good < sent * 0.99 {
            return Err(format!("{good} good answers of {sent}: {text}").into());
        }
        Ok((rate, good))
    })
}

/// The number behind a label.
fn number(text: &str, label: &str) -> Option<f64> {
    let rest = text.split_once(label)?.1.trim_start();
    let end = rest
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(rest.len());
    rest[..end].parse().ok()
}

/// How often the disk takes 200 bytes and says that it has them. The file has its size from the
/// start, as the logs of databases have, so that no flush has to change the folder's records too.
pub fn disk(bench: &Bench) -> Result<Sample> {
    const SIZE: u64 = 16 << 20;
    let path = bench.dir.join("flushed");
    let mut file = std::fs::File::create(&path)?;
    file.write_all(&vec![0; SIZE as usize])?;
    file.sync_all()?;
    let (began, length) = (Instant::now(), Duration::from_secs(bench.seconds.into()));
    let mut flushed: u64 = 0;
    while began.elapsed() < length {
        file.write_all_at(&[b'x'; 200], flushed * 200 % (SIZE - 200))?;
        file.sync_data()?;
        flushed += 1;
    }
    let value = flushed as f64 / began.elapsed().as_secs_f64();
    std::fs::remove_file(path)?;
    Ok(Sample {
        value,
        by_cpu: None,
    })
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_are_read_from_what_the_tools_print() {
        assert_eq!(
            number("Requests/sec:  77464.21\nTransfer", "Requests/sec:"),
            Some(77464.21)
        );
        assert_eq!(
            number("Response codes: NOERROR 720 (100.00%)", "NOERROR"),
            Some(720.0)
        );
        assert_eq!(number("nothing", "NOERROR"), None);
        assert_eq!(number("NOERROR none", "NOERROR"), None);
    }
}
