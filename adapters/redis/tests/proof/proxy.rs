//! A proxy that stalls and cuts connections.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

#[derive(Clone)]
pub(crate) struct Proxy {
    pub(crate) port: u16,
    stalled: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    pub(crate) fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let proxy = Self {
            port: listener.local_addr().expect("an address").port(),
            stalled: Arc::default(),
            open: Arc::default(),
        };
        let accepting = proxy.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", to)) else { continue };
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                let (Ok(client2), Ok(server2)) = (client.try_clone(), server.try_clone()) else {
                    continue;
                };
                let both = [client.try_clone(), server.try_clone()];
                let mut open = accepting.open.lock().expect("no panic");
                open.extend(both.into_iter().flatten());
                drop(open);
                for (from, to) in [(client, server), (server2, client2)] {
                    let proxy = accepting.clone();
                    thread::spawn(move || proxy.pump(from, to));
                }
            }
        });
        proxy
    }

    fn pump(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut bytes = [0; 16 * 1024];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            while self.stalled.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(5));
            }
            if to.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }

    /// Nothing goes through for a while.
    pub(crate) fn stall(&self, time: Duration) {
        self.stalled.store(true, Ordering::Relaxed);
        thread::sleep(time);
        self.stalled.store(false, Ordering::Relaxed);
    }

    /// Cuts all connections, whatever is on the way.
    pub(crate) fn cut(&self) {
        for stream in self.open.lock().expect("no panic").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}
