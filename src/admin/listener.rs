//! What a client of the admin port can cost: [`ADMIN_CONNECTIONS`] at once,
//! [`ADMIN_REQUEST_BYTES`] a request, [`ADMIN_REQUEST_DEADLINE_MS`] to send the next one
//! or to read on. A scraper that hangs gives its place back. A route that takes a body
//! grants its connection as many bytes more ([`Budget`]), once it has the head.

use std::{
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener},
};
use prometheus_client::{collector::Collector, encoding::DescriptorEncoder, metrics::MetricType};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep},
};

use crate::{
    limits::{ADMIN_CONNECTIONS, ADMIN_REQUEST_BYTES, ADMIN_REQUEST_DEADLINE_MS},
    metrics::{Counter, Gauge, prometheus},
};

/// What one client, and all of them together, can have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) connections: usize,
    pub(super) request_bytes: usize,
    pub(super) deadline: Duration,
}

impl Bounds {
    pub(super) const DEFAULT: Self = Self {
        connections: ADMIN_CONNECTIONS,
        request_bytes: ADMIN_REQUEST_BYTES,
        deadline: Duration::from_millis(ADMIN_REQUEST_DEADLINE_MS),
    };
}

/// The admin port about itself. Its thread is the one writer.
#[derive(Default, Debug)]
pub(super) struct AdminMetrics {
    connections: Gauge,
    idle: Counter,
    late: Counter,
    too_large: Counter,
}

impl Collector for AdminMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let help = "Open connections to the admin port.";
        encoder
            .encode_descriptor("admin_connections", help, None, MetricType::Gauge)?
            .encode_gauge(&self.connections.get())?;
        let help = "Connections to the admin port cut off.";
        let mut family = encoder.encode_descriptor("admin_cut", help, None, MetricType::Counter)?;
        let reasons =
            [("idle", &self.idle), ("deadline", &self.late), ("too_large", &self.too_large)];
        for (reason, count) in reasons {
            prometheus::counter(family.encode_family(&[("reason", reason)])?, count.get())?;
        }
        Ok(())
    }
}

/// What one connection may send beyond the bound of a request.
#[derive(Clone, Default, Debug)]
pub(super) struct Budget(Arc<Granted>);

#[derive(Default, Debug)]
struct Granted {
    bytes: AtomicUsize,
    /// The body is here: with the answer the room ends.
    is_used: AtomicBool,
}

/// Held while the body is read.
pub(super) struct Grant(Budget);

impl Budget {
    /// Room for a body of `bytes` in chunks of 100 bytes or more, each with its length.
    pub(super) fn grant(&self, bytes: usize) -> Grant {
        self.0.bytes.store(bytes.saturating_add(bytes / 8), Relaxed);
        self.0.is_used.store(false, Relaxed);
        Grant(self.clone())
    }

    /// Something was written: the answer, unless the body is still awaited.
    fn on_written(&self) {
        if self.0.is_used.swap(false, Relaxed) {
            self.0.bytes.store(0, Relaxed);
        }
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        self.0.0.is_used.store(true, Relaxed);
    }
}

impl Connected<IncomingStream<'_, BoundedListener>> for Budget {
    fn connect_info(stream: IncomingStream<'_, BoundedListener>) -> Self {
        stream.io().budget.clone()
    }
}

/// Accepts only while there is a place.
pub(super) struct BoundedListener {
    socket: TcpListener,
    bounds: Bounds,
    places: Arc<Semaphore>,
    metrics: Arc<AdminMetrics>,
}

impl BoundedListener {
    pub(super) fn new(socket: TcpListener, bounds: Bounds, metrics: Arc<AdminMetrics>) -> Self {
        Self { socket, bounds, places: Arc::new(Semaphore::new(bounds.connections)), metrics }
    }
}

impl Listener for BoundedListener {
    type Io = BoundedStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (BoundedStream, SocketAddr) {
        let place = Arc::clone(&self.places).acquire_owned().await;
        // The trait's accept: it waits and tries again where the process has no
        // descriptor left.
        let (stream, peer) = Listener::accept(&mut self.socket).await;
        let metrics = Arc::clone(&self.metrics);
        (BoundedStream::new(stream, self.bounds, place.ok(), metrics), peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// A connection with a budget of time and bytes, which every byte written renews: what
/// is written answers a request, so that only a complete request buys the next one.
pub(super) struct BoundedStream {
    stream: TcpStream,
    bounds: Bounds,
    metrics: Arc<AdminMetrics>,
    /// Always there: the semaphore is never closed.
    _place: Option<OwnedSemaphorePermit>,
    deadline: Pin<Box<Sleep>>,
    request_bytes: usize,
    budget: Budget,
    /// All that a request may have was read.
    waits_for_grant: bool,
}

impl BoundedStream {
    fn new(
        stream: TcpStream,
        bounds: Bounds,
        place: Option<OwnedSemaphorePermit>,
        metrics: Arc<AdminMetrics>,
    ) -> Self {
        metrics.connections.inc();
        let deadline = Box::pin(tokio::time::sleep(bounds.deadline));
        Self {
            stream,
            bounds,
            metrics,
            _place: place,
            deadline,
            request_bytes: 0,
            budget: Budget::default(),
            waits_for_grant: false,
        }
    }

    fn renew(&mut self) {
        self.deadline.as_mut().reset(Instant::now() + self.bounds.deadline);
        self.request_bytes = 0;
        self.budget.on_written();
    }

    /// Pending until the deadline, then the error that ends the connection.
    fn poll_deadline<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        self.deadline.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl Drop for BoundedStream {
    fn drop(&mut self) {
        self.metrics.connections.dec();
    }
}

impl AsyncRead for BoundedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // First, so that a client that drips bytes is cut off as well.
        if let Poll::Ready(cut) = self.poll_deadline(context) {
            let idle = self.request_bytes == 0;
            if idle {
                self.metrics.idle.inc()
            } else {
                self.metrics.late.inc()
            }
            return Poll::Ready(cut);
        }
        let granted = self.budget.0.bytes.load(Relaxed);
        let bound = self.bounds.request_bytes.saturating_add(granted);
        let room = bound.saturating_sub(self.request_bytes);
        if room == 0 && !std::mem::replace(&mut self.waits_for_grant, true) {
            // The head may be complete, and its route not asked yet: now it is.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if room == 0 {
            self.metrics.too_large.inc();
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        self.waits_for_grant = false;
        // No more than that at once: a body that comes with its head waits until it is granted.
        let room = room.min(buffer.remaining());
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(room));
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut part))?;
        let read = part.filled().len();
        buffer.advance(read);
        self.request_bytes += read;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for BoundedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(context, bytes) {
            Poll::Ready(written) => {
                self.renew();
                Poll::Ready(written)
            }
            Poll::Pending => {
                let cut = self.poll_deadline(context);
                if cut.is_ready() {
                    self.metrics.late.inc();
                }
                cut
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    /// Ends with the peer's end, or the deadline: a body that was refused by its head is read
    /// and thrown away, or closing would reset the connection under the answer.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
        let mut scratch = [0; 4096];
        loop {
            if self.deadline.as_mut().poll(context).is_ready() {
                return Poll::Ready(Ok(()));
            }
            let mut unread = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut self.stream).poll_read(context, &mut unread)) {
                Ok(()) if !unread.filled().is_empty() => {}
                _ => return Poll::Ready(Ok(())),
            }
        }
    }
}
