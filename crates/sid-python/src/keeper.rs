//! The thread that starts processes.
//!
//! A process that is to end with its parent ends with the *thread* that started it, and threads of a runtime come and go. This one lives as
//! long as the server.

use std::io;
use std::sync::mpsc;
use std::thread;

use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

#[derive(Debug)]
pub(crate) struct Keeper {
    orders: mpsc::Sender<Order>,
}

struct Order {
    command: Command,
    runtime: Handle,
    answer: oneshot::Sender<io::Result<Child>>,
}

impl Keeper {
    pub(crate) fn start() -> io::Result<Self> {
        let (orders, inbox) = mpsc::channel::<Order>();
        thread::Builder::new().name("sid-functions".into()).spawn(move || {
            for Order { mut command, runtime, answer } in inbox {
                let _runtime = runtime.enter();
                let child = command.spawn();
                // The command holds ends of pipes that only the child may have.
                drop(command);
                // Nobody is waiting any more: the child is killed as it is dropped.
                let _ = answer.send(child);
            }
        })?;
        Ok(Self { orders })
    }

    pub(crate) async fn spawn(&self, command: Command) -> io::Result<Child> {
        let (answer, started) = oneshot::channel();
        let gone = || io::Error::other("the thread that starts functions has ended");
        self.orders.send(Order { command, runtime: Handle::current(), answer }).map_err(|_| gone())?;
        started.await.map_err(|_| gone())?
    }
}
