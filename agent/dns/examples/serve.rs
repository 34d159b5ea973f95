//! Serves a small catalog by DNS, for measuring:
//!
//! ```text
//! taskset -c 0 target/quick/examples/serve 127.0.0.1:8600 &
//! printf 'web.service.consul A\n' > a.txt
//! taskset -c 1 dnsperf -s 127.0.0.1 -p 8600 -d a.txt -l 5
//! ```
//!
//! `web` has three instances and `big` a thousand. With `echo` as the second argument it sends
//! every datagram back instead: the measure of what the machine can do.

use lictor_dns::{Responder, Settings, Source, SourceError, bind};
use lictor_state::{Changes, Command, Entry, State, View};
use lictor_wire::{NodeService, RegisterRequest};
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

struct Fixed(Arc<View>);

#[async_trait::async_trait]
impl Source for Fixed {
    fn view(&self) -> Option<Arc<View>> {
        Some(self.0.clone())
    }

    async fn consistent_view(&self) -> Result<Option<Arc<View>>, SourceError> {
        Ok(self.view())
    }
}

fn catalog() -> View {
    let mut state = State::default();
    let mut index = 0;
    for (name, count) in [("web", 3), ("big", 1000), ("consul", 1)] {
        for i in 0..count {
            let request = RegisterRequest {
                node: format!("{name}-{i}").into(),
                address: format!("10.0.{}.{}", i / 250, i % 250 + 1).into(),
                datacenter: "dc1".into(),
                service: Some(Box::new(NodeService {
                    id: name.into(),
                    service: name.into(),
                    port: 8080,
                    ..Default::default()
                })),
                ..Default::default()
            };
            index += 1;
            let entry = Entry {
                at: 0,
                command: Command::Register(Box::new(request)),
            };
            state.apply(index, &entry, &mut Changes::default());
        }
    }
    state.view()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let address: SocketAddr = args
        .next()
        .unwrap_or_else(|| "127.0.0.1:8600".into())
        .parse()?;
    if args.next().as_deref() == Some("echo") {
        let socket = tokio::net::UdpSocket::bind(address).await?;
        let mut buffer = [0; 4096];
        loop {
            let (length, from) = socket.recv_from(&mut buffer).await?;
            if length > 2 {
                // A response: dnsperf counts no other.
                buffer[2] |= 0x80;
            }
            socket.send_to(&buffer[..length], from).await?;
        }
    }
    let responder = Responder::new(Settings::default(), Arc::new(Fixed(Arc::new(catalog()))))?;
    let server = bind(address, responder.clone()).await?;
    println!("serving on {}", server.local_addr());
    tokio::signal::ctrl_c().await?;
    server.shutdown().await;
    println!("{:?}", responder.stats());
    Ok(())
}
